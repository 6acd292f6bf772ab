# SPDX-License-Identifier: Apache-2.0
"""The container that nova-compute runs in where kolla-ansible has deployed it, with Docker.

Its unit starts a container that is there. At each start, what /etc/kolla/nova-compute/config.json
names is copied into it, and the command that stands there is called.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from library.engine import docker
from library.faults import StepFailed
from library.processes import process_below
from library.step import Done, Step

KOLLA_UNIT = "kolla-nova_compute-container.service"
# Where its configuration is: on the host, as far as the engine tells nothing else, and in there.
KOLLA_FOLDER = "/etc/kolla/nova-compute"
CONFIG_FILES = "/var/lib/kolla/config_files"
PROGRAM = "nova-compute"
# What both see under one name, and both see what is mounted there.
SHARED = "/run"
# In there: drafts, the engine's socket, and the networks of instances.
SEEN_IN_SHARED = ("novadocker", "docker.sock", "docker/netns", "netns")
USER = "nova"
# Of the host's own variables, those that commands in there are given as well.
PASSED_ON = re.compile(r"(?i:https?_proxy|no_proxy)$")
# By what a mount tells that what the host mounts later is seen through it.
FOLLOWING = ("shared", "rshared", "slave", "rslave")


@dataclass(frozen=True)
class Container:
    """A container with nova-compute in it.

    :param identity: the engine's, another one when the container is made anew
    :param pid: nova-compute's on the host, 0 where it does not run
    :param mounts: what the engine tells of them, by their places in the container
    :param once: whether it takes its configuration at its first start, and never again
    """

    name: str
    identity: str = ""
    user: str = USER
    running: bool = False
    pid: int = 0
    network: str = "host"
    privileged: bool = True
    mounts: tuple[dict[str, Any], ...] = ()
    once: bool = False

    @property
    def folder(self) -> str:
        """Return where on the host its configuration is."""
        return self.source(CONFIG_FILES) or KOLLA_FOLDER

    def source(self, name: str) -> str:
        """Return where on the host a path of the container is, empty where it is in it alone."""
        mount = self.mount(name)
        if not mount:
            return ""
        rest = os.path.relpath(name, str(mount["Destination"]).rstrip("/") or "/")
        return os.path.normpath(os.path.join(str(mount["Source"]), rest))

    def mount(self, name: str) -> dict[str, Any]:
        """Return the mount that a path of the container is on, empty where it is on none."""
        above = [
            mount
            for mount in self.mounts
            if f"{name}/".startswith(str(mount.get("Destination", "?")).rstrip("/") + "/")
        ]
        return max(above, key=lambda mount: len(str(mount["Destination"])), default={})


def started_by(command: list[str]) -> Container | None:
    """Return the container that a unit's command starts, None where it is none of Docker's."""
    if not command or Path(command[0]).name != "docker" or "start" not in command:
        return None
    return look(command[-1])


def look(name: str) -> Container:
    """Return what the engine tells of a container; where it does not answer, it does not run."""
    try:
        told = docker(f"/containers/{name}/json")
    except StepFailed:
        told = None
    if not isinstance(told, dict):
        return Container(name)
    state, host = told.get("State") or {}, told.get("HostConfig") or {}
    given = told.get("Config") or {}
    running = bool(state.get("Running")) and not state.get("Restarting")
    return Container(
        name,
        identity=str(told.get("Id") or ""),
        user=str(given.get("User") or "root").partition(":")[0],
        running=running,
        pid=process_below(int(state.get("Pid") or 0), PROGRAM) if running else 0,
        network=str(host.get("NetworkMode")),
        privileged=bool(host.get("Privileged")),
        mounts=tuple(told.get("Mounts") or ()),
        once="KOLLA_CONFIG_STRATEGY=COPY_ONCE" in (given.get("Env") or ()),
    )


def run_inside(
    step: Step,
    container: Container,
    argv: list[str],
    *,
    ok: tuple[int, ...],
    user: str,
    env: dict[str, str] | None,
) -> Done:
    """Run a command in a container that runs, as `Step.run` does it on the host."""
    # By their names alone: the values are not to be seen in the list of processes.
    names = [*filter(PASSED_ON.match, os.environ), *(env or {})]
    given = [word for name in names for word in ("-e", name)]
    command = ["docker", "exec", "-u", user, *given, container.name, *argv]
    return step.run(command, ok=ok, env=env)


def is_shared(container: Container, name: str) -> bool:
    """Return whether a path of the host's is the same in a container, and follows its mounts."""
    follows = str(container.mount(name).get("Propagation")) in FOLLOWING
    return container.source(name) == name and follows


def refuse_unfit(step: Step, container: Container, state: str) -> None:
    """Refuse a container in which the driver cannot work, or that does not run by its unit.

    :param state: the unit's
    :raises StepFailed: naming what it lacks
    """
    if container.running and not state.startswith("active"):
        raise StepFailed(
            f"the container {container.name} runs, but was not started by {KOLLA_UNIT}, which is "
            f"{state} and so does not restart it: `docker stop {container.name}` and `systemctl "
            f"restart {KOLLA_UNIT}`, then repeat"
        )
    lacks = []
    if container.network != "host":
        lacks.append(f"it is on the network {container.network} and not on the host's")
    if not container.privileged:
        lacks.append("it is not privileged")
    if not all(is_shared(container, f"{SHARED}/{name}") for name in SEEN_IN_SHARED):
        lacks.append(f"the host's {SHARED} is not mounted in it as {SHARED}:{SHARED}:shared")
    if container.once:
        lacks.append("it takes its configuration only once (config_strategy in globals.yml)")
    if not container.source(CONFIG_FILES):
        lacks.append(f"nothing of the host is mounted at {CONFIG_FILES}")
    elif step.path(f"{container.folder}/config.yaml").exists():
        lacks.append(f"it goes by {container.folder}/config.yaml, and not by config.json")
    if lacks:
        raise StepFailed(
            f"the container {container.name} is not as kolla-ansible makes it: "
            f"{'; '.join(lacks)}. Have kolla-ansible make it anew (`kolla-ansible deploy --tags "
            "nova`), or leave the host out"
        )
