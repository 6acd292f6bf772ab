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


class Aggregates:
    """Nova's aggregates, of which there is one at most.

    :param metadata: of the one that there is; None for none
    """

    def __init__(self, metadata: dict[str, str] | None, *members: str) -> None:
        self.there: dict[str, Any] | None = None
        if metadata is not None:
            self.there = {**AGGREGATE, "hosts": [*members], "metadata": metadata}

    def get(self, _path: str) -> dict[str, Any]:
        """List them."""
        return {"aggregates": [self.there] if self.there else []}

    def post(self, _path: str, json: dict[str, Any]) -> dict[str, Any]:
        """Make one, or change its metadata."""
        if self.there is None:
            self.there = {**AGGREGATE, "hosts": [], "metadata": {}}
        given = json.get("set_metadata", {"metadata": {}})["metadata"]
        kept = {**self.there["metadata"], **given}
        self.there["metadata"] = {key: value for key, value in kept.items() if value is not None}
        return {"aggregate": self.there}

    def delete(self, _path: str) -> None:
        """Delete it."""
        self.there = None


TRAIT = {"trait:CUSTOM_HYPERVISOR_DOCKER": "required"}


def test_what_was_made_is_deleted_when_it_is_empty() -> None:
    there: Any = Aggregates(None)
    aggregates.ensure(there, "docker-hosts")

    assert aggregates.give_back(there, "docker-hosts") is True
    assert there.there is None


@pytest.mark.parametrize("metadata", [{}, TRAIT, {"rack": "7"}, {"rack": "7", **TRAIT}])
def test_an_operator_s_aggregate_is_given_back_as_it_was(metadata: dict[str, str]) -> None:
    there: Any = Aggregates(dict(metadata))
    assert aggregates.is_isolated(aggregates.ensure(there, "docker-hosts"))
    aggregates.ensure(there, "docker-hosts")

    assert aggregates.give_back(there, "docker-hosts") is False
    assert there.there["metadata"] == metadata


def test_one_that_has_hosts_or_got_more_is_not_deleted() -> None:
    made = {**TRAIT, "novadocker:aggregate": "made"}
    full: Any = Aggregates(dict(made), "c1")
    assert aggregates.give_back(full, "docker-hosts") is False
    assert full.there["metadata"] == made

    used: Any = Aggregates({**made, "rack": "7"})
    assert aggregates.give_back(used, "docker-hosts") is False
    assert used.there["metadata"] == {"rack": "7"}


def test_the_trait_that_was_lost_is_put_back_without_another_owner() -> None:
    there: Any = Aggregates({"novadocker:aggregate": "made"})
    aggregates.ensure(there, "docker-hosts")

    assert there.there["metadata"] == {**TRAIT, "novadocker:aggregate": "made"}
