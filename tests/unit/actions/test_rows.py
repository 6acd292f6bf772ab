# SPDX-License-Identifier: Apache-2.0
"""What is believed of what a host says."""

from __future__ import annotations

from typing import Any

import pytest

from novadocker_actions.plan import rows
from novadocker_actions.plan.rows import FAILED, OK, HostRow, Pending

REPORT = {"reason": "", "facts": {"a": 1}, "log": "/var/log/novadocker/x.log"}


def run(step: str = "install_docker", mode: str = "apply", **values: Any) -> HostRow:
    values.setdefault("needs", [step])
    return HostRow("c1", "compute", pending=Pending(step, mode, "p", "cfg", 1.0), **values)


def judged(host: HostRow, outputs: dict[str, Any], **report: Any) -> HostRow:
    rows.judge(host, outputs, "Outputs received", {**REPORT, **report})
    return host


def test_success_that_changed_something_can_be_undone() -> None:
    host = judged(run(), {"deploy_result": "ok", "changed": "true"})

    assert (host.state, host.changed, host.done) == (OK, True, ["install_docker"])
    assert host.pending is None


def test_success_that_changed_nothing_leaves_nothing_to_undo() -> None:
    host = judged(run(needs=[]), {"deploy_result": "ok", "changed": "false"})

    assert (host.state, host.changed, host.done) == (OK, False, [])


def test_a_needed_step_that_ran_twice_and_says_of_the_second_time_no_change_is_undone() -> None:
    host = judged(run(), {"deploy_result": "ok", "changed": "false"})

    assert (host.state, host.changed, host.done) == (OK, False, ["install_docker"])


@pytest.mark.parametrize(
    "outputs", [{}, {"deploy_result": ""}, {"deploy_result": "OK?"}, {"deploy_status_code": 0}]
)
def test_nothing_but_ok_is_success(outputs: dict[str, Any]) -> None:
    assert judged(run(), outputs).state == FAILED


def test_a_failed_step_is_undone_as_well() -> None:
    host = judged(run(), {"deploy_result": "failed", "changed": "true"}, reason="no such package")

    assert (host.step, host.reason) == ("install_docker", "no such package")
    assert host.log == "/var/log/novadocker/x.log"
    assert host.to_roll_back
    assert host.done == ["install_docker"]


def test_a_crash_is_told_in_its_last_words() -> None:
    outputs = {"deploy_stderr": "a\nb\nc\nImportError: no json"}

    assert judged(run(), outputs).reason == "b c ImportError: no json"


def test_a_check_that_would_change_something_is_a_need() -> None:
    host = judged(run(mode="check", needs=[]), {"deploy_result": "ok", "changed": "true"})

    assert (host.needs, host.changed, host.done) == (["install_docker"], False, [])


def test_a_description_is_no_need() -> None:
    host = judged(
        run("describe_host", "check", needs=[]),
        {"deploy_result": "ok", "changed": "true"},
        facts={"hostname": "c1", "a": 1},
    )

    assert (host.needs, host.facts) == ([], {"hostname": "c1"})


def test_the_first_failure_is_the_one_that_is_told() -> None:
    host = run(state=FAILED, reason="first", mode="undo")
    host.step = "install_driver"

    judged(host, {"deploy_result": "failed"}, reason="busy")

    assert host.step == "install_driver"
    assert host.reason == "first; undoing install_docker failed: busy"
    assert host.stuck
    assert not host.to_roll_back


def test_a_host_is_rolled_back_when_its_last_step_is_undone() -> None:
    host = run(state=FAILED, mode="undo", done=["install_driver"])
    judged(host, {"deploy_result": "ok", "changed": "true"})
    assert not host.rolled_back
    host.pending = Pending(host.done.pop(), "undo", "p", "cfg", 1.0)
    judged(host, {"deploy_result": "ok", "changed": "true"})

    assert host.rolled_back


