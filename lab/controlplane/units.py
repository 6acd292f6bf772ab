# SPDX-License-Identifier: Apache-2.0
"""The systemd units of the services, named as Debian names them, one for each service."""

from __future__ import annotations

import dataclasses

from lab.controlplane.site import APIS, DASHBOARD_PORT
from lab.settings import OVN

VENV = "/opt/openstack"
DASHBOARD_VENV = "/opt/horizon"
LIBRARY = "/usr/local/lib/ndlab"


@dataclasses.dataclass(frozen=True)
class Unit:
    """One service.

    :param name: unit name without ``.service``
    :param description: for people
    :param user: system user
    :param command: ExecStart
    :param after: units that have to be up before this one starts
    :param notifies: whether it tells systemd when it is ready
    :param stop_s: seconds that it may take to finish what it is at
    :param deaf: it does not end when it is asked to
    :param private_tmp: whether it finds its own /tmp empty at each start
    """

    name: str
    description: str
    user: str
    command: str
    after: tuple[str, ...] = ()
    notifies: bool = False
    stop_s: int = 12
    deaf: bool = False
    private_tmp: bool = False

    def render(self) -> str:
        """Return the unit file."""
        return UNIT.format(
            description=self.description,
            after=" ".join(f"{name}.service" for name in self.after),
            type="notify" if self.notifies else "exec",
            user=self.user,
            command=self.command,
            stop_s=self.stop_s,
            stop="KillSignal=SIGKILL\nSuccessExitStatus=SIGKILL\n" if self.deaf else "",
            private="PrivateTmp=yes\n" if self.private_tmp else "",
            venv=VENV,
        )


# Threads of a service share few arenas: a third of the memory, no time lost.
UNIT = """\
[Unit]
Description={description}
After=network.target {after}

[Service]
Type={type}
User={user}
Group={user}
Environment=PATH={venv}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
Environment=MALLOC_ARENA_MAX=2
Environment=LC_ALL=C.UTF-8
ExecStart={command}
Restart=on-failure
RestartSec=2
TimeoutStartSec=300
TimeoutStopSec={stop_s}
KillMode=mixed
{stop}{private}\
LimitNOFILE=65536

[Install]
WantedBy=multi-user.target
"""

DATABASE = ("mariadb",)
# Nova's scheduler gives Placement up for good when it cannot find it at its start.
CATALOG = ("mariadb", "keystone")

API_UNITS = tuple(
    Unit(
        api.unit,
        f"OpenStack {api.service} API",
        api.user,
        f"{VENV}/bin/python {LIBRARY}/serve_wsgi.py {api.module} --port {api.port}"
        f" --prog {api.unit}",
        after=DATABASE,
        notifies=True,
        # Neutron keeps there when its first process was started.
        private_tmp=True,
    )
    for api in APIS
)

# Served as the APIs are. It is none of the controller's own: nobody waits for it, and it is started
# when all others are there.
DASHBOARD = Unit(
    "horizon",
    "OpenStack Dashboard",
    "horizon",
    f"{DASHBOARD_VENV}/bin/python {LIBRARY}/serve_wsgi.py dashboard_wsgi --port {DASHBOARD_PORT}"
    " --prog horizon",
    notifies=True,
    # Archives that are uploaded are there until Glance has them.
    private_tmp=True,
)

NEUTRON_SERVER_FILES = (
    "--config-file /etc/neutron/neutron.conf --config-file /etc/neutron/plugins/ml2/ml2_conf.ini"
)
COMMON_CONTROLLER_UNITS = (
    *API_UNITS,
    Unit(
        "nova-conductor",
        "OpenStack Nova Conductor",
        "nova",
        f"{VENV}/bin/nova-conductor",
        after=DATABASE,
    ),
    Unit(
        "nova-scheduler",
        "OpenStack Nova Scheduler",
        "nova",
        f"{VENV}/bin/nova-scheduler",
        after=CATALOG,
    ),
    Unit("heat-engine", "OpenStack Heat Engine", "heat", f"{VENV}/bin/heat-engine", after=DATABASE),
    Unit(
        "mistral-engine",
        "OpenStack Mistral Engine",
        "mistral",
        f"{VENV}/bin/mistral-server --server engine",
        after=DATABASE,
    ),
    Unit(
        "mistral-executor",
        "OpenStack Mistral Executor",
        "mistral",
        f"{VENV}/bin/mistral-server --server executor",
        after=DATABASE,
    ),
)

NOVA_COMPUTE = Unit(
    "nova-compute",
    "OpenStack Nova Compute",
    "nova",
    f"{VENV}/bin/nova-compute",
    after=("openvswitch-switch", "lxcfs"),
    # Each of its RPC servers may sit in a poll, and what it is at is finished.
    stop_s=30,
)
OPENVSWITCH_AGENT = Unit(
    "neutron-openvswitch-agent",
    "OpenStack Neutron Open vSwitch Agent",
    "neutron",
    f"{VENV}/bin/neutron-openvswitch-agent --config-file /etc/neutron/neutron.conf"
    " --config-file /etc/neutron/plugins/ml2/openvswitch_agent.ini",
    after=("openvswitch-switch",),
    # With native threads its OpenFlow part waits for ever; flows stay where they are anyway.
    deaf=True,
)
NEUTRON_RPC_SERVER = Unit(
    "neutron-rpc-server",
    "OpenStack Neutron RPC Server",
    "neutron",
    f"{VENV}/bin/neutron-rpc-server {NEUTRON_SERVER_FILES}",
    after=DATABASE,
)
# OVN needs no agent of Neutron on the hosts, and nobody whom agents could call.
NEUTRON_OVN_MAINTENANCE = Unit(
    "neutron-ovn-maintenance-worker",
    "OpenStack Neutron OVN Maintenance Worker",
    "neutron",
    f"{VENV}/bin/neutron-ovn-maintenance-worker {NEUTRON_SERVER_FILES}",
    after=(*DATABASE, "ovn-ovsdb-server-nb", "ovn-ovsdb-server-sb"),
)


def controller_units(networking: str) -> tuple[Unit, ...]:
    """Return the units of a controller.

    :param networking: what wires the ports, ``ovs`` or ``ovn``
    """
    neutron = NEUTRON_OVN_MAINTENANCE if networking == OVN else NEUTRON_RPC_SERVER
    return (*COMMON_CONTROLLER_UNITS, neutron)


def compute_units(networking: str) -> tuple[Unit, ...]:
    """Return the units of a compute host."""
    return (NOVA_COMPUTE,) if networking == OVN else (NOVA_COMPUTE, OPENVSWITCH_AGENT)
