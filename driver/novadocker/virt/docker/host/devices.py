# SPDX-License-Identifier: Apache-2.0
"""The host's devices that instances may have: which are offered, and what a container gets.

Each device is one instance's alone. Specifications tell of a device by several names (its number
and its serial one), and of all devices together by one more: only one name of each is offered.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from oslo_log import log as logging

from novadocker import exceptions
from novadocker.virt.docker.host import cdi
from novadocker.virt.docker.host.cdi import Device, Edits

LOG = logging.getLogger(__name__)

PREFIX = "CUSTOM_CDI_"
# What makers of specifications call all devices of a kind together.
_ALL = "all"


def resource_class(kind: str) -> str:
    """Return the resource class of a kind of devices, which is the name of a trait, too."""
    return PREFIX + re.sub("[^A-Z0-9_]", "_", kind.upper())


def class_of(name: str) -> str:
    """Return the resource class of a device, by its name with its kind."""
    return resource_class(name.partition("=")[0])


@dataclasses.dataclass(frozen=True)
class Given:
    """The devices of a container.

    :param names: with their kinds
    :param edits: what is done to the container
    :param by_engine: whether the engine does it, by the names
    :param nodes: which devices of the kernel's are each one's own
    """

    names: tuple[str, ...] = ()
    edits: Edits = dataclasses.field(default_factory=Edits)
    by_engine: bool = False
    nodes: tuple[frozenset[str], ...] = ()

    @property
    def variables(self) -> dict[str, str]:
        """Return the variables that the container gets with them."""
        told = () if self.by_engine else self.edits.variables
        return dict(variable.split("=", 1) for variable in told)

    @property
    def label(self) -> str:
        """Return what the container's label says of them; empty where there are none."""
        if not self.names:
            return ""
        nodes = [sorted(own) for own in self.nodes]
        variables = sorted(self.variables)
        told = {"names": self.names, "variables": variables, "nodes": nodes, "digest": self._digest}
        return json.dumps(told)

    @property
    def _digest(self) -> str:
        """Return a digest of the edits; the engine's own are made whenever it starts."""
        if self.by_engine or not self.names:
            return ""
        return hashlib.sha256(repr(self.edits).encode()).hexdigest()[:32]

    def is_in(self, label: str) -> bool:
        """Return whether a container has these devices, and as it would get them now.

        :param label: what it says of its devices
        """
        held = Held.of(label)
        return (held.names, held.digest) == (self.names, self._digest)


NONE = Given()


@dataclasses.dataclass(frozen=True)
class Held:
    """What a container's label says of its devices.

    :param names: with their kinds
    :param variables: names of the variables that it got with them
    :param nodes: which devices of the kernel's each one's own were when it was made
    :param digest: of what was done to it
    """

    names: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    nodes: tuple[frozenset[str], ...] = ()
    digest: str = ""

    @classmethod
    def of(cls, label: str) -> Held:
        """Return what a label says; nothing where it is empty."""
        told = json.loads(label) if label else {}
        names, variables = (tuple(told.get(name) or ()) for name in ("names", "variables"))
        nodes = tuple(frozenset(own) for own in told.get("nodes") or ())
        return cls(names, variables, nodes, str(told.get("digest") or ""))

    def has(self, name: str, own: frozenset[str]) -> bool:
        """Return whether the container has a device, by this name or by a former one.

        A running one keeps what it was given, whatever names have become of it since.

        :param own: which devices of the kernel's are its own
        """
        if name in self.names:
            return True
        return any(own and theirs and (own <= theirs or theirs <= own) for theirs in self.nodes)