def test_an_undo_that_was_asked_for_and_fails_leaves_the_host_stuck() -> None:
    host = judged(run(mode="undo"), {"deploy_result": "failed"}, reason="containers run")

    assert (host.state, host.stuck) == (FAILED, True)


@pytest.mark.parametrize("mode", rows.TAKING_BACK)
def test_a_host_that_refuses_to_go_back_is_stuck(mode: str) -> None:
    host = judged(
        run(state=FAILED, reason="first", mode=mode), {"deploy_result": "failed"}, reason="no"
    )

    assert host.stuck
    assert not host.rolled_back
    assert host.reason == "first; undoing install_docker failed: no"


def test_what_mended_a_hypervisor_under_its_instances_is_left() -> None:
    values: dict[str, Any] = {"state": FAILED, "reason": "first", "done": ["install_driver"]}
    mended = HostRow("c1", "compute", mended=True, instances=2, **values)
    other = HostRow("c2", "compute", instances=2, **values)

    rows.leave_mended([mended, other])

    assert (mended.to_roll_back, other.to_roll_back) == (False, True)
    assert mended.reason.startswith("first; it was not put back, as 2 instances live on it")


def test_rows_go_there_and_back() -> None:
    host = run(changed=True, done=["install_docker"])

    assert HostRow.from_dict(host.to_dict()) == host
    assert HostRow("c1", "compute").to_dict() == {"host": "c1", "role": "compute"}


def test_a_finished_row_is_small() -> None:
    host = HostRow("c1", "compute", server_id="s" * 36, needs=["install_docker"], changed=True)

    assert rows.finished([host]) == [{"host": "c1", "role": "compute", "changed": True}]


def test_reasons_are_cut() -> None:
    assert len(rows.shorten("x " * 1000)) == rows.REASON_CHARS


@pytest.mark.parametrize("text", ["\N{SNOWMAN} " * 1000, "\N{HORIZONTAL ELLIPSIS}", "\u00e9"])
def test_a_foreign_character_does_not_double_the_size_of_a_field(text: str) -> None:
    short = rows.shorten(text)

    assert short.isascii()
    assert len(short) <= rows.REASON_CHARS


def test_facts_that_cannot_be_read_are_the_failure_of_that_host() -> None:
    host = judged(
        run("describe_host", "check"), {"deploy_result": "ok"}, facts={"nova": ["a list"]}
    )

    assert (host.state, host.step, host.facts) == (FAILED, "describe_host", {})
    assert host.reason == "what it told cannot be read: nova of its facts is of type list"


def test_images_that_are_late_do_not_make_a_host_fail() -> None:
    host = run("verify_host", "check", changed=True)
    assert host.pending is not None
    host.pending.remark = True

    judged(host, {"deploy_result": "failed"}, reason="3 of 5 images")

    assert (host.state, host.preloaded) == (OK, False)
    assert host.reason == "not all images are there yet: 3 of 5 images"


@pytest.mark.parametrize("mode", rows.TAKING_BACK)
def test_an_undo_that_does_not_come_to_a_failed_host_leaves_it_stuck(mode: str) -> None:
    host = HostRow("c1", "compute", state=FAILED, step="verify_host", reason="first")

    rows.not_pushed(host, "install_docker", "another run is at it", mode)

    assert (host.stuck, host.done, host.rolled_back) == (True, ["install_docker"], False)
    assert host.step == "verify_host"
    assert host.reason == "first (undoing install_docker could not begin: another run is at it)"


@pytest.mark.parametrize("mode", ["apply", "check", "undo"])
def test_a_step_that_does_not_come_to_a_host_fails_it(mode: str) -> None:
    host = HostRow("c1", "compute", needs=["install_docker"])

    rows.not_pushed(host, "install_docker", "another run is at it", mode)

    assert (host.state, host.step, host.reason) == (
        FAILED,
        "install_docker",
        "another run is at it",
    )
    assert (host.stuck, host.done) == (False, [])
