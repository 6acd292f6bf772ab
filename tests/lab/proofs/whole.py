# SPDX-License-Identifier: Apache-2.0
"""All that a host is, as far as it is not written anew all the time by what runs on it anyway."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from lab.hosts import listing
from lab.hosts.access import Host

# Kernel and memory, logs and caches, and what the package manager, systemd and the agent keep of
# their own work. Packages, units and the agent's outcomes are compared by what these say of them.
PASSING = (
    *("/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp", "/var/log", "/var/cache", "/srv"),
    *("/var/lib/apt", "/var/lib/dpkg", "/var/lib/systemd", "/var/lib/private", "/var/lib/ucf"),
    *("/var/lib/heat-config", "/var/lib/os-collect-config", "/var/lib/novadocker/messages"),
    # What any start of Nova's programs reads entry points from.
    "/var/lib/nova/.cache",
    # Databases, in use.
    *("/var/lib/mysql", "/var/lib/rabbitmq", "/var/lib/glance", "/etc/openvswitch", "/root"),
    *("/var/lib/openvswitch", "/usr/local/lib/novadocker", "/var/lib/lxcfs"),
)
# Where an engine keeps what it is asked about instead: it lays its files out as it likes.
SHALLOW = ("/var/lib/docker", "/var/lib/containerd")
_SCRIPT = r"""
import hashlib, json, os, stat, subprocess, sys

passing, generated, shallow = (set(part) for part in json.load(sys.stdin))
found = {}
for top, folders, names in os.walk("/"):
    folders[:] = [
        name for name in folders
        if os.path.join(top, name) not in passing and name != "__pycache__"
    ]
    here = folders + names
    folders[:] = [name for name in folders if os.path.join(top, name) not in shallow]
    for name in here:
        path = os.path.join(top, name)
        if path in generated:
            continue
        try:
            info = os.lstat(path)
        except OSError:
            continue
        text = "%06o %d:%d" % (info.st_mode, info.st_uid, info.st_gid)
        if stat.S_ISLNK(info.st_mode):
            text += " " + os.readlink(path)
        elif stat.S_ISREG(info.st_mode) and top.startswith("/etc"):
            with open(path, "rb") as opened:
                text += " " + hashlib.sha256(opened.read()).hexdigest()
        elif stat.S_ISREG(info.st_mode):
            text += " %d bytes" % info.st_size
        found["file " + path] = text

def lines(kind, *argv):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for line in done.stdout.splitlines():
        yield kind, line

for kind, line in lines("sysctl", "sysctl", "-a"):
    name, _, value = line.partition(" = ")
    if name.startswith(("net.ipv4.ip_forward", "net.bridge", "net.ipv4.conf", "net.ipv6.conf",
                        "kernel.keys", "vm.max_map_count", "fs.inotify", "user.")):
        found["sysctl " + name] = value
for command in (("iptables-save",), ("ip6tables-save",), ("nft", "-s", "list", "ruleset")):
    for number, (_, line) in enumerate(lines("filter", *command)):
        if not line.startswith("#"):
            found["%s %s" % (command[0], line.split(" [")[0])] = "there"
for what, shown in (("image", "{{.Repository}}:{{.Tag}} {{.ID}}"), ("container", "{{.Names}}"),
                    ("network", "{{.Name}}"), ("volume", "{{.Name}}")):
    argv = ["docker", what, "ls", "--format", shown] + ["--all"] * (what == "container")
    if os.path.exists("/usr/bin/docker"):
        for _, line in lines(what, *argv):
            found["docker %s %s" % (what, line)] = "there"
for _, line in lines("link", "ip", "-o", "link"):
    found["link " + line.split(": ")[1].split("@")[0]] = "there"
for _, line in lines("user", "getent", "passwd"):
    found["user " + line] = "there"
print(json.dumps(found))
"""


def take(host: Host) -> Mapping[str, str]:
    """Return all that a host is, by name."""
    state = take_files(host)
    services = listing.take(host)
    for kind in ("groups", "packages", "unit_files"):
        state.update({f"{kind} {name}": text for name, text in getattr(services, kind).items()})
    # A unit that is not running need not be loaded either.
    state.update({f"unit {n}": t for n, t in services.units.items() if t != "inactive"})
    return state


def take_files(host: Host, within: Sequence[str] = ()) -> dict[str, str]:
    """Return the files, settings, filters, links and users of a host, and what its engine has.

    :param within: a command that runs another in a container, to list what is in there
    """
    asked = json.dumps([PASSING, listing.GENERATED, SHALLOW])
    done = host.run([*within, "python3", "-c", _SCRIPT], input=asked, timeout_s=300)
    state: dict[str, str] = json.loads(done.stdout)
    return state


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Return a line for each thing that is not as it was."""
    names = sorted(before.keys() | after.keys())
    return [
        f"{name}: {before.get(name)} => {after.get(name)}"
        for name in names
        if before.get(name) != after.get(name)
    ]
