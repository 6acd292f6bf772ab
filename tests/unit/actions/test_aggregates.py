# SPDX-License-Identifier: Apache-2.0
"""Membership of the Docker hypervisors' aggregate."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest

from novadocker_actions.cloud import aggregates
from novadocker_actions.cloud.clients import Service
from novadocker_actions.errors import CloudError

AGGREGATE: dict[str, Any] = {"id": 1, "name": "docker-hosts", "hosts": []}


def nova(status: int, *members: str) -> Any:
    """Return a Nova that refuses a change, and shows these members afterwards."""
    service = mock.create_autospec(Service, instance=True)
    service.post.side_effect = CloudError("compute", "POST /os-aggregates/1/action", status, "no")
    service.get.return_value = {"aggregates": [{**AGGREGATE, "hosts": list(members)}]}
    return service


def test_a_host_that_somebody_else_has_just_added_is_a_member() -> None:
    assert aggregates.add(nova(409, "c1"), AGGREGATE, "c1") is False


@pytest.mark.parametrize("status", [400, 404, 409])
def test_a_host_that_is_refused_is_no_member(status: int) -> None:
    with pytest.raises(CloudError, match=f"with {status}"):
        aggregates.add(nova(status, "c2"), AGGREGATE, "c1")


def test_a_host_that_has_just_left_is_no_member() -> None:
    there = {**AGGREGATE, "hosts": ["c1"]}

    assert aggregates.remove(nova(404), there, "c1") is False
    with pytest.raises(CloudError):
        aggregates.remove(nova(404, "c1"), there, "c1")