class Devices:
    """The devices of the kinds that the operator allows.

    :param directories: of specifications, the highest precedence at the end
    :param kinds: vendor.com/class
    """

    def __init__(self, directories: Sequence[str], kinds: Sequence[str]) -> None:
        self._specifications = cdi.Specifications(directories)
        self._kinds = tuple(dict.fromkeys(kinds))
        self._told: dict[str, str] = {}
        self._gone: frozenset[str] = frozenset()

    def check(self, of_engine: Sequence[str] = ()) -> None:
        """Check the kinds, and where their specifications are.

        :param of_engine: the engine's own directories of specifications, where it knows CDI
        :raises NotReady: Placement could not tell two of them apart, or the engine goes by others
        """
        ours = self._specifications.directories
        if self._kinds and of_engine and tuple(of_engine) != ours:
            raise exceptions.NotReady(
                f"[docker]cdi_spec_dirs is {','.join(ours)}, and Docker's cdi-spec-dirs is "
                f"{','.join(of_engine)}: make them the same, as Docker gives out the devices"
            )
        by_class: dict[str, str] = {}
        for kind in self._kinds:
            other = by_class.setdefault(resource_class(kind), kind)
            if other != kind:
                raise exceptions.NotReady(
                    f"[docker]cdi_kinds has {other} and {kind}, which are both "
                    f"{resource_class(kind)} in Placement: take one of them out"
                )

    def offered(self, by_engine: bool) -> dict[str, Device]:
        """Return the devices that instances may have, by name.

        :param by_engine: whether the engine knows CDI
        """
        devices, refused, others = self.examined(by_engine)
        for what, reason in refused.items():
            if self._told.get(what) != reason:
                LOG.warning("%s: no instance gets it: %s", what, reason)
        self._told = {**refused, **others}
        return devices

    def examined(self, by_engine: bool) -> tuple[dict[str, Device], dict[str, str], dict[str, str]]:
        """Return the devices that instances may have, and why they may not have others.

        :param by_engine: whether the engine knows CDI
        :return: the devices; what is wrong with some; what other names of devices stand for, which
            is no fault
        """
        if not self._kinds:
            return {}, {}, {}
        there, refused = self._specifications.devices()
        fit = []
        for device in there.values():
            if device.kind in self._kinds:
                reason = _unfit(device, by_engine)
                if reason is None:
                    fit.append(device)
                else:
                    refused[device.name] = reason
        apart, others = _apart(fit)
        return {device.name: device for device in apart}, refused, others

    def given(self, names: Iterable[str], by_engine: bool) -> Given:
        """Return what a container gets that has some devices.

        :param by_engine: whether the engine knows CDI
        :raises HostUnfit: the host has one of them no more
        """
        wanted = tuple(sorted(names))
        if not wanted:
            return NONE
        offered = self.offered(by_engine)
        edits = Edits()
        for name in wanted:
            if name not in offered:
                raise exceptions.HostUnfit(
                    f"the server has the device {name}, and this host has not: "
                    f"{self._told.get(name) or 'no specification that is trusted tells of it'}. "
                    "Bring it back, or move or resize the server"
                )
            edits += offered[name].edits
        return Given(wanted, edits, by_engine, tuple(_own(offered[name]) for name in wanted))

    def names(self, held: Mapping[str, Iterable[Held]], by_engine: bool) -> dict[str, set[str]]:
        """Return the names of the devices that Nova is to know of, by resource class.

        Those that instances hold are among them also where they are gone: Nova counts them as in
        use. What may be such a device by another name is not.

        :param held: by UUID of the instance that holds it
        :param by_engine: whether the engine knows CDI
        """
        holders = [holder for of_one in held.values() for holder in of_one]
        offered = self.offered(by_engine)
        in_use = {name for holder in holders for name in holder.names}
        gone = in_use - set(offered)
        for uuid, of_one in held.items():
            for name in sorted({name for holder in of_one for name in holder.names} & gone):
                if name not in self._gone:
                    LOG.error(
                        "The device %s is gone, and the server %s has it: bring it back, or move "
                        "or resize the server",
                        name,
                        uuid,
                    )
        self._gone = frozenset(gone)
        free = {
            name
            for name, device in offered.items()
            if not any(holder.has(name, _own(device)) for holder in holders)
        }
        by_class: dict[str, set[str]] = {}
        for name in in_use | free:
            by_class.setdefault(class_of(name), set()).add(name)
        return by_class


def _unfit(device: Device, by_engine: bool) -> str | None:
    """Return why no instance gets a device."""
    reason = cdi.absent(device)
    beyond = [] if reason or by_engine else cdi.beyond(device)
    if beyond:
        return (
            f"it takes {', '.join(beyond)}, which only an engine with CDI does: "
            "Docker 28, or 25 with the feature cdi"
        )
    return reason


def _own(device: Device) -> frozenset[str]:
    """Return which devices of the kernel's are a device's own."""
    return frozenset(cdi.identity(node) for node in device.own.nodes)


def _apart(devices: Sequence[Device]) -> tuple[list[Device], dict[str, str]]:
    """Return one name of each device, and what the other names stand for.

    A device is known by its own nodes; one without nodes by its name.
    """
    nodes = {device.name: _own(device) for device in devices}
    of_kinds = Counter(device.kind for device in devices)
    others: dict[str, str] = {}
    by_nodes: dict[frozenset[str], Device] = {}
    single = []
    # The longest name is a serial number, which does not change as others come and go.
    for device in sorted(devices, key=lambda device: (-len(device.name), device.name)):
        if of_kinds[device.kind] > 1 and device.name.endswith(f"={_ALL}"):
            others[device.name] = "it is several devices"
        elif not nodes[device.name]:
            single.append(device)
        elif nodes[device.name] in by_nodes:
            others[device.name] = f"it is {by_nodes[nodes[device.name]].name}"
        else:
            by_nodes[nodes[device.name]] = device
    for paths, device in by_nodes.items():
        part = next((other for of, other in by_nodes.items() if of < paths), None)
        if part is None:
            single.append(device)
        else:
            others[device.name] = f"{part.name} is a part of it"
    return single, others
