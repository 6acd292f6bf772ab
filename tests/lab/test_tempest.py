# SPDX-License-Identifier: Apache-2.0
"""The Tempest plug-in passes on the converted cloud."""

from __future__ import annotations

from typing import Any

from lab import tempest
from lab.settings import LabSettings


def test_plugin_passes(lab_settings: LabSettings, run_workflow: Any) -> None:
    deployed = run_workflow("novadocker.deploy")
    assert deployed.state == "SUCCESS", deployed.message

    results = tempest.run(lab_settings)
    outcomes = {result.test: result.outcome for result in results}
    assert [test for test, outcome in outcomes.items() if outcome == "FAILED"] == []
    # The lab has everything that the plug-in tests, so a skip hides a fault.
    assert [test for test, outcome in outcomes.items() if outcome == "SKIPPED"] == []
    assert len(outcomes) >= 13
    print(f"figures: {len(outcomes)} Tempest tests passed")
