# SPDX-License-Identifier: Apache-2.0
"""An executor that dies in the middle of an action: the run ends right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from mistral.executors.default_executor import DefaultExecutor

from tests.functional.workbooks.fake_cloud import TRUSTEES_TOKEN, FakeCloud
from tests.functional.workbooks.in_process import Mistral
from tests.functional.workbooks.results import CONVERTED

REAL = DefaultExecutor._do_run_action


@pytest.fixture(scope="module", autouse=True)
def _quick_heartbeats(engine: Mistral) -> Iterator[None]:
    # A lost action is noticed after missed heartbeats: [action_heartbeat] in Mistral.
    with engine.heartbeats(missed=4):
        yield


@pytest.mark.parametrize(
    ("action", "before"),
    [
        ("SelectHosts", True),
        ("PushRecipe", True),
        ("PushRecipe", False),
        ("Collect", True),
        ("UploadImage", False),
        ("EnableCompute", True),
    ],
)
def test_the_run_goes_on_after_the_executor_is_lost(
    mistral: Mistral,
    cloud: FakeCloud,
    monkeypatch: pytest.MonkeyPatch,
    action: str,
    before: bool,
) -> None:
    lost: list[str] = []

    def dying(self: DefaultExecutor, run: Any, action_ex_id: str, *rest: Any) -> Any:
        # Of the recipes the one that changes hosts first, which is still in service.
        other = type(run).__name__ != action or not getattr(run, "in_service", True)
        if other or lost:
            return REAL(self, run, action_ex_id, *rest)
        lost.append(action_ex_id)
        # Without an id the executor tells nobody what came of it.
        return None if before else REAL(self, run, None, *rest)

    monkeypatch.setattr(DefaultExecutor, "_do_run_action", dying)

    run = mistral.run("novadocker.deploy", timeout_s=120)

    assert lost
    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert run["output"]["report"]["totals"]["changed"] == 3
    for name in ("compute-docker-1", "compute-docker-2"):
        host = cloud.hosts[name]
        assert (host.state, host.status) == (CONVERTED, "enabled")
        # No step was run twice on a host.
        applied = [step for step, mode in host.runs if mode == "apply"]
        assert applied == ["install_docker", "install_driver", "configure_compute", "verify_host"]
    assert len(cloud.glance_images) == 1
    # Mistral forgot the caller's token with the executor; the trust took its place.
    assert cloud.headers[-1]["X-Auth-Token"] == TRUSTEES_TOKEN
    assert cloud.trusts == {}
