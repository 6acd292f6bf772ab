# SPDX-License-Identifier: Apache-2.0
"""What is told of tools that take back what a run has changed."""

from __future__ import annotations

from novadocker_actions.plan import deployers
from novadocker_actions.plan.rows import HostRow


def test_hosts_whose_deployer_takes_the_driver_back_are_named_with_what_to_do() -> None:
    rows = [HostRow(f"c-{n}", "compute", deployer="kolla-ansible" if n else "") for n in range(3)]
    (told,) = deployers.remarks(rows)
    assert told.startswith("kolla-ansible has deployed nova-compute of c-1, c-2 in containers")
    assert 'deploy again after it, or see "Hosts of kolla-ansible"' in told


def test_of_hosts_with_a_nova_of_their_own_nothing_is_told() -> None:
    assert deployers.remarks([HostRow("c-1", "compute")]) == []
