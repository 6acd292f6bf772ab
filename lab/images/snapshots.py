# SPDX-License-Identifier: Apache-2.0
"""Images of a lab that is ready: the quick start from the second time on."""

from __future__ import annotations

import pathlib

from lab.hosts import networks
from lab.hosts.access import Host
from lab.images import layers
from lab.machine import parallel
from lab.settings import CHECKOUT, HostSettings, LabSettings


class Snapshots:
    """The images of a ready lab, one for each host of the usual plan.

    :param settings: the plan of the lab
    :param built: the images that fresh hosts boot
    """

    def __init__(self, settings: LabSettings, built: layers.Images) -> None:
        self.settings = settings
        inputs = input_files(settings.checkout)
        self.tag = layers.digest(
            settings.networking,
            *(built.for_host(host) for host in settings.hosts),
            str(networks.uplink_mtu()),
            *(str(path.relative_to(settings.checkout)) for path in inputs),
            *(path.read_bytes().hex() for path in inputs),
        )

    def reference(self, host: HostSettings) -> str:
        """Return the reference of a host's snapshot."""
        return f"{self._prefix}{host.name}:{self.tag}"

    @property
    def _prefix(self) -> str:
        # Snapshots of another networking are not older ones of this.
        return f"{self.settings.image_prefix}-ready-{self.settings.networking}-"

    def complete(self) -> bool:
        """Return whether every host of the plan has its snapshot."""
        known = set(layers.known(self.settings))
        return all(self.reference(host) in known for host in self.settings.hosts)

    def take(self) -> None:
        """Make the snapshots of hosts that are shut down; older snapshots are removed."""
        known = layers.known(self.settings)
        layers.remove([x for x in known if x.startswith(self._prefix)])

        def take_one(host: HostSettings) -> None:
            container = Host(host.name, self.settings).container
            layers.commit(container, f"{self.reference(host)}-partial")

        parallel.each(self.settings.hosts, take_one)
        # Named only when all are there: an interruption leaves none that counts.
        for host in self.settings.hosts:
            layers.rename(f"{self.reference(host)}-partial", self.reference(host))


def input_files(checkout: pathlib.Path = CHECKOUT) -> list[pathlib.Path]:
    """Return the files that decide in which state a fresh lab ends: all of the lab's own.

    What the stage has put onto the cloud is none of them: ``up`` brings that up to date.
    """
    paths = sorted((checkout / "lab").rglob("*"))
    return [path for path in paths if path.is_file() and "__pycache__" not in path.parts]
