# SPDX-License-Identifier: Apache-2.0
"""Which faults runs meet, in which order: a round ends with a run that meets none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from novadocker_client.runs import CANCELLED, ERROR, SUCCESS
from tests.lab.proofs import faults
from tests.lab.proofs.faults import WHILE_IT_RUNS, Fault

FIRST, SECOND, OTHER = "compute-docker-1", "compute-docker-2", "compute-3"
HOSTS = (FIRST, SECOND)

DROP_IN = "/etc/nova/nova-compute.conf.d/90-novadocker.conf"
STATE = "/var/lib/novadocker"
# What Debian's Pythons read at their start.
CLOCK = "/etc/python3.11/sitecustomize.py"
# The services of the control plane, in groups that fail together: what a run asks, what it runs in,
# and what stands behind these. A run gets no further while Mistral does not tell how far it is.
SERVICES = (
    ("nova-api", "glance-api", "placement-api", "neutron-api", "heat-api", "heat-api-cfn"),
    ("keystone", "mistral-api", "mistral-engine", "mistral-executor"),
    (
        *("mariadb", "rabbitmq-server", "heat-engine", "nova-conductor", "nova-scheduler"),
        "neutron-rpc-server",
    ),
)
PHASES = {
    "deploy": ("prepare", "convert_controllers", "publish_images", "stage", "switch_batch"),
    "undeploy": ("prepare", "revert_batch", "revert_controllers"),
}
LONG_PAUSE_S, SHORT_LIFE_S = 1200, 300
WHEEL = "/usr/local/lib/novadocker/wheels/driver/*.whl"
APT_BROKEN = "/etc/apt/apt.conf.d/99-broken"
EDIT_JSON = """python3 -c '
import json
place = "/etc/docker/daemon.json"
with open(place) as file:
    settings = json.load(file)
settings["live-restore"] = False
with open(place, "w") as file:
    json.dump(settings, file)'
