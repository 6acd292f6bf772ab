# SPDX-License-Identifier: Apache-2.0
"""Containers of instances: their life cycle, and what is done in them."""

from __future__ import annotations

import contextlib
import enum
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from oslo_log import log as logging

from novadocker import exceptions
from novadocker.types import Flavor
from novadocker.virt.docker.engine import (
    client,
    health,
    isolation,
    limits,
    making,
    names,
    restarts,
    room,
    streams,
    throttling,
)
from novadocker.virt.docker.engine.workload import Workload
from novadocker.virt.docker.host.cpus import ALL, Cpus
from novadocker.virt.docker.host.devices import Held
from novadocker.virt.docker.host.facts import HostFacts
from novadocker.virt.docker.host.space import RESERVE_BYTES

LOG = logging.getLogger(__name__)

# The engine's word for a container that has ended and is about to be started again.
RESTARTING = "restarting"
# Time limit of a command in a container.
_RUN_S = 30
# Files that the engine bind-mounts into every container.
_ENGINES_FILES = frozenset({".dockerenv", "etc/hostname", "etc/hosts", "etc/resolv.conf"})


class State(enum.Enum):
    """State of a workload."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"


class Containers:
    """The containers of this host's instances.

    :param facts: only containers labelled with this host's name are listed
    :param root_directory: the engine's data directory, where it is not as the engine says
    :param health_check_s: least seconds between two health checks of a container; 0 for none
    :param freezes: whether a running container is frozen while its files are written out
    :param bound: returns the host directories to mount in the workload of an instance, by its UUID
    """

    def __init__(
        self,
        engine: client.Engine,
        facts: HostFacts,
        options: isolation.Isolation,
        bound: Callable[[str], list[dict[str, Any]]] = lambda _uuid: [],
        root_directory: str | None = None,
        freezes: bool = True,
        health_check_s: int = 0,
    ) -> None:
        self._engine = engine
        self._facts = facts
        self._freezes = freezes
        self._health_check_s = health_check_s
        self._isolation = options
        self._bound = bound
        self.room = room.Room(engine, root_directory)
        self.throttling = throttling.Throttling(engine, self.room)

    def create(self, workload: Workload, flavor: Flavor, disk_gb: int | None = None) -> None:
        """Make a workload's container, without starting it.

        :param disk_gb: limit of its file system; None for no limit
        :raises Conflict: the name is taken
        """
        host_config = self._host_config(workload, flavor, disk_gb)
        self._engine.call(
            "create_container",
            workload.image,
            name=workload.name,
            command=workload.command,
            entrypoint=workload.entry_point,
            labels={**workload.labels, names.FIXED: limits.fixed(host_config)},
            environment=dict(workload.environment),
            tty=workload.tty,
            # A shell that reads its end would end as well.
            stdin_open=True,
            host_config=host_config,
            healthcheck=dict(health.bounded(workload.health_check, self._health_check_s)),
        )

    def can_become(
        self,
        workload: Workload,
        flavor: Flavor,
        disk_gb: int | None,
        details: Mapping[str, Any] | None = None,
    ) -> bool:
        """Return whether the container that there is takes new limits to be as it would be made.

        :param disk_gb: limit of its file system; None for no limit
        :param details: the engine's description of the container, where it was asked already
        :raises NotFound: there is none of that name
        :raises DriverError: the flavor asks for what the operator has not allowed on this host
        """
        config = (details or self.inspect(workload.name))["Config"]
        is_fixed = (config.get("Labels") or {}).get(names.FIXED) == limits.fixed(
            self._host_config(workload, flavor, disk_gb)
        )
        return is_fixed and bool(config.get("Tty")) == workload.tty

    def limit(
        self,
        name: str,
        flavor: Flavor,
        details: Mapping[str, Any] | None = None,
        cpus: Cpus = ALL,
    ) -> None:
        """Give a container the limits of a flavor, unless it has them.

        :param details: the engine's description of the container, where it was asked already
        :param cpus: the processors that it runs on
        :raises NotFound: there is none of that name
        :raises FlavorRefused: an extra spec is not a number, or not one that the kernel takes
        """
        had = (details or self.inspect(name))["HostConfig"]
        wanted = making.limits(self._engine, self._isolation, flavor, cpus)
        self._change(name, limits.changes(had, wanted))

    def bind(self, name: str, cpus: Cpus) -> None:
        """Have a container run on its processors, whatever its state; unless it does.

        :raises NotFound: there is none of that name
        """
        wanted = {limits.CPUS: cpus.ids}
        self._change(name, limits.rebound(self.inspect(name)["HostConfig"], wanted))

    def _change(self, name: str, changes: Mapping[str, int | str]) -> None:
        if changes:
            LOG.info("The limits of %s are %s", name, changes)
            self._engine.call("update_container", name, resources=changes)

    def _host_config(
        self, workload: Workload, flavor: Flavor, disk_gb: int | None
    ) -> Mapping[str, Any]:
        throttled = self.throttling.arguments(workload.name, flavor)
        return making.host_config(
            self._engine, self._isolation, self._bound, workload, flavor, disk_gb, throttled
        )

    def names_of(self, uuid: str) -> set[str]:
        """Return the names of all containers of an instance, in one request."""
        listed = self._listed(f"{names.LABEL}uuid={uuid}")
        return {name.lstrip("/") for container in listed for name in container["Names"]}

    def names_by_uuid(self) -> dict[str, str]:
        """Return the names of the instances that have a container here, by UUID, in one request."""
        return {
            container["Labels"][names.LABEL + "uuid"]: container["Labels"].get(
                names.LABEL + "name", ""
            )
            for container in self._listed()
            if container["Labels"].get(names.LABEL + "uuid")
        }

    def held_devices(self) -> dict[str, list[Held]]:
        """Return the devices that containers here have, by UUID of the instance, in one request."""
        held: dict[str, list[Held]] = {}
        for container in self._listed():
            if label := container["Labels"].get(names.DEVICES):
                uuid = container["Labels"].get(f"{names.LABEL}uuid", "")
                held.setdefault(uuid, []).append(Held.of(label))
        return held

    def states_by_uuid(self) -> dict[str, State]:
        """Return the states of all workloads here, by UUID of the instance, in one request."""
        listed = self._listed(f"{names.LABEL}role={names.Role.WORKLOAD.value}")
        # Containers that were put aside by a resize or a rescue have other names.
        return {
            container["Labels"][f"{names.LABEL}uuid"]: state_of(container["State"])
            for container in listed
            if f"/{names.workload_name(container['Labels'][f'{names.LABEL}uuid'])}"
            in container["Names"]
        }

    def _listed(self, *labels: str) -> list[dict[str, Any]]:
        """Return what the engine says in a list of the containers here that have some labels."""
        wanted = [f"{names.LABEL}host={self._facts.name}", *labels]
        listed: list[dict[str, Any]] = self._engine.call(
            "containers", all=True, filters={"label": wanted}
        )
        return listed

    def inspect(self, name: str) -> dict[str, Any]:
        """Return everything the engine knows about a container.

        :raises NotFound: there is none of that name
        """
        details: dict[str, Any] = self._engine.call("inspect_container", name)
        return details

    def exists(self, name: str) -> bool:
        """Return whether there is a container of that name."""
        try:
            self.inspect(name)
        except exceptions.NotFound:
            return False
        return True

    def state(self, name: str) -> State:
        """Return the state of a workload.

        :raises NotFound: there is none of that name
        """
        return state_of(self.inspect(name)["State"]["Status"])

    def pid(self, name: str) -> int:
        """Return the process id of a container; 0 when it does not run.

        :raises NotFound: there is none of that name
        """
        return int(self.inspect(name)["State"].get("Pid") or 0)

    def start(self, name: str, restart: Mapping[str, Any] = restarts.NO) -> None:
        """Start a container; a running one is left alone.

        :param restart: the restart policy that it gets; it keeps the one that it has by default
        """
        if restart != restarts.NO:
            self._engine.call("update_container", name, resources={"RestartPolicy": dict(restart)})
        self._engine.call("start", name)

    def stop(self, name: str, timeout_s: int) -> None:
        """Ask the workload to end, and kill it after a timeout; 0 kills it at once.

        A paused workload is unpaused first, so that it receives the signal. The engine does not
        start it again, whatever becomes of the engine.
        """
        details = self.inspect(name)
        if restarts.of(details) != restarts.NO:
            self._engine.call(
                "update_container", name, resources={"RestartPolicy": dict(restarts.NO)}
            )
        self.end(name, state_of(details["State"]["Status"]), timeout_s)

    def end(self, name: str, state: State, timeout_s: int) -> None:
        """Do what :meth:`stop` does to a container whose state is known."""
        if state is State.PAUSED:
            self.unpause(name)
        if timeout_s <= 0:
            self.kill(name)
            return
        self._engine.call("stop", name, timeout=timeout_s, patient=True)

    def kill(self, name: str) -> None:
        """Kill a container and wait for its end; a stopped one is left alone."""
        try:
            self._engine.call("kill", name)
        except exceptions.Conflict:
            return
        self._engine.call("wait", name)

    def pause(self, name: str) -> None:
        """Freeze a container; a frozen one is left alone."""
        self._to_state("pause", name, State.PAUSED)

    def unpause(self, name: str) -> None:
        """Unfreeze a container; one that is not frozen is left alone."""
        if self.state(name) is State.PAUSED:
            self._to_state("unpause", name, State.RUNNING)

    def remove(self, name: str) -> bool:
        """Remove a container in whatever state, and its anonymous volumes.

        :return: False when there was none
        """
        try:
            # Millions of files take the engine minutes.
            self._engine.call("remove_container", name, force=True, v=True, patient=True)
        except exceptions.NotFound:
            return False
        except exceptions.Conflict as err:
            if "already in progress" not in str(err):
                raise
            with contextlib.suppress(exceptions.NotFound):
                self._engine.call("wait", name, condition="removed", patient=True)
        return True

    def rename(self, name: str, new_name: str) -> None:
        """Rename a container."""
        self._engine.call("rename", name, new_name)

    def log_tail(self, name: str, lines: int, max_bytes: int) -> bytes:
        """Return the end of a workload's output, which may be large and is not held as a whole."""
        output = b""
        for part in self._engine.stream(
            "logs", name, stdout=True, stderr=True, tail=lines, stream=True, follow=False
        ):
            output = (output + part)[-max_bytes:]
        return output

    def stats(self, name: str) -> dict[str, Any]:
        """Return a container's counters."""
        counters: dict[str, Any] = self._engine.call("stats", name, stream=False, one_shot=True)
        return counters

    def put_archive(self, name: str, tar: bytes) -> None:
        """Unpack an archive at a container's root; the engine confines it to the container."""
        if not self._engine.call("put_archive", name, "/", tar):
            raise exceptions.EngineError(f"files were not written into {name}")

    def copy(self, source: str, source_path: str, target: str, target_path: str) -> None:
        """Copy the files in a directory of one container into a directory of another.

        Nothing is stored on the way. The engine's own files are left out, and so are mounted
        directories of the host. The caller makes sure that there is space.
        """
        bound = {
            mount["Target"].strip("/")
            for name in (source, target)
            for mount in self.inspect(name)["HostConfig"].get("Mounts") or []
        }
        if source_path == "/":
            # An export leaves out mounts: files of lxcfs do not have the size that they report.
            stream = self.export(source)
        else:
            stream, _stat = self._engine.call(
                "get_archive", source, f"{source_path.rstrip('/')}/.", patient=True
            )
        files = streams.tar_without(stream, _ENGINES_FILES | bound)
        if not self._engine.call("put_archive", target, target_path, files, patient=True):
            raise exceptions.EngineError(f"files of {source} were not copied into {target}")

    def run(self, name: str, argv: list[str], environment: Mapping[str, str]) -> int:
        """Run a command in a running container and return its exit code.

        The program is the tenant's: it and its output may be endless, so its output is not read.

        :return: its exit code
        :raises EngineError: the command has not ended in time
        """
        identity = self._engine.call(
            "exec_create",
            name,
            argv,
            environment=dict(environment),
            user="0",
            # The image's own directory may lead out of the container (CVE-2024-21626).
            workdir="/",
            stdout=False,
            stderr=False,
        )["Id"]
        self._engine.call("exec_start", identity, detach=True)
        deadline = time.monotonic() + _RUN_S
        pause_s = 0.01
        while (code := self._engine.call("exec_inspect", identity)["ExitCode"]) is None:
            if time.monotonic() > deadline:
                raise exceptions.EngineError(
                    f"a command in {name} has not ended after {_RUN_S} s, and is left to itself"
                )
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 1)
        return int(code)

    def commit(
        self,
        name: str,
        repository: str,
        tag: str,
        max_bytes: int | None = None,
        reserve_bytes: int = RESERVE_BYTES,
    ) -> str:
        """Make an image of a container's file system, frozen while it is measured and written.

        :param max_bytes: what may have been written into it
        :param reserve_bytes: what has to stay free
        :return: id of the image
        :raises ImageRefused, HostFull: there is more in it, or no space for it
        """
        with (
            self.frozen(name),
            self.room.reserve(name, max_bytes, reserve_bytes=reserve_bytes),
        ):
            made = self._engine.call(
                "commit", name, repository=repository, tag=tag, pause=False, patient=True
            )
        return str(made["Id"])

    @contextlib.contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """Freeze a container while something is done inside, if it runs and the option says so."""
        if not self._freezes or not self._froze(name):
            yield
            return
        began = time.monotonic()
        try:
            yield
        finally:
            self.unpause(name)
            LOG.info("%s was frozen for %.1f s", name, time.monotonic() - began)

    def _froze(self, name: str) -> bool:
        """Freeze a container; return False where there is nothing to freeze."""
        status = self.inspect(name)["State"]["Status"]
        # Between its end and its next start nothing runs in it.
        if state_of(status) is not State.RUNNING or status == RESTARTING:
            return False
        self.pause(name)
        return True

    def export(self, name: str) -> Iterator[bytes]:
        """Return a container's file system as one archive."""
        return self._engine.stream("export", name)

    def _to_state(self, verb: Literal["pause", "unpause"], name: str, wanted: State) -> None:
        try:
            self._engine.call(verb, name)
        except exceptions.EngineError:
            if self.state(name) is not wanted:
                raise


def state_of(status: str) -> State:
    """Return the state that the engine's word stands for."""
    if status == "paused":
        return State.PAUSED
    return State.RUNNING if status in ("running", RESTARTING) else State.STOPPED


def is_half_removed(details: Mapping[str, Any]) -> bool:
    """Return whether the engine has begun to remove a container that it describes.

    Where a file system of its is busy the engine leaves it so: it neither starts nor is committed,
    and of its files some may be gone.
    """
    return details["State"]["Status"] in ("removing", "dead")
