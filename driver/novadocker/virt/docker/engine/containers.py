# SPDX-License-Identifier: Apache-2.0
"""Containers of instances: names, labels, commands, life cycle."""

import dataclasses
import enum
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from oslo_log import log as logging

from novadocker import exceptions
from novadocker.types import Flavor, Instance
from novadocker.virt.docker.engine import client, isolation, streams
from novadocker.virt.docker.host.facts import HostFacts

LOG = logging.getLogger(__name__)

LABEL = "org.openstack.nova."
# Images of containers that were made anew from their own file system, tagged by instance.
KEPT = "nova-docker/instance"
# The longest that a command in a container may take.
_RUN_S = 30
# What the engine puts into each container, and keeps busy.
_ENGINES_FILES = frozenset({".dockerenv", "etc/hostname", "etc/hosts", "etc/resolv.conf"})


class Role(enum.Enum):
    """What a container is to its instance."""

    WORKLOAD = "workload"
    SANDBOX = "sandbox"


class State(enum.Enum):
    """What a workload does."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"


@dataclasses.dataclass(frozen=True)
class Workload:
    """What the workload's container is made from.

    :param image: id of the engine's image
    :param command: arguments to the image's entry point; None is the image's own
    """

    name: str
    sandbox: str
    image: str
    labels: Mapping[str, str]
    command: list[str] | None
    environment: Mapping[str, str]
    tty: bool
    init: bool


def workload_name(uuid: str) -> str:
    """Name the container of an instance."""
    return f"nova-{uuid}"


def sandbox_name(uuid: str) -> str:
    """Name the sandbox of an instance."""
    return f"nova-sandbox-{uuid}"


def new_name(uuid: str) -> str:
    """Name the container that is about to replace the one of an instance."""
    return f"nova-{uuid}-new"


def resized_name(uuid: str) -> str:
    """Name the container that an instance would go back to after a resize or a migration."""
    return f"nova-{uuid}-resize"


def rescued_name(uuid: str) -> str:
    """Name the container of an instance that is being rescued."""
    return f"nova-{uuid}-rescued"


def aside_names(uuid: str) -> tuple[str, ...]:
    """Name what becomes the container of an instance that has none, the best one first."""
    return rescued_name(uuid), resized_name(uuid), new_name(uuid)


def labels(instance: Instance, host: str, role: Role, image_id: str = "") -> dict[str, str]:
    """Label a container of an instance.

    All labels are always set: what is not set would be taken from the image, which a tenant made.
    """
    return {
        LABEL + "uuid": instance.uuid,
        LABEL + "name": instance.name,
        LABEL + "host": host,
        LABEL + "project": instance.project_id or "",
        LABEL + "image_id": image_id,
        LABEL + "role": role.value,
    }


def image_label(details: Mapping[str, Any]) -> str:
    """Find the id of the image of Glance's that a container was made from."""
    return str(details["Config"]["Labels"].get(f"{LABEL}image_id", ""))


def command(command_line: str | None, image_config: Mapping[str, Any]) -> list[str] | None:
    """Choose what a workload runs.

    :param command_line: the image property ``os_command_line``
    :param image_config: ``Config`` of the engine's image
    :return: None where the image says it itself; a shell where nobody does
    :raises ImageRefused: the property cannot be split into arguments
    """
    if command_line:
        try:
            return shlex.split(command_line)
        except ValueError as err:
            raise exceptions.ImageRefused(
                f"its os_command_line cannot be split into arguments: {err}"
            ) from err
    if image_config.get("Cmd") or image_config.get("Entrypoint"):
        return None
    return ["sh"]


