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
from collections.abc import Iterable, Sequence

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
    """

    names: tuple[str, ...] = ()
    edits: Edits = dataclasses.field(default_factory=Edits)
    by_engine: bool = False

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
        nodes = sorted(node.source for node in self.edits.nodes)
        held = Held(self.names, tuple(sorted(self.variables)), tuple(nodes), self._digest)
        return json.dumps(dataclasses.asdict(held))

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
    :param nodes: paths of the host's device nodes
    :param digest: of what was done to it
    """

    names: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    digest: str = ""

    @classmethod
    def of(cls, label: str) -> Held:
        """Return what a label says; nothing where it is empty."""
        told = json.loads(label) if label else {}
        names, variables, nodes = (
            tuple(told.get(name) or ()) for name in ("names", "variables", "nodes")
        )
        return cls(names, variables, nodes, str(told.get("digest") or ""))


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

    def check(self) -> None:
        """Check the kinds.

        :raises NotReady: Placement could not tell two of them apart
        """
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
        devices, refused = self.examined(by_engine)
        for what, reason in refused.items():
            if self._told.get(what) != reason:
                LOG.warning("%s: no instance gets it: %s", what, reason)
        self._told = refused
        return devices

    def examined(self, by_engine: bool) -> tuple[dict[str, Device], dict[str, str]]:
        """Return the devices that instances may have, and why they may not have others.

        :param by_engine: whether the engine knows CDI
        """
        if not self._kinds:
            return {}, {}
        there, refused = self._specifications.devices()
        offered: dict[str, Device] = {}
        for kind in self._kinds:
            of_kind = [device for device in there.values() if device.kind == kind]
            apart, others = _apart(of_kind)
            refused.update(others)
            for device in apart:
                reason = _unfit(device, by_engine)
                if reason is None:
                    offered[device.name] = device
                else:
                    refused[device.name] = reason
        return offered, refused

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
        return Given(wanted, edits, by_engine)

    def names(self, held: Iterable[Held], by_engine: bool) -> dict[str, set[str]]:
        """Return the names of the devices that Nova is to know of, by resource class.

        Those that instances hold are among them also where they are gone: Nova counts them as in
        use. What may be such a device by another name is not.

        :param by_engine: whether the engine knows CDI
        """
        held = list(held)
        offered = self.offered(by_engine)
        in_use = {name for holder in held for name in holder.names}
        gone = frozenset(in_use - set(offered))
        for name in sorted(gone - self._gone):
            LOG.error("The device %s is gone, and an instance has it", name)
        self._gone = gone
        of_gone = {node for holder in held if gone & set(holder.names) for node in holder.nodes}
        free = {
            name
            for name, device in offered.items()
            if not of_gone & {node.source for node in device.own.nodes}
        }
        by_class: dict[str, set[str]] = {}
        for name in in_use | free:
            by_class.setdefault(class_of(name), set()).add(name)
        return by_class


def _unfit(device: Device, by_engine: bool) -> str | None:
    """Return why no instance gets a device."""
    reason = cdi.absent(device)
    if reason is None and device.edits.beyond and not by_engine:
        return (
            f"it takes {', '.join(device.edits.beyond)}, which only an engine with CDI does: "
            "Docker 28, or 25 with the feature cdi"
        )
    return reason


def _apart(devices: Sequence[Device]) -> tuple[list[Device], dict[str, str]]:
    """Return one name of each device of a kind, and what the other names stand for.

    A device is known by its own nodes; one without nodes by its name.
    """
    nodes = {device.name: frozenset(node.source for node in device.own.nodes) for device in devices}
    others: dict[str, str] = {}
    by_nodes: dict[frozenset[str], Device] = {}
    single = []
    # The longest name is a serial number, which does not change as others come and go.
    for device in sorted(devices, key=lambda device: (-len(device.name), device.name)):
        if len(devices) > 1 and device.name.endswith(f"={_ALL}"):
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
