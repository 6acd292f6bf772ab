# SPDX-License-Identifier: Apache-2.0
"""The OpenStack services on the lab's nodes: installed, filled, started, waited for."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Iterable, Mapping, Sequence

from lab.controlplane import blank, provision, readiness, units
from lab.controlplane.cloud import Cloud
from lab.nodes import Node
from lab.progress import Progress
from lab.settings import LabSettings

MARKER = "/etc/novadocker-lab/controlplane"
POOL_ENVIRONMENT = "/root/compute-pool.yaml"


def start(nodes: Mapping[str, Node], settings: LabSettings, progress: Progress) -> None:
    """Bring the cloud's services up on booted nodes and return when they work.

    Nodes that have been provisioned to the end, as those of a committed image have, start theirs
    at boot and are only waited for: what was done with them since stays as it is.

    :param nodes: the controller and the compute hosts, by name
    :raises lab.errors.LabError: naming what does not come up
    """
    computes = [nodes[host.name] for host in settings.computes]
    controller = nodes[settings.controller.name]
    cloud = provision.controller_cloud(controller)
    ours = units.compute_units(cloud.networking)
    if all(_is_provisioned(node) for node in (controller, *computes)):
        with progress.step("services of the cloud"):
            _each(computes, lambda node: provision.start(node, ours))
            provision.start(controller, units.controller_units(cloud.networking))
            readiness.wait_ready(settings)
        return
    _provision(cloud, controller, computes, settings, progress)
    _each([controller, *computes], lambda node: node.put(MARKER, ""))


def _provision(
    cloud: Cloud,
    controller: Node,
    computes: Sequence[Node],
    settings: LabSettings,
    progress: Progress,
) -> None:
    with concurrent.futures.ThreadPoolExecutor() as pool:
        prepared = [
            pool.submit(provision.configure_compute, node, cloud, settings.data_interface)
            for node in computes
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
        _each(computes, lambda node: provision.enable(node, ours))
        readiness.wait_ready(settings)
    with progress.step("flavors and networks"):
        provision.fill_cloud(controller, settings)
        environment = blank.pool_environment(controller.address, settings.data_interface)
        controller.put(POOL_ENVIRONMENT, environment)


def _is_provisioned(node: Node) -> bool:
    return node.run(["test", "-e", MARKER], check=False).returncode == 0


def _each(nodes: Iterable[Node], work: Callable[[Node], None]) -> None:
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for each in [pool.submit(work, node) for node in nodes]:
            each.result()
