# SPDX-License-Identifier: Apache-2.0
"""The host's devices, as its specifications by the Container Device Interface (CDI) tell of them.

A specification is a file in YAML or JSON, of one kind of devices (``vendor.com/class``): what has
to be done to a container so that it has one of them. Whoever writes such a file decides what of the
host is in containers: files that others than root may write are not read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from novadocker.exceptions import SpecificationRefused

# Some drivers tell of all their libraries, once for each device.
_MAX_BYTES = 8 << 20
_ENDINGS = (".json", ".yaml")
_ROOT = 0
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_KIND = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*[A-Za-z0-9]/[A-Za-z][A-Za-z0-9_-]*")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?")
_PERMISSIONS = re.compile("[rwm]{1,3}")
_TYPES = {"b": stat.S_ISBLK, "c": stat.S_ISCHR, "u": stat.S_ISCHR}


@dataclasses.dataclass(frozen=True, order=True)
class Node:
    """A device node.

    :param source: its path on the host
    :param target: its path in the container
    :param permissions: what the container may do: some of r, w and m
    :param wanted: what else the specification says of it, which the host's own has to be
    """

    source: str
    target: str
    permissions: str = "rwm"
    wanted: tuple[tuple[str, Any], ...] = dataclasses.field(default=(), compare=False)


@dataclasses.dataclass(frozen=True, order=True)
class Mount:
    """A file or a directory of the host."""

    source: str
    target: str
    read_only: bool = True


@dataclasses.dataclass(frozen=True)
class Edits:
    """What is done to a container.

    :param variables: of its environment, as NAME=VALUE
    :param beyond: what only an engine does that knows CDI itself
    """

    variables: tuple[str, ...] = ()
    nodes: tuple[Node, ...] = ()
    mounts: tuple[Mount, ...] = ()
    beyond: tuple[str, ...] = ()

    def __add__(self, more: Edits) -> Edits:
        """Return these and more, each once."""
        return Edits(
            *(
                tuple(dict.fromkeys(getattr(self, field.name) + getattr(more, field.name)))
                for field in dataclasses.fields(self)
            )
        )


@dataclasses.dataclass(frozen=True)
class Device:
    """A device of a specification.

    :param name: with its kind, as vendor.com/class=name
    :param own: edits of it alone
    :param of_all: edits of each device of the specification
    """

    name: str
    own: Edits
    of_all: Edits

    @property
    def kind(self) -> str:
        """Return its kind: vendor.com/class."""
        return self.name.partition("=")[0]

    @property
    def edits(self) -> Edits:
        """Return all that is done to a container that has it."""
        return self.of_all + self.own


def is_kind(text: str) -> bool:
    """Return whether a text is a kind of devices."""
    return bool(_KIND.fullmatch(text))


class Specifications:
    """The specifications in some directories, each read once until it changes.

    :param directories: in the order of their precedence, the highest at the end
    """

    def __init__(self, directories: Sequence[str]) -> None:
        self.directories = tuple(directories)
        self._read: dict[str, tuple[tuple[int, ...], list[Device] | SpecificationRefused]] = {}

    def devices(self) -> tuple[dict[str, Device], dict[str, str]]:
        """Return the devices by name, and what is not taken with the reason, by file or name."""
        devices: dict[str, Device] = {}
        refused: dict[str, str] = {}
        for directory in self.directories:
            by_name: dict[str, Device] = {}
            for path in _files(directory, refused):
                try:
                    told = self._of(path)
                except SpecificationRefused as err:
                    refused[path] = str(err)
                    continue
                for device in told:
                    if device.name in by_name:
                        refused[device.name] = f"several files in {directory} tell of it"
                    by_name[device.name] = device
            devices.update(by_name)
        return {name: device for name, device in devices.items() if name not in refused}, refused

    def _of(self, path: str) -> list[Device]:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as err:
            raise SpecificationRefused(str(err.strerror)) from err
        with os.fdopen(fd, "rb") as source:
            status = os.fstat(fd)
            of_now = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            known = self._read.get(path)
            if known is None or known[0] != of_now:
                try:
                    _require_roots(status)
                    if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_BYTES:
                        raise SpecificationRefused(f"it is no file of at most {_MAX_BYTES} bytes")
                    known = of_now, parsed(source.read())
                except SpecificationRefused as err:
                    known = of_now, err
                self._read[path] = known
        if isinstance(known[1], SpecificationRefused):
            raise known[1]
        return known[1]


def parsed(text: bytes) -> list[Device]:
    """Return the devices of a specification.

    :raises SpecificationRefused: it is none
    """
    try:
        whole = _loaded(text)
        kind = str(whole["kind"])
        if not is_kind(kind):
            raise SpecificationRefused(
                f"{kind!r} is no kind of devices: these are called vendor.com/class"
            )
        of_all = _edits(whole.get("containerEdits"))
        devices = [_device(kind, told, of_all) for told in whole["devices"]]
    except (yaml.YAMLError, ValueError, RecursionError) as err:
        raise SpecificationRefused(
            f"it is neither YAML nor JSON: {' '.join(str(err).split())}"
        ) from err
    except (AttributeError, KeyError, TypeError) as err:
        raise SpecificationRefused(
            f"it is no specification by CDI: {type(err).__name__} {err}"
        ) from err
    if len({device.name for device in devices}) < len(devices):
        raise SpecificationRefused("it has a device twice")
    return devices


def _loaded(text: bytes) -> Any:
    with contextlib.suppress(ValueError):
        return json.loads(text)
    # Not libyaml's loader: nesting without end would take nova-compute down.
    return yaml.safe_load(text)


def absent(device: Device) -> str | None:
    """Return what of a device the host does not have; None where it has all."""
    for node in device.edits.nodes:
        try:
            mode = os.stat(node.source).st_mode
        except OSError as err:
            return f"{node.source}: {err.strerror}"
        if not (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)):
            return f"{node.source} is no device"
    for mount in device.edits.mounts:
        if not os.path.exists(mount.source):
            return f"{mount.source}, which is to be mounted, is not there: have it written anew"
    return None


def identity(node: Node) -> str:
    """Return which device of the kernel's a node is, whatever its path; the path where none is."""
    try:
        status = os.stat(node.source)
    except OSError:
        return node.source
    kind = "b" if stat.S_ISBLK(status.st_mode) else "c"
    return f"{kind} {os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"


