# SPDX-License-Identifier: Apache-2.0
"""The OpenStack services on the lab's hosts: installed, filled, started, waited for."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Iterable, Mapping, Sequence

from lab.controlplane import provision, readiness, units
from lab.controlplane.site import DASHBOARD_PORT, Cloud
from lab.hosts.access import Host
from lab.machine.progress import Progress
from lab.settings import LabSettings

MARKER = "/etc/novadocker-lab/controlplane"


def start(
    hosts: Mapping[str, Host],
    settings: LabSettings,
    progress: Progress,
    prepare_compute: provision.Prepare,
) -> None:
    """Bring the cloud's services up on booted hosts and return when they work.

    Hosts that have been provisioned to the end, as those of a committed image have, start theirs
    at boot and are only waited for: what was done with them since stays as it is.

    :param hosts: the controller and the compute hosts, by name
    :param prepare_compute: called with each compute host that is configured
    :raises lab.errors.LabError: naming what does not come up
    """
    computes = [hosts[host.name] for host in settings.computes]
    controller = hosts[settings.controller.name]
    cloud = provision.controller_cloud(controller)
    ours = units.compute_units(cloud.networking)
    bare = [host for host in (controller, *computes) if not _is_provisioned(host)]
    if controller in bare:
        _provision(cloud, controller, computes, settings, progress, prepare_compute)
        _each([controller, *computes], lambda host: host.put(MARKER, ""))
        return

    def join(host: Host) -> None:
        interface = settings.data_interface
        provision.configure_compute(host, cloud, interface, prepare_compute)
        provision.enable(host, ours)

    with progress.step("services of the cloud"):
        provision.start(controller, units.controller_units(cloud.networking))
        _each([host for host in computes if host not in bare], lambda h: provision.start(h, ours))
        _each(bare, join)
        readiness.wait_ready(settings)
    if bare:
        provision.discover_hosts(controller)
        _each(bare, lambda host: host.put(MARKER, ""))


def start_dashboard(controller: Host) -> None:
    """Start Horizon, without waiting for it: a cloud works without, and it comes when it can."""
    provision.start(controller, (units.DASHBOARD,))


def await_dashboard(controller: Host) -> int:
    """Return the port of the controller at which Horizon answers, started where it is not.

    :raises lab.errors.CommandError: it does not start
    """
    controller.run(["systemctl", "start", units.DASHBOARD.name], timeout_s=330)
    return DASHBOARD_PORT


def _provision(
    cloud: Cloud,
    controller: Host,
    computes: Sequence[Host],
    settings: LabSettings,
    progress: Progress,
    prepare: provision.Prepare,
) -> None:
    with concurrent.futures.ThreadPoolExecutor() as pool:
        prepared = [
            pool.submit(provision.configure_compute, host, cloud, settings.data_interface, prepare)
            for host in computes
        ]
        with progress.step("configuration of the services"):
            provision.configure_controller(controller, cloud)
        with progress.step("databases"):
            provision.create_databases(controller, cloud)
        with progress.step("accounts and catalog"):
            provision.fill_identity(controller, cloud)
        with progress.step("services of the controller"):
            provision.enable(controller, units.controller_units(cloud.networking))
        for each in prepared:
            each.result()
    with progress.step("services of the compute hosts"):
        ours = units.compute_units(cloud.networking)
        _each(computes, lambda host: provision.enable(host, ours))
        readiness.wait_ready(settings)
    with progress.step("flavors and networks"):
        provision.fill_cloud(controller, settings)


def _is_provisioned(host: Host) -> bool:
    return host.run(["test", "-e", MARKER], check=False).returncode == 0


def _each(hosts: Iterable[Host], work: Callable[[Host], None]) -> None:
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for each in [pool.submit(work, host) for host in hosts]:
            each.result()
