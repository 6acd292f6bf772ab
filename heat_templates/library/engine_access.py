# SPDX-License-Identifier: Apache-2.0
"""Whether nova-compute may use the Docker Engine: its process is in the group of the socket.

A container has its own groups, by their numbers those of the host; the engine reads them when it
starts the container.
"""

from __future__ import annotations

import grp
import re
from pathlib import Path

from library.faults import StepFailed
from library.probes import program_text
from library.services import Service, run_beside
from library.step import Step

GROUP = "docker"


def may_use_engine(service: Service) -> bool:
    """Return whether the running service is in group docker, as far as that can be told.

    What counts are the groups of the process, not those that a new login of its user would have.
    """
    try:
        wanted = grp.getgrnam(GROUP).gr_gid
        status = Path(f"/proc/{service.pid}/status").read_text() if service.pid else ""
    except (KeyError, OSError):
        return True
    groups = re.findall(r"^(?:Gid|Groups):(.*)", status, re.M)
    return service.user == "root" or not groups or str(wanted) in " ".join(groups).split()


def is_member(step: Step, service: Service) -> bool:
    """Return whether the next process of a service's user will be in group docker."""
    try:
        group = grp.getgrnam(GROUP)
    except KeyError:
        return False
    if service.container is None:
        return service.user in group.gr_mem
    told = run_beside(step, service, ["id", "-G"], user=service.user).stdout
    return str(group.gr_gid) in told.split()


def join_group(step: Step, service: Service) -> None:
    """Have a container's user be in the engine's group at the container's next start."""
    container = service.container
    if container is None or service.user == "root" or is_member(step, service):
        return
    try:
        gid = grp.getgrnam(GROUP).gr_gid
    except KeyError as err:
        raise StepFailed(
            f"the host has no group {GROUP}, by which the container {container.name} could use the "
            f"engine: make it (`groupadd --system {GROUP}`), restart the engine, then repeat"
        ) from err
    if step.will(f"put {service.user} of the container {container.name} into group {gid}"):
        step.remember("group", {"gid": gid, "container": container.identity})
        change_groups(step, service, gid, "join")


def leave_group(step: Step, service: Service) -> None:
    """Take back what :func:`join_group` did, unless the container is another one by now."""
    joined, container = step.to_undo.get("group"), service.container
    if not joined or container is None or joined["container"] != container.identity:
        return
    gid = int(joined["gid"])
    if step.will(f"take {service.user} out of the container's group {gid}"):
        change_groups(step, service, gid, "leave")


def change_groups(step: Step, service: Service, gid: int, verb: str) -> None:
    """Change the groups of a container, by its own Python."""
    argv = [service.python, "-c", program_text(set_member), str(gid), service.user, verb]
    run_beside(step, service, argv)


def set_member(gid: str, user: str, verb: str, file: str = "/etc/group") -> bool:
    """Make a user a member of a group, or no more; return whether that was a change.

    :param verb: join or leave; a group that join has made goes with its last member
    """
    import os

    ours = "novadocker"
    with open(file, encoding="utf-8", newline="") as reader:
        before = reader.read()
    lines = before.splitlines(keepends=True)
    at = next((i for i, line in enumerate(lines) if line.split(":")[2:3] == [gid]), None)
    name, password, members = ours, "x", list[str]()
    if at is not None:
        name, password, _, listed = lines[at].rstrip("\n").split(":")
        members = [member for member in listed.split(",") if member]
    others = [member for member in members if member != user]
    wanted = [*others, user] if verb == "join" else others
    if wanted == members or (user in members and verb == "join"):
        return False
    line = ":".join((name, password, gid, ",".join(wanted))) + "\n"
    if at is None:
        lines.append(line)
    elif name == ours and not wanted:
        del lines[at]
    else:
        lines[at] = line
    with open(f"{file}.novadocker", "w", encoding="utf-8", newline="") as writer:
        writer.write("".join(lines))
    os.chmod(f"{file}.novadocker", 0o644)
    os.replace(f"{file}.novadocker", file)
    return True
