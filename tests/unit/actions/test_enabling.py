# SPDX-License-Identifier: Apache-2.0
"""What becomes of a host's compute service at the end of its batch: each state, each service."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest

from novadocker_actions.actions.nova import EnableCompute
from novadocker_actions.cloud import nova
from novadocker_actions.plan.rows import FAILED, OK, SKIPPED, UNKNOWN, HostRow

RUN = "this-run"
# What is left on the host of what the run did.
WHOLE, CHANGED, PUT_BACK, STUCK = "nothing", "a step", "nothing, it was put back", "a half"
LEFT: dict[str, dict[str, Any]] = {
    WHOLE: {},
    CHANGED: {"done": ["configure_compute"], "needs": ["configure_compute"]},
    PUT_BACK: {"rolled_back": True, "changed": True, "needs": ["configure_compute"]},
    STUCK: {"stuck": True, "done": ["configure_compute"], "needs": ["configure_compute"]},
}
# Who has taken its service out of service, and with which reason.
IN_SERVICE, OURS, EARLIER, OPERATOR = "nobody", "this run", "a run that failed", "its operator"
REASONS = {
    IN_SERVICE: None,
    OURS: f"{nova.REASON}{RUN}",
    EARLIER: f"{nova.FAILURE}see another-run",
    OPERATOR: "memory is replaced",
}
# Of a host that is OK nothing is half done or put back.
CASES = [
    (state, left, by)
    for state, left, by in itertools.product((OK, FAILED, SKIPPED, UNKNOWN), LEFT, REASONS)
    if state != OK or left in (WHOLE, CHANGED)
]


def settled(state: str, left: str, by: str) -> tuple[HostRow, str | None]:
    """Return a host after the end of its batch, and why it is out of service, None when it is in.

    :param state: of the host
    :param left: what is on it of what the run did
    :param by: who has taken it out of service
    """
    row = HostRow("c1", "compute", state=state, reason="r", parked=by == OURS, **LEFT[left])
    service = {"id": "s", "host": "c1", "status": "enabled", "disabled_reason": None}
    if by != IN_SERVICE:
        service.update(status="disabled", disabled_reason=REASONS[by])
    compute = SimpleNamespace(put=lambda _path, json: service.update(json))
    EnableCompute([], {"run_id": RUN})._settle(SimpleNamespace(compute=compute), row, service)  # type: ignore[arg-type]
    out = service["status"] == "disabled"
    return row, str(service["disabled_reason"]) if out else None


@pytest.mark.parametrize(("state", "left", "by"), CASES)
def test_no_host_serves_that_is_not_whole_and_none_is_out_of_it_without_a_reason(
    state: str, left: str, by: str
) -> None:
    row, why = settled(state, left, by)

    half = left == STUCK or (state == FAILED and left == CHANGED)
    if by == OPERATOR:
        # It is his, whatever has come of it.
        assert why == REASONS[OPERATOR]
    elif by == IN_SERVICE:
        # What was never taken out of service was not disturbed.
        assert why is None
    elif state == UNKNOWN and left in (CHANGED, STUCK):
        # Nobody knows: the next run takes up what this one has taken out.
        assert why == REASONS[by]
        assert "the next run takes it up" in row.reason
    elif half:
        assert why == f"{nova.FAILURE}see {RUN}"
        assert "its compute service is left disabled" in row.reason
    elif by == OURS or state == OK:
        assert why is None
    else:
        # It was left out by a run that failed, and this one has not made it whole.
        assert why == REASONS[EARLIER]
        assert "its compute service stays disabled: novadocker failed" in row.reason


def test_each_state_is_met_with_each_service() -> None:
    assert len(CASES) == (3 * len(LEFT) + 2) * len(REASONS)
