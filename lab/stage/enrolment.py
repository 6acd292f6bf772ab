# SPDX-License-Identifier: Apache-2.0
"""Enrolling the lab's hosts, with the operator's own command on the controller."""

from __future__ import annotations

from collections.abc import Sequence

from lab.hosts.access import Host
from lab.images.wheelhouse import Wheel
from lab.machine import parallel
from lab.settings import HostSettings, LabSettings

STAMP = "/etc/novadocker-lab/enrolled"
POLLING_INTERVAL_S = 2
MESSAGE_KEY = "/etc/novadocker/message.key"


def enrol(settings: LabSettings, controller: Host, wheel: Wheel) -> bool:
    """Enrol the controller and the computes of the plan, anew when the bundle is another one.

    What the agent and the stacks are made of is the bundle's alone to know: enrolling again puts
    right whatever of it has changed.

    :param wheel: the bundle that is installed on the controller
    :return: whether anything had to be done
    """
    wanted = " ".join([wheel.digest, *(host.name for host in settings.hosts)])
    if controller.run(["cat", STAMP], check=False).stdout.strip() == wanted:
        return False
    _make_key(settings, controller)
    pools: list[tuple[str, Sequence[str], Sequence[HostSettings]]] = [
        ("controllers", ["controller", "glance"], [settings.controller]),
        ("computes", ["compute"], settings.computes),
    ]
    parallel.each(pools, lambda pool: _add(settings, controller, *pool))
    controller.put(STAMP, wanted + "\n")
    return True


def _make_key(settings: LabSettings, controller: Host) -> None:
    """Make the key that Mistral's executor signs messages with, unless there is one."""
    if controller.run(["test", "-e", MESSAGE_KEY], check=False).returncode:
        controller.run([f"{settings.openstack_venv}/bin/novadocker-enroll", "make-key"])


def _add(
    settings: LabSettings,
    controller: Host,
    pool: str,
    roles: Sequence[str],
    hosts: Sequence[HostSettings],
) -> None:
    command = [
        *(f"{settings.openstack_venv}/bin/novadocker-enroll", "add", "--pool", pool),
        *(part for role in roles for part in ("--role", role)),
        *("--polling-interval", str(POLLING_INTERVAL_S)),
        *("--wheels", settings.wheelhouse_mount),
        *(host.name for host in hosts),
    ]
    controller.run(
        ["bash", "-c", '. /root/admin-openrc && exec "$@"', "enroll", *command], timeout_s=600
    )
