# SPDX-License-Identifier: Apache-2.0
"""What an action gives when it cannot be done."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest

from novadocker_actions.actions import drain, nova, recovery, steps
from novadocker_actions.actions.base import ChangingAction
from novadocker_actions.cloud import clients
from novadocker_actions.errors import CloudError

SETTINGS = {"run_id": "r", "trust_id": "t", "step_timeout_s": 60}
PAGE = {"page": "novadocker-page-r-0123"}
CHANGING = [
    (nova.DisableCompute, {}),
    (nova.EnableCompute, {}),
    (steps.PushRecipe, {"steps": ["install_docker"]}),
    (steps.PushRecipe, {"steps": ["preload_images"], "remark": True}),
    (steps.RollBack, {"not_started": True}),
    (steps.Collect, {}),
    (drain.Drain, {}),
    (recovery.TakeBack, {}),
    (recovery.PutRight, {}),
]


@pytest.fixture
def environments(monkeypatch: pytest.MonkeyPatch) -> mock.Mock:
    """Mistral's environments, in a cloud that must not be asked for anything else."""
    workflow = mock.Mock(spec_set=["environments"])
    cloud = mock.Mock(spec_set=["workflow"], workflow=workflow)
    monkeypatch.setattr(clients, "connect", lambda *_args: cloud)
    environments: mock.Mock = workflow.environments
    return environments


@pytest.mark.parametrize("fault", ["gone", "another", "away"])
@pytest.mark.parametrize(("kind", "given"), CHANGING)
def test_of_a_batch_whose_page_cannot_be_read_nothing_is_told_as_done(
    kind: type[ChangingAction], given: dict[str, Any], fault: str, environments: mock.Mock
) -> None:
    if fault == "another":
        environments.get.return_value.to_dict.return_value = {"variables": {"items": "zlib:"}}
    else:
        status = 404 if fault == "gone" else 503
        environments.get.side_effect = CloudError("workflow", "GET /it", status, "no")

    result = kind(rows=PAGE, settings=SETTINGS, **given).run(mock.Mock())

    assert result.is_error()
    assert PAGE["page"] in str(result.error) or fault == "away"
