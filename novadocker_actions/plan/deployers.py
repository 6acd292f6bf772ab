# SPDX-License-Identifier: Apache-2.0
"""What other tools take back of a run's changes when they are run the next time."""

from __future__ import annotations

from collections.abc import Iterable

from novadocker_actions.plan import report
from novadocker_actions.plan.rows import HostRow

_NAMED = 3


def remarks(host_rows: Iterable[HostRow]) -> list[str]:
    """Return what an operator has to do for the driver to outlive a deployer's next run.

    :param host_rows: described hosts
    """
    hosts: dict[str, list[str]] = {}
    for row in host_rows:
        if row.deployer:
            hosts.setdefault(row.deployer, []).append(row.host)
    return [
        f"{tool} has deployed nova-compute of {report.names(sorted(names), _NAMED)} in containers, "
        'and takes the driver out of them when it is run: deploy again after it, or see "Hosts of '
        f'{tool}" in the documentation for the settings that make it permanent'
        for tool, names in sorted(hosts.items())
    ]