"""
TURNS_BAD = """
file=$(readlink -f $(echo {wheel})); cp -a "$file" /run/kept-wheel; printf x >> "$file"
"""
TURNS_GOOD = """
file=$(readlink -f $(echo {wheel})); cp -a /run/kept-wheel "$file"; rm /run/kept-wheel
"""


@dataclass(frozen=True)
class Meeting:
    """A run with the faults that it meets.

    :param ends: how it may end
    :param inputs: beside the hosts
    """

    faults: tuple[Fault, ...]
    ends: tuple[str, ...] = (SUCCESS, ERROR)
    inputs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Round:
    """Runs of a workflow that meet faults, and one after them that meets none and ends well.

    :param name: for people
    :param workflow: deploy or undeploy
    :param inhabited: whether a tenant's container lives on the first host meanwhile
    :param last: inputs of the run that meets none
    """

    name: str
    workflow: str
    meetings: tuple[Meeting, ...]
    inhabited: bool = False
    last: Mapping[str, Any] = field(default_factory=dict)


def _cancelled(*phases: str) -> tuple[Meeting, ...]:
    return tuple(Meeting((faults.cancelled(phase),), (CANCELLED,)) for phase in phases)


def _by_hand(name: str, host: str, script: str) -> Fault:
    return faults.on_host(f"{name} by hand", host, "", script)


BEGUN_AND_ENDED = Round(
    "runs that are cancelled, and a registry that goes",
    "deploy",
    (
        *_cancelled("prepare", "convert_controllers"),
        Meeting(
            (
                faults.stopped(
                    "docker-registry",
                    "convert_controllers",
                    name="the registry gone between check and pull",
                ),
            )
        ),
        *_cancelled("publish_images", "stage", "switch_batch"),
    ),
)
BY_HAND = Round(
    "what was changed by hand",
    "deploy",
    (
        Meeting(
            (
                _by_hand("the drop-in edited", FIRST, f"echo '[DEFAULT]' > {DROP_IN}"),
                _by_hand("the drop-in removed", SECOND, f"rm {DROP_IN}"),
                _by_hand("daemon.json edited", SECOND, EDIT_JSON),
                _by_hand(
                    "the driver uninstalled",
                    SECOND,
                    "/opt/openstack/bin/pip uninstall -qy nova-docker",
                ),
                _by_hand("the engine stopped", SECOND, "systemctl stop docker.socket docker"),
                faults.taken_out("a host taken out of the aggregate by hand", FIRST),
            ),
            (SUCCESS,),
        ),
    ),
    inhabited=True,
)
HANGING = Round(
    "services that hang",
    "undeploy",
    (
        Meeting(
            (
                *(faults.hanging(unit, "prepare") for unit in ("nova-api", "heat-api")),
                *(
                    faults.hanging(unit, "revert_batch")
                    for unit in ("heat-engine", "placement-api")
                ),
                *(faults.hanging(unit, "gate") for unit in ("rabbitmq-server", "nova-conductor")),
                *(
                    faults.hanging(unit, "revert_controllers")
                    for unit in ("glance-api", "keystone")
                ),
            )
        ),
    ),
)
BESIDE = Round(
    "runs beside each other",
    "deploy",
    (
        Meeting(
            (
                faults.token_revoked("convert_controllers"),
                faults.beside("a verify beside it", "verify", HOSTS, "convert_controllers"),
                faults.beside("a deploy of one of its hosts", "deploy", (SECOND,), "stage"),
                faults.run_again("lock", "stage"),
                faults.paused("stage"),
            )
        ),
    ),
)
HOSTS_IN_UNDEPLOY = Round(
    "hosts and services in trouble in undeploy",
    "undeploy",
    (
        *_cancelled("revert_batch"),
        Meeting(
            (
                faults.killed("docker", "prepare", SECOND),
                faults.cable_cut(FIRST, "revert_batch", 30),
                faults.power_cut(SECOND, "gate"),
                *(faults.hanging(u, "revert_batch") for u in ("mistral-api", "mistral-executor")),
                *(faults.hanging(u, "revert_controllers", 30) for u in ("mariadb", "heat-api-cfn")),
            )
        ),
    ),
    last={"remove_images": True},
)
KILLED = Round(
    "services that die",
    "deploy",
    (
        Meeting(
            (
                *(faults.killed(u, "prepare") for u in ("nova-api", "keystone", "heat-api")),
                *(
                    faults.killed(u, "convert_controllers")
                    for u in ("mistral-engine", "glance-api")
                ),
                faults.killed("mistral-executor", "publish_images"),
                *(faults.killed(u, "stage") for u in ("mariadb", "heat-engine", "mistral-api")),
                faults.killed("os-collect-config", "stage", SECOND),
                *(faults.killed(u, "switch_batch") for u in ("rabbitmq-server", "nova-conductor")),
                *(faults.killed(u, "switch_batch") for u in ("placement-api", "nova-scheduler")),
                faults.killed("heat-api-cfn", "switch_batch"),
                faults.killed("nova-compute", "switch_batch", SECOND),
            )
        ),
    ),
)
UNDONE = Round(
    "an undeploy that is cancelled at its end", "undeploy", _cancelled("revert_controllers")
)
HOSTS_IN_DEPLOY = Round(
    "hosts in trouble in deploy",
    "deploy",
    (
        Meeting((faults.clock_off(FIRST, CLOCK, 600),)),
        # What a plan would see comes after it was made.
        Meeting(
            (
                faults.disk_full(FIRST, STATE, "convert_controllers"),
                faults.on_host(
                    "packages that cannot be installed",
                    SECOND,
                    "",
                    f"echo 'DPkg::Pre-Install-Pkgs {{\"/bin/false\";}};' > {APT_BROKEN}",
                    f"rm {APT_BROKEN}",
                    WHILE_IT_RUNS,
                ),
            )
        ),
        Meeting(
            (
                faults.power_cut(FIRST, "stage"),
                faults.on_host(
                    "a driver's wheel with a byte more",
                    SECOND,
                    "convert_controllers",
                    TURNS_BAD.format(wheel=WHEEL),
                    TURNS_GOOD.format(wheel=WHEEL),
                    WHILE_IT_RUNS,
                ),
                faults.hanging("mistral-engine", "switch_batch"),
            )
        ),
        Meeting(
            (
                faults.cable_cut(SECOND, "stage", 30),
                faults.mailbox_taken(SECOND, "gate"),
                faults.hung(SECOND, "switch_batch"),
            )
        ),
    ),
)
PAUSED = Round(
    "a pause that outlasts the caller's token",
    "deploy",
    (
        Meeting(
            (
                faults.tokens_live(SHORT_LIFE_S),
                faults.paused("switch_batch", LONG_PAUSE_S),
            )
        ),
    ),
)


def _each(name: str, fault: Callable[[str, str], Fault]) -> Iterator[Round]:
    """Yield rounds in which each service has a fault in each phase, a group of them at a time."""
    for turn in range(len(SERVICES)):
        for workflow, phases in PHASES.items():
            met = tuple(
                _within(fault(unit, phase), workflow)
                for place, phase in enumerate(phases)
                for unit in SERVICES[(turn + place) % len(SERVICES)]
            )
            inputs = {"remove_images": True} if workflow == "undeploy" else {}
            title = f"{name} in each phase of {workflow} {turn + 1}"
            yield Round(title, workflow, (Meeting(met, inputs=inputs),), last=inputs)


def _within(fault: Fault, workflow: str) -> Fault:
    """Return a fault of a service that counts only in its phase, beside those of other services."""
    name = f"{fault.name} in {fault.phase} of {workflow}"
    return replace(fault, name=name, lane=f"{fault.name} {fault.phase}", within=True)


IN_EACH_PHASE = (
    *_each("services that are killed", faults.killed),
    *_each("services that hang", faults.hanging),
)
ROUNDS = (
    *(BEGUN_AND_ENDED, BY_HAND, HANGING, BESIDE, HOSTS_IN_UNDEPLOY, KILLED, UNDONE),
    *(HOSTS_IN_DEPLOY, PAUSED, *IN_EACH_PHASE),
)