def beyond(device: Device) -> list[str]:
    """Return what only an engine does for a device that knows CDI itself, by the host as it is."""
    others = [told for node in device.edits.nodes for told in _beyond_a_node(node)]
    return [*device.edits.beyond, *others]


def _files(directory: str, refused: dict[str, str]) -> list[str]:
    try:
        status = os.stat(directory)
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
    except OSError as err:
        refused[directory] = str(err.strerror)
        return []
    try:
        _require_roots(status)
    except SpecificationRefused as err:
        refused[directory] = str(err)
        return []
    return [os.path.join(directory, name) for name in names if name.endswith(_ENDINGS)]


def _require_roots(status: os.stat_result) -> None:
    """Refuse what others than root may write.

    :raises SpecificationRefused: they may
    """
    if status.st_uid != _ROOT or status.st_mode & _WRITABLE_BY_OTHERS:
        raise SpecificationRefused("others than root may write it: it is not trusted")


def _device(kind: str, told: Mapping[str, Any], of_all: Edits) -> Device:
    # A number, in YAML.
    name = str(told["name"])
    if not _NAME.fullmatch(name):
        raise SpecificationRefused(f"{name!r} is no name of a device")
    return Device(f"{kind}={name}", _edits(told.get("containerEdits")), of_all)


def _edits(told: Mapping[str, Any] | None) -> Edits:
    told = told or {}
    nodes: list[Node] = []
    mounts: list[Mount] = []
    beyond = [name for name in told if name not in ("env", "deviceNodes", "mounts") and told[name]]
    for node in told.get("deviceNodes") or ():
        target = str(node["path"])
        source = str(node.get("hostPath") or target)
        permissions = str(node.get("permissions") or "rwm")
        if not _PERMISSIONS.fullmatch(permissions):
            raise SpecificationRefused(
                f"the permissions {permissions!r} of {target} are none of rwm"
            )
        wanted = tuple(
            (name, node[name])
            for name in ("type", "major", "minor", "fileMode", "uid", "gid")
            if node.get(name) not in (None, "")
        )
        nodes.append(Node(_absolute(source), _absolute(target), permissions, wanted))
    for mount in told.get("mounts") or ():
        options = [str(option) for option in mount.get("options") or ()]
        if mount.get("type") not in (None, "", "bind", "none"):
            beyond.append(f"a mount of type {mount['type']}")
        source, target = str(mount["hostPath"]), str(mount["containerPath"])
        # CDI's is the other way round: whoever has to write says so.
        mounts.append(Mount(_absolute(source), _absolute(target), "rw" not in options))
    return Edits(tuple(_variables(told)), tuple(nodes), tuple(mounts), tuple(beyond))


def _variables(told: Mapping[str, Any]) -> Iterator[str]:
    for variable in told.get("env") or ():
        name, equals, _value = str(variable).partition("=")
        if not (name and equals) or "\0" in str(variable):
            raise SpecificationRefused(f"{variable!r} is no variable: NAME=VALUE")
        yield str(variable)


def _beyond_a_node(node: Node) -> Iterator[str]:
    """Yield what a container's node is to be that the host's is not."""
    source, wanted = node.source, dict(node.wanted)
    try:
        status = os.stat(source)
    except OSError:
        # It is not there: nobody gets it.
        return
    is_type = _TYPES.get(str(wanted.pop("type", "c" if stat.S_ISCHR(status.st_mode) else "b")))
    if is_type is None or not is_type(status.st_mode):
        yield f"{source} as a node of another type"
    has = {
        "major": os.major(status.st_rdev),
        "minor": os.minor(status.st_rdev),
        "fileMode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
    }
    # Some makers of specifications write the whole mode.
    if "fileMode" in wanted:
        wanted["fileMode"] = stat.S_IMODE(int(wanted["fileMode"]))
    yield from (
        f"{source} with the {name} {value}" for name, value in wanted.items() if has[name] != value
    )


def _absolute(path: str) -> str:
    if not path.startswith("/") or "\0" in path or ".." in path.split("/"):
        raise SpecificationRefused(f"{path!r} is no absolute path")
    return os.path.normpath(path)
