# SPDX-License-Identifier: Apache-2.0
"""What is taken of Nova's answers on compute hosts."""

from __future__ import annotations

from unittest import mock

import pytest

from novadocker_actions.cloud import nova
from novadocker_actions.plan import hosts


def test_hosts_of_a_cell_that_does_not_answer_are_left_out_and_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    healthy = {"id": "7", "host": "c1", "state": "up", "status": "enabled", "zone": "nova"}
    silent = {"binary": "nova-compute", "host": "c2", "status": "UNKNOWN"}
    service = mock.Mock()
    service.get.return_value = {"services": [healthy, silent]}

    found = nova.services(service)

    assert [record.name for record in hosts.merge(found, [], [], {})] == ["c1"]
    assert "A cell of Nova does not answer; left out are its hosts: c2" in caplog.text
