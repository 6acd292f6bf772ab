# SPDX-License-Identifier: Apache-2.0
"""What keeps images off hosts that cannot run them, and what of that is left to the operator.

A Docker image that requires the trait is given to Docker hypervisors alone, by Placement, whatever
the scheduler's options. That other images stay off them is so only where the scheduler leaves out
isolated aggregates, which is an option of Nova's, or where the images name their hypervisor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from novadocker_actions.plan import report
from novadocker_actions.plan.rows import HostRow

OPTION = "[scheduler] enable_isolated_aggregate_filtering"
# What a host's nova-scheduler does with the aggregate of Docker hypervisors.
ISOLATES, MIXES = "isolates", "mixes"
_NAMED = 3


def of_scheduler(facts: Mapping[str, Any]) -> str:
    """Return what a described host's nova-scheduler does, "" where there is none or it is unknown.

    :param facts: what describe_host found there
    """
    isolates = (facts.get("scheduler") or {}).get("isolates")
    if isolates is None:
        return ""
    return ISOLATES if isolates else MIXES


def remarks(host_rows: Iterable[HostRow], untied: list[str]) -> list[str]:
    """Return what an operator has to do for images to stay where they belong, [] for nothing.

    :param host_rows: described hosts
    :param untied: names of Docker images that do not require the trait
    """
    schedulers = {row.host: row.scheduler for row in host_rows if row.scheduler}
    mixing = sorted(host for host, does in schedulers.items() if does == MIXES)
    told = []
    if mixing:
        told.append(
            f"nova-scheduler on {report.names(mixing, _NAMED)} may put images for virtual machines "
            f"on Docker hypervisors, which refuse them: set {OPTION} = true in nova.conf there, or "
            "give these images an img_hv_type"
        )
    elif not schedulers:
        told.append(
            "whether nova-scheduler keeps images for virtual machines off Docker hypervisors is "
            f"not known, as no enrolled host runs it: see that {OPTION} is true"
        )
    if untied:
        told.append(
            f"Docker images that do not require the trait may be put on hosts without Docker: "
            f"{report.names(untied, _NAMED)}; give them the property "
            "trait:CUSTOM_HYPERVISOR_DOCKER=required"
        )
    return told
