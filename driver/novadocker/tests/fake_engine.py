# SPDX-License-Identifier: Apache-2.0
"""A Docker Engine in memory, with the requests that the driver makes."""

from __future__ import annotations

import io
import itertools
import json
import tarfile
import threading
from collections.abc import Iterator
from typing import Any

from docker.types import HostConfig

from novadocker import exceptions
from novadocker.tests import archives

# Of an image, in the engine.
MOST_LAYERS = 125


class Events(list[dict[str, Any]]):
    """A stream of events that ends."""

    closed = False

    def close(self) -> None:
        self.closed = True


class FakeEngine:
    """Stands in for ``client.Engine``: containers and images have the states of real ones.

    :ivar calls: verbs in the order of their calls
    :ivar failing: faults to raise, by verb
    :ivar size_rw: what has been written into each container, in bytes
    :ivar helpers: what containers were asked for that are never started
    :ivar forgotten: how often what was agreed on with it was dropped
    :ivar terminal: connection with every terminal
    :ivar quota: whether a limit of a file system is taken
    :ivar quota_holds: whether it is one, too
    """

    def __init__(self) -> None:
        self.containers: dict[str, dict[str, Any]] = {}
        self.images: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        self.failing: dict[str, Exception] = {}
        self.archives: dict[str, list[bytes]] = {}
        self.helpers: list[dict[str, Any]] = []
        self.execs: list[dict[str, Any]] = []
        self.exec_codes: list[int | None] = [None, None]
        self.exec_code: int | None = 0
        self.terminal: Any = None
        self.log = b""
        self.stats: dict[str, Any] = {}
        self.live_events: Any = Events()
        self.saved: bytes = b""
        self.size_rw = 0
        self.quota = False
        self.quota_holds = True
        self.driver_status: list[list[str]] = []
        self.url = "memory"
        self.forgotten = 0
        self.load_report: list[dict[str, str]] = []
        self._ids = itertools.count(1)
        # What is put may be read from it on the way.
        self._lock = threading.RLock()

    def call(self, verb: str, *args: Any, patient: bool = False, **kwargs: Any) -> Any:
        with self._lock:
            self.calls.append(verb)
            if verb in self.failing:
                raise self.failing[verb]
            return getattr(self, f"_{verb}")(*args, **kwargs)

    def forget(self) -> None:
        self.forgotten += 1

    def stream(self, verb: str, *args: Any, **kwargs: Any) -> Iterator[Any]:
        yield from self.call(verb, *args, **kwargs)

    def add_image(self, tag: str, config: dict[str, Any] | None = None, layers: int = 1) -> str:
        """Add an image; another image of that name loses it."""
        for other in self.images.values():
            other["RepoTags"] = [known_tag for known_tag in other["RepoTags"] if known_tag != tag]
        identity = f"sha256:{next(self._ids):064x}"
        self.images[identity] = {
            "Id": identity,
            "RepoTags": [tag],
            "Config": config or {},
            "RootFS": {"Layers": ["l"] * layers},
            "Architecture": "amd64",
            "Os": "linux",
        }
        return identity

    def names(self) -> set[str]:
        """Return the names of all containers."""
        return {container["Name"].lstrip("/") for container in self.containers.values()}

    def _find(self, name: str) -> dict[str, Any]:
        for identity, container in self.containers.items():
            if name in (identity, container["Name"].lstrip("/")):
                return container
        raise exceptions.NotFound(f"No such container: {name}", 404)

    def _image(self, name: str) -> dict[str, Any]:
        for identity, image in self.images.items():
            if name == identity or name in image["RepoTags"]:
                return image
        raise exceptions.NotFound(f"No such image: {name}", 404)

    def _create_host_config(self, **kwargs: Any) -> Any:
        return HostConfig(version="1.41", **kwargs)

    def _create_container(self, image: str, **kwargs: Any) -> dict[str, str]:
        base = self._image(image)
        host_config = kwargs.get("host_config") or {}
        if host_config.get("StorageOpt") and not self.quota:
            raise exceptions.EngineError(
                "--storage-opt is supported only for overlay over xfs", 500
            )
        name = kwargs.get("name") or f"unnamed-{next(self._ids)}"
        if name in self.names():
            raise exceptions.Conflict(f"The container name {name} is already in use", 409)
        identity = f"{next(self._ids):064x}"
        if not host_config:
            self.helpers.append(kwargs)
        mode = host_config.get("NetworkMode") or ""
        if mode.startswith("container:"):
            joined = self._find(mode.partition(":")[2])["Id"]
            host_config = {**host_config, "NetworkMode": f"container:{joined}"}
        self.containers[identity] = {
            "Id": identity,
            "Name": f"/{name}",
            "Image": base["Id"],
            "Config": {
                # As the engine does, the image's own where nothing is asked for.
                **base["Config"],
                "Labels": kwargs.get("labels") or {},
                "Cmd": kwargs.get("command") or base["Config"].get("Cmd"),
                "Tty": kwargs.get("tty", False),
            },
            "HostConfig": host_config,
            "State": {"Status": "created", "Running": False},
            "NetworkSettings": {"SandboxKey": ""},
            "HostsPath": "",
            "asked": kwargs,
        }
        return {"Id": identity}

    def _set(self, container: dict[str, Any], status: str) -> None:
        container["State"] = {"Status": status, "Running": status in ("running", "paused")}
        container["NetworkSettings"]["SandboxKey"] = (
            f"/var/run/docker/netns/{container['Id'][-12:]}"
            if container["State"]["Running"]
            else ""
        )

    def _start(self, name: str) -> None:
        container = self._find(name)
        mode = container["HostConfig"].get("NetworkMode") or ""
        container["HostsPath"] = f"/var/lib/docker/containers/{container['Id']}/hosts"
        if mode.startswith("container:"):
            container["HostsPath"] = self._find(mode.partition(":")[2])["HostsPath"]
        if container["State"]["Status"] != "paused":
            self._set(container, "running")

    def _stop(self, name: str, timeout: int) -> None:
        self._set(self._find(name), "exited")

    def _kill(self, name: str) -> None:
        container = self._find(name)
        if not container["State"]["Running"]:
            raise exceptions.Conflict("is not running", 409)
        self._set(container, "exited")

    def _wait(self, name: str, condition: str = "") -> None:
        return None

    def _pause(self, name: str) -> None:
        container = self._find(name)
        if container["State"]["Status"] != "running":
            raise exceptions.Conflict("cannot be paused", 409)
        self._set(container, "paused")

    def _unpause(self, name: str) -> None:
        container = self._find(name)
        if container["State"]["Status"] != "paused":
            raise exceptions.EngineError("is not paused", 500)
        self._set(container, "running")

    def _update_container(self, name: str, resources: dict[str, int]) -> None:
        container = self._find(name)
        container["HostConfig"] = {**container["HostConfig"], **resources}

    def _inspect_container(self, name: str) -> dict[str, Any]:
        return self._find(name)

    def _remove_container(self, name: str, force: bool = False, v: bool = False) -> None:
        del self.containers[self._find(name)["Id"]]

    def _rename(self, name: str, new_name: str) -> None:
        if new_name in self.names():
            raise exceptions.Conflict(f"The container name {new_name} is already in use", 409)
        self._find(name)["Name"] = f"/{new_name}"

    def _containers(
        self,
        all: bool,  # noqa: A002
        filters: dict[str, Any],
        size: bool = False,
    ) -> list[dict[str, Any]]:
        if size:
            listed = [self._find(identity) for identity in filters["id"]]
            sizes = {"SizeRw": self.size_rw, "SizeRootFs": max(self.size_rw, 0) + 1000}
            return [{key: size for key, size in sizes.items() if size} for _one in listed]
        wanted = dict(label.split("=", 1) for label in filters["label"])
        return [
            {
                "Id": identity,
                "Names": [container["Name"]],
                "Labels": container["Config"]["Labels"],
                "State": container["State"]["Status"],
            }
            for identity, container in self.containers.items()
            if wanted.items() <= container["Config"]["Labels"].items()
        ]

    def _put_archive(self, name: str, path: str, data: Any) -> bool:
        whole = data if isinstance(data, bytes) else b"".join(data)
        limit = (self._find(name)["HostConfig"].get("StorageOpt") or {}).get("size", "")
        if self.quota_holds and limit.endswith("M") and len(whole) > int(limit[:-1]) << 20:
            raise exceptions.EngineError("write /probe: disk quota exceeded", 500)
        self.archives.setdefault(name, []).append(whole)
        return True

    def _get_archive(self, name: str, path: str) -> tuple[Any, dict[str, Any]]:
        self._find(name)
        files = (("./etc/hosts", b"the engine's"), ("./etc/of", f"{name}:{path}".encode()))
        return iter([archives.tar(*files)]), {}

    def _logs(self, name: str, **kwargs: Any) -> Iterator[bytes]:
        self._find(name)
        return iter([self.log[at : at + 50_000] for at in range(0, len(self.log), 50_000)])

    def _stats(self, name: str, **kwargs: Any) -> dict[str, Any]:
        self._find(name)
        return self.stats

    def _exec_create(self, name: str, argv: list[str], **kwargs: Any) -> dict[str, Any]:
        self._find(name)
        self.execs.append({"argv": argv, **kwargs})
        return {"Id": "exec"}

    def _exec_start(self, identity: str, detach: bool) -> str:
        assert detach, "output of a tenant's program would be taken into memory"
        return ""

    def _exec_resize(self, identity: str, height: int, width: int) -> None:
        return None

    def _resize(self, name: str, height: int, width: int) -> None:
        self._find(name)

    def _open_exec(self, identity: str) -> Any:
        return self.terminal

    def _open_terminal(self, name: str, detach_keys: str) -> Any:
        self._find(name)
        return self.terminal

    def _exec_inspect(self, identity: str) -> dict[str, int | None]:
        return {"ExitCode": self.exec_codes.pop(0) if self.exec_codes else self.exec_code}

    def _commit(self, name: str, repository: str, tag: str, pause: bool = True) -> dict[str, str]:
        container = self._find(name)
        base = self.images[container["Image"]]
        if len(base["RootFS"]["Layers"]) >= MOST_LAYERS:
            raise exceptions.EngineError("max depth exceeded", 500)
        own = {key: value for key, value in container["Config"].items() if value is not None}
        config = {**base["Config"], **own}
        layers = len(base["RootFS"]["Layers"]) + 1
        return {"Id": self.add_image(f"{repository}:{tag}", config, layers)}

    def _inspect_image(self, name: str) -> dict[str, Any]:
        return self._image(name)

    def _images(self, filters: dict[str, Any]) -> list[dict[str, Any]]:
        if "label" in filters:
            name, _, value = filters["label"].partition("=")
            return [
                {**image, "RepoTags": [*image["RepoTags"]]}
                for image in self.images.values()
                if (image["Config"].get("Labels") or {}).get(name) == value
            ]
        prefix = filters["reference"].rstrip("*")
        return [
            image
            for image in self.images.values()
            if any(tag.startswith(prefix) for tag in image["RepoTags"])
        ]

    def _tag(self, identity: str, repository: str, tag: str) -> None:
        self._image(identity)["RepoTags"].append(f"{repository}:{tag}")

    def _remove_image(self, name: str, force: bool = False) -> None:
        image = self._image(name)
        last = image["RepoTags"] in ([], [name])
        if (
            last
            and any(box["Image"] == image["Id"] for box in self.containers.values())
            and not force
        ):
            raise exceptions.Conflict("image is being used", 409)
        image["RepoTags"] = [tag for tag in image["RepoTags"] if tag != name]
        if not image["RepoTags"]:
            del self.images[image["Id"]]

    def _import_image_from_data(self, data: Any, repository: str, tag: str, changes: Any) -> None:
        if not isinstance(data, bytes):
            b"".join(data)
        labels = dict(change[6:].split("=", 1) for change in changes if change.startswith("LABEL "))
        self.add_image(f"{repository}:{tag}", {"Labels": labels})

    def _load_image(self, parts: Any) -> list[dict[str, str]]:
        self.saved = b"".join(parts)
        with tarfile.open(fileobj=io.BytesIO(self.saved)) as members:
            (entry,) = json.load(members.extractfile("manifest.json"))
        if not self.load_report:
            for tag in entry["RepoTags"]:
                self.add_image(tag)
        return self.load_report

    def _get_image(self, identity: str) -> list[bytes]:
        return [self.saved]

    def _export(self, name: str) -> Any:
        return [self.saved] if self.saved else self._get_archive(name, "/.")[0]

    def _version(self) -> dict[str, str]:
        return {"Version": "20.10.24", "ApiVersion": "1.41"}

    def _info(self) -> dict[str, Any]:
        return {
            "NCPU": 4,
            "CPUSet": True,
            "MemTotal": 8 << 30,
            "DockerRootDir": "/",
            "DriverStatus": self.driver_status,
            "ServerVersion": "20.10.24+dfsg1",
            "LiveRestoreEnabled": True,
            "Runtimes": {"io.containerd.runc.v2": {}, "runc": {}},
            "SecurityOptions": ["name=seccomp,profile=default"],
        }

    def _events(self, **kwargs: Any) -> Any:
        return self.live_events


def names(instance: Any) -> set[str]:
    """Return the names of an instance's containers."""
    return {f"nova-{instance.uuid}", f"nova-sandbox-{instance.uuid}"}


def workload(engine: Any, instance: Any) -> Any:
    """Return what the engine says of an instance's workload."""
    return engine.call("inspect_container", f"nova-{instance.uuid}")


def when(engine: Any, verb: str, number: int, fault: BaseException, done: bool = False) -> None:
    """Let one request fail, of those of a verb, once; it may be done all the same."""
    answer, asked = getattr(engine, f"_{verb}"), []

    def flaky(*args: Any, **kwargs: Any) -> Any:
        asked.append(args)
        if len(asked) == number:
            if done:
                answer(*args, **kwargs)
            raise fault
        return answer(*args, **kwargs)

    setattr(engine, f"_{verb}", flaky)
