# SPDX-License-Identifier: Apache-2.0
"""The plan of the lab: hosts, addresses, networks, names and places, as plain data."""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import pathlib

# What wires the ports of instances: Neutron's Open vSwitch agents, or OVN.
OVS = "ovs"
OVN = "ovn"
NETWORKING = (OVS, OVN)
# Each is a cloud's host with all its processes, on one machine.
MOST_COMPUTES = 30

LAB = pathlib.Path(__file__).resolve().parent
CHECKOUT = LAB.parent


def default_cache_dir() -> pathlib.Path:
    """Return where the lab keeps logs, wheels and keys: XDG_CACHE_HOME or ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return pathlib.Path(base) / "novadocker-lab"


@dataclasses.dataclass(frozen=True)
class HostSettings:
    """One host of the lab.

    :param name: host name, as Nova and SSH know it
    :param role: ``controller``, ``compute`` or ``blank``; also the name of its image
    :param address: IPv4 address on the management network
    """

    name: str
    role: str
    address: str


DEFAULT_HOSTS = (
    HostSettings("controller", "controller", "10.88.0.10"),
    HostSettings("compute-docker-1", "compute", "10.88.0.11"),
    HostSettings("compute-docker-2", "compute", "10.88.0.12"),
    HostSettings("compute-3", "compute", "10.88.0.13"),
)


@dataclasses.dataclass(frozen=True)
class LabSettings:
    """Everything about the lab that is decided before it runs.

    :param networking: what wires the ports of instances, ``ovs`` or ``ovn``
    """

    hosts: tuple[HostSettings, ...] = DEFAULT_HOSTS
    prefix: str = "ndlab"
    network: str = "ndlab"
    subnet: str = "10.88.0.0/24"
    gateway: str = "10.88.0.1"
    data_network: str = "ndlab-data"
    data_subnet: str = "10.89.0.0/24"
    data_interface: str = "eth1"
    image_prefix: str = "ndlab"
    openstack_venv: str = "/opt/openstack"
    wheelhouse_mount: str = "/srv/wheelhouse"
    cache_dir: pathlib.Path = dataclasses.field(default_factory=default_cache_dir)
    checkout: pathlib.Path = CHECKOUT
    networking: str = OVS

    @property
    def controller(self) -> HostSettings:
        """Return the one host of role controller."""
        return next(host for host in self.hosts if host.role == "controller")

    @property
    def computes(self) -> tuple[HostSettings, ...]:
        """Return the hosts that run nova-compute from the start."""
        return tuple(host for host in self.hosts if host.role == "compute")

    def with_computes(self, count: int) -> LabSettings:
        """Return the plan with so many compute hosts, those beyond the usual ones after them.

        :param count: at least as many as there are usually
        """
        computes = list(self.computes)
        for number in range(len(computes) + 1, count + 1):
            taken = {host.address for host in computes}
            computes.append(
                HostSettings(f"compute-docker-{number}", "compute", self.free_address(taken))
            )
        return dataclasses.replace(self, hosts=(self.controller, *computes))

    def host(self, name: str) -> HostSettings | None:
        """Return the host of that name, None when it is not one of the plan."""
        return next((host for host in self.hosts if host.name == name), None)

    def container(self, name: str) -> str:
        """Return the name of a host's container."""
        return f"{self.prefix}-{name}"

    @property
    def log_dir(self) -> pathlib.Path:
        """Return the directory of the logs of the lab's own steps."""
        return self.cache_dir / "logs"

    @property
    def wheelhouse(self) -> pathlib.Path:
        """Return the directory of wheels and sdists, which hosts see at ``wheelhouse_mount``."""
        return self.cache_dir / "wheelhouse"

    @property
    def ssh_dir(self) -> pathlib.Path:
        """Return the directory of the lab's key pair and ssh configuration."""
        return self.cache_dir / "ssh"

    @property
    def ssh_config(self) -> pathlib.Path:
        """Return the ssh configuration with an alias for each host (``ssh -F``)."""
        return self.ssh_dir / "config"

    def free_address(self, taken: set[str]) -> str:
        """Return the first address for one more host.

        :param taken: addresses in use, beside those of the plan
        """
        used = taken | {host.address for host in self.hosts} | {self.gateway}
        hosts = list(ipaddress.ip_network(self.subnet).hosts())[20:]
        return next(str(address) for address in hosts if str(address) not in used)