class Containers:
    """The containers of this host's instances.

    :param facts: only containers labelled with this host's name are listed
    :param bound: describes what of the host a workload of an instance is given, by its UUID
    """

    def __init__(
        self,
        engine: client.Engine,
        facts: HostFacts,
        limits: isolation.Isolation,
        bound: Callable[[str], list[dict[str, Any]]] = lambda _uuid: [],
    ) -> None:
        self._engine = engine
        self._facts = facts
        self._isolation = limits
        self._bound = bound

    def create(self, workload: Workload, flavor: Flavor, disk_gb: int | None = None) -> None:
        """Make a workload's container, and do not start it.

        :param disk_gb: limit of its file system; None is no limit
        :raises Conflict: the name is taken
        """
        arguments = isolation.arguments(self._isolation, flavor.get("extra_specs", {}) or {})
        if disk_gb:
            arguments["storage_opt"] = {"size": f"{disk_gb}G"}
        host_config = self._engine.call(
            "create_host_config",
            network_mode=f"container:{workload.sandbox}",
            restart_policy={"Name": "no"},
            init=workload.init or None,
            mounts=[
                *arguments.pop("mounts", ()),
                *self._bound(workload.labels[f"{LABEL}uuid"]),
            ]
            or None,
            **isolation.limits(flavor),
            **arguments,
        )
        self._engine.call(
            "create_container",
            workload.image,
            name=workload.name,
            command=workload.command,
            labels=dict(workload.labels),
            environment=dict(workload.environment),
            tty=workload.tty,
            stdin_open=workload.tty,
            host_config=host_config,
            # An image's health check runs commands of the tenant's that nobody here looks at.
            healthcheck={"test": ["NONE"]},
        )

    def names_by_uuid(self) -> dict[str, str]:
        """List the instances that have a container here, by one request."""
        found = self._engine.call(
            "containers", all=True, filters={"label": [f"{LABEL}host={self._facts.name}"]}
        )
        return {
            one["Labels"][LABEL + "uuid"]: one["Labels"].get(LABEL + "name", "")
            for one in found
            if one["Labels"].get(LABEL + "uuid")
        }

    def states_by_uuid(self) -> dict[str, State]:
        """List the states of all workloads here, by one request."""
        found = self._engine.call(
            "containers",
            all=True,
            filters={
                "label": [f"{LABEL}host={self._facts.name}", f"{LABEL}role={Role.WORKLOAD.value}"]
            },
        )
        # The container that an instance would go back to after a resize has another name.
        return {
            one["Labels"][f"{LABEL}uuid"]: state_of(one["State"])
            for one in found
            if f"/{workload_name(one['Labels'][f'{LABEL}uuid'])}" in one["Names"]
        }

    def inspect(self, name: str) -> dict[str, Any]:
        """Ask for all about a container.

        :raises NotFound: there is none of that name
        """
        details: dict[str, Any] = self._engine.call("inspect_container", name)
        return details

    def exists(self, name: str) -> bool:
        """Tell whether there is a container of that name."""
        try:
            self.inspect(name)
        except exceptions.NotFound:
            return False
        return True

    def state(self, name: str) -> State:
        """Tell what a workload does.

        :raises NotFound: there is none of that name
        """
        return state_of(self.inspect(name)["State"]["Status"])

    def pid(self, name: str) -> int:
        """Tell the process that a container is; 0 when it does not run.

        :raises NotFound: there is none of that name
        """
        return int(self.inspect(name)["State"].get("Pid") or 0)

    def start(self, name: str) -> None:
        """Start a container; one that runs stays as it is."""
        self._engine.call("start", name)

    def stop(self, name: str, timeout_s: int) -> None:
        """Ask the workload to end, and kill it after a time; 0 kills it at once.

        A paused one goes on first, so that it can hear the request.
        """
        self.unpause(name)
        if timeout_s <= 0:
            self.kill(name)
            return
        self._engine.call("stop", name, timeout=timeout_s, patient=True)

    def kill(self, name: str) -> None:
        """Kill a container and wait for its end; a stopped one stays stopped."""
        try:
            self._engine.call("kill", name)
        except exceptions.Conflict:
            return
        self._engine.call("wait", name)

    def pause(self, name: str) -> None:
        """Freeze a container; a frozen one stays so."""
        self._to_state("pause", name, State.PAUSED)

    def unpause(self, name: str) -> None:
        """Let a frozen container go on; any other one stays as it is."""
        if self.state(name) is State.PAUSED:
            self._to_state("unpause", name, State.RUNNING)

    def remove(self, name: str) -> bool:
        """Remove a container, whatever it does, and its anonymous volumes.

        :return: False when there was none
        """
        try:
            self._engine.call("remove_container", name, force=True, v=True)
        except exceptions.NotFound:
            return False
        except exceptions.Conflict as err:
            if "already in progress" not in str(err):
                raise
            self._engine.call("wait", name, condition="removed")
        return True

    def rename(self, name: str, new_name: str) -> None:
        """Give a container another name."""
        self._engine.call("rename", name, new_name)

    def log_tail(self, name: str, lines: int, max_bytes: int) -> bytes:
        """Read the end of what a workload has written; it may be much, and is not kept whole."""
        output = b""
        for part in self._engine.stream(
            "logs", name, stdout=True, stderr=True, tail=lines, stream=True, follow=False
        ):
            output = (output + part)[-max_bytes:]
        return output

    def stats(self, name: str) -> dict[str, Any]:
        """Ask for a container's counters, once."""
        counters: dict[str, Any] = self._engine.call("stats", name, stream=False, one_shot=True)
        return counters

    def put_archive(self, name: str, tar: bytes) -> None:
        """Unpack an archive at a container's root; the engine keeps it inside the container."""
        if not self._engine.call("put_archive", name, "/", tar):
            raise exceptions.EngineError(f"files were not written into {name}")

    def copy(self, source: str, source_path: str, target: str, target_path: str) -> None:
        """Copy the files of one container, from a directory of it, into a directory of another.

        Nothing of it is kept on the host on the way, and what the engine makes for each container
        stays out of it, as do directories of the host's.
        """
        bound = {
            one["Target"].strip("/")
            for name in (source, target)
            for one in self.inspect(name)["HostConfig"].get("Mounts") or []
        }
        if source_path == "/":
            # Without what is mounted: files of lxcfs do not have the size that they tell.
            stream = self.export(source)
        else:
            stream, _stat = self._engine.call(
                "get_archive", source, f"{source_path.rstrip('/')}/.", patient=True
            )
        files = streams.tar_without(stream, _ENGINES_FILES | bound)
        if not self._engine.call("put_archive", target, target_path, files, patient=True):
            raise exceptions.EngineError(f"files of {source} were not copied into {target}")

    def run(self, name: str, argv: list[str], environment: Mapping[str, str]) -> int:
        """Run a command in a running container, whose output nobody sees.

        The program is the tenant's: its output may have no end, and it may have none itself.

        :return: its exit code
        :raises EngineError: it has not ended in time
        """
        identity = self._engine.call(
            "exec_create",
            name,
            argv,
            environment=dict(environment),
            user="0",
            # The image's own may lead out of the container (CVE-2024-21626).
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

    def commit(self, name: str, repository: str, tag: str) -> str:
        """Make an image of a container's file system; it is frozen meanwhile.

        :return: id of the image
        """
        return str(
            self._engine.call(
                "commit", name, repository=repository, tag=tag, pause=True, patient=True
            )["Id"]
        )

    def keep(self, name: str, uuid: str) -> str:
        """Make the image that an instance is made anew from, from a container of it.

        :return: id of the image
        """
        # One that a crash has left unused would lose its name.
        self.forget_kept(uuid)
        return self.commit(name, KEPT, uuid)

    def kept(self, uuid: str) -> str:
        """Find the image of an instance that was made anew.

        :raises NotFound: it never was
        """
        return str(self._engine.call("inspect_image", f"{KEPT}:{uuid}")["Id"])

    def forget_kept(self, uuid: str) -> None:
        """Remove the images of an instance that was made anew, if it ever was.

        One stays as long as a container needs it that the instance may go back to. Where an
        instance is made anew several times, only the last image has the name.
        """
        self._remove_image(f"{KEPT}:{uuid}")
        nameless = {"dangling": True, "label": f"{LABEL}uuid={uuid}"}
        for image in self._engine.call("images", filters=nameless):
            self._remove_image(image["Id"])

    def _remove_image(self, image: str) -> None:
        try:
            self._engine.call("remove_image", image)
        except exceptions.NotFound:
            return
        except exceptions.Conflict as err:
            LOG.debug("The image %s stays: %s", image, err)

    def export(self, name: str) -> Iterator[bytes]:
        """Read a container's file system as one archive."""
        return self._engine.stream("export", name)

    def _to_state(self, verb: Literal["pause", "unpause"], name: str, wanted: State) -> None:
        try:
            self._engine.call(verb, name)
        except exceptions.EngineError:
            if self.state(name) is not wanted:
                raise


def state_of(status: str) -> State:
    """Translate the engine's word for a state."""
    if status == "paused":
        return State.PAUSED
    return State.RUNNING if status in ("running", "restarting") else State.STOPPED
