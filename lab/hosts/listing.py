# SPDX-License-Identifier: Apache-2.0
"""A listing of what an operator would miss on a host: its files, accounts, packages and services.

Two listings of a host, one before and one after something was done to it, tell what was changed
(`differences`) and which services were started anew (`restarted`).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from lab.hosts.access import Host

# Written anew by the system itself whenever an account or a library comes or goes, and never
# written by an operator: the backups of the account files, their lock, the linker's cache.
GENERATED = (
    "/etc/.pwd.lock",
    "/etc/group-",
    "/etc/gshadow-",
    "/etc/ld.so.cache",
    "/etc/passwd-",
    "/etc/shadow-",
    "/etc/subgid-",
    "/etc/subuid-",
)

# Runs on the host with its own Python and prints one JSON object.
_SCRIPT = r"""
import grp, hashlib, json, os, pwd, stat, subprocess, sys

def owner(info):
    names = []
    for find, number in ((pwd.getpwuid, info.st_uid), (grp.getgrgid, info.st_gid)):
        try:
            names.append(find(number)[0])
        except KeyError:
            names.append(str(number))
    return ":".join(names)

def describe(path):
    info = os.lstat(path)
    text = "%04o %s" % (stat.S_IMODE(info.st_mode), owner(info))
    if stat.S_ISLNK(info.st_mode):
        return text + " -> " + os.readlink(path)
    if stat.S_ISREG(info.st_mode):
        with open(path, "rb") as opened:
            return text + " " + hashlib.sha256(opened.read()).hexdigest()
    return text + (" directory" if stat.S_ISDIR(info.st_mode) else " special")

def output(*argv):
    return subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout

generated = set(json.load(sys.stdin))
files = {}
for top, folders, names in os.walk("/etc"):
    for name in folders + names:
        path = os.path.join(top, name)
        if path not in generated:
            files[path] = describe(path)

groups = {entry.gr_name: " ".join(sorted(entry.gr_mem)) for entry in grp.getgrall()}
packages = dict(
    line.split("\t", 1)
    for line in output("dpkg-query", "-W", "-f", "${Package}\t${Version} ${db:Status-Status}\n")
    .splitlines()
)
packages = {name: text for name, text in packages.items() if not text.endswith("not-installed")}

units = {}
show = output("systemctl", "show", "*.service", "*.socket", "--property",
              "Id,UnitFileState,ActiveState,InvocationID,Type")
invocations = {}
for block in show.strip().split("\n\n"):
    unit = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
    if unit.get("Type") == "oneshot":
        continue
    units[unit["Id"]] = unit.get("ActiveState", "")
    invocations[unit["Id"]] = unit.get("InvocationID", "")
unit_files = {}
for line in output("systemctl", "list-unit-files", "--no-legend", "--no-pager",
                   "--type=service,socket").splitlines():
    name, state = line.split()[:2]
    if state not in ("transient", "generated"):
        unit_files[name] = state
print(json.dumps({"files": files, "groups": groups, "packages": packages,
                  "unit_files": unit_files, "units": units, "invocations": invocations}))
"""


@dataclasses.dataclass(frozen=True)
class Listing:
    """What a host was like at one moment.

    :param files: mode, owner and SHA-256 of everything below /etc, by path
    :param groups: members of each group
    :param packages: version and state of each package
    :param unit_files: enabled, disabled, ... of each service and socket
    :param units: active, inactive, ... of each service and socket
    :param invocations: an ID of each service's latest start
    """

    files: Mapping[str, str]
    groups: Mapping[str, str]
    packages: Mapping[str, str]
    unit_files: Mapping[str, str]
    units: Mapping[str, str]
    invocations: Mapping[str, str]


def take(host: Host) -> Listing:
    """Return the listing of a host as it is now."""
    done = host.run(["python3", "-c", _SCRIPT], input=json.dumps(GENERATED), timeout_s=60)
    return Listing(**json.loads(done.stdout))


def take_all(hosts: Mapping[str, Host]) -> dict[str, Listing]:
    """Return the listings of all hosts by name, taken at the same time.

    :param hosts: hosts by name
    """
    with ThreadPoolExecutor() as pool:
        return dict(zip(hosts, pool.map(take, hosts.values()), strict=True))


def differences(before: Listing, after: Listing) -> list[str]:
    """Return a line for each thing that is not as it was; none when nothing was changed.

    A service that was started anew but is as active as before makes no difference here.
    """
    lines = []
    for kind in ("files", "groups", "packages", "unit_files", "units"):
        old, new = getattr(before, kind), getattr(after, kind)
        for name in sorted(old.keys() | new.keys()):
            was, is_now = old.get(name), new.get(name)
            if kind == "units":
                # A unit that is not running need not be loaded either.
                was, is_now = was or "inactive", is_now or "inactive"
            if was != is_now:
                lines.append(f"{kind}: {name}: {was} => {is_now}")
    return lines


def restarted(before: Listing, after: Listing) -> list[str]:
    """Return the services that ran before and have been started anew since."""
    return sorted(
        name
        for name, invocation in before.invocations.items()
        if before.units.get(name) == "active"
        and name in after.invocations
        and after.invocations[name] != invocation
    )


def differing(before: Mapping[str, Listing], after: Mapping[str, Listing]) -> dict[str, list[str]]:
    """Return the differences by host; hosts without any are left out."""
    lines = {name: differences(before[name], after[name]) for name in before}
    return {name: changes for name, changes in lines.items() if changes}


def touched(before: Mapping[str, Listing], after: Mapping[str, Listing]) -> dict[str, list[str]]:
    """Return the differences and the restarted services by host; other hosts are left out."""
    lines = {
        name: [*differences(before[name], after[name]), *restarted(before[name], after[name])]
        for name in before
    }
    return {name: changes for name, changes in lines.items() if changes}
