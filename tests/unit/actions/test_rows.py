# SPDX-License-Identifier: Apache-2.0
"""What is believed of what a host says."""

from __future__ import annotations

import random
import string
import sys
import uuid
from typing import Any

import pytest

from novadocker_actions.plan import rows
from novadocker_actions.plan.rows import FAILED, OK, SKIPPED, UNKNOWN, HostRow, Pending

ENTRY = {"facts": {"a": 1}, "log": "/var/log/novadocker/x.log"}


def run(*steps: str, mode: str = "apply", **values: Any) -> HostRow:
    recipe = list(steps or ["install_docker"])
    values.setdefault("needs", recipe)
    return HostRow("c1", "compute", pending=Pending(recipe, mode, "p", "cfg", 1), **values)


def judged(host: HostRow, outputs: dict[str, Any], **entry: Any) -> HostRow:
    """Judge a recipe of one step."""
    assert host.pending is not None
    good, reason = outputs.get("deploy_result") == "ok", entry.pop("reason", "")
    changed = outputs.get("changed") == "true"
    step = {"step": host.pending.steps[0], "ok": good, "changed": changed, "reason": reason}
    steps = [{**step, **ENTRY, **entry}] if "deploy_result" in outputs else []
    rows.judge(host, outputs, {"steps": steps, "reason": reason})
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
        run("describe_host", mode="check", needs=[]),
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
    host = run(state=FAILED, mode="undo", done=["install_driver", "install_docker"])
    judged(host, {"deploy_result": "ok", "changed": "true"})
    assert not host.rolled_back
    host.pending = Pending(["install_driver"], "undo", "p", "cfg", 1)
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
    host = HostRow("c1", "compute", deployment_id="s" * 36, needs=["install_docker"], changed=True)

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
        run("describe_host", mode="check"), {"deploy_result": "ok"}, facts={"nova": ["a list"]}
    )

    assert (host.state, host.step, host.facts) == (FAILED, "describe_host", {})
    assert host.reason == "what it told cannot be read: nova of its facts is of type list"


def test_images_that_are_late_do_not_make_a_host_fail() -> None:
    host = run("verify_host", mode="check", changed=True)
    assert host.pending is not None
    host.pending.remark = True

    judged(host, {"deploy_result": "failed"}, reason="3 of 5 images")

    assert (host.state, host.preloaded) == (OK, False)
    assert host.reason == "not all images are there yet: 3 of 5 images"


@pytest.mark.parametrize("mode", rows.TAKING_BACK)
def test_an_undo_that_does_not_come_to_a_failed_host_leaves_it_stuck(mode: str) -> None:
    host = HostRow("c1", "compute", state=FAILED, step="verify_host", reason="first")
    host.done = ["install_docker"]

    rows.not_pushed(host, ["install_docker"], "another run is at it", mode)

    assert (host.stuck, host.done, host.rolled_back) == (True, ["install_docker"], False)
    assert host.step == "verify_host"
    assert host.reason == "first (undoing install_docker could not begin: another run is at it)"


@pytest.mark.parametrize("mode", ["apply", "check", "undo"])
def test_a_step_that_does_not_come_to_a_host_fails_it(mode: str) -> None:
    host = HostRow("c1", "compute", needs=["install_docker"])

    rows.not_pushed(host, ["install_docker"], "another run is at it", mode)

    assert (host.state, host.step, host.reason) == (
        FAILED,
        "install_docker",
        "another run is at it",
    )
    assert (host.stuck, host.done) == (False, [])


def judge(host: HostRow, *entries: dict[str, Any], ok: bool = True, **report: Any) -> HostRow:
    """Judge a recipe of several steps."""
    outputs = {"deploy_result": "ok" if ok else "failed"}
    rows.judge(host, outputs, {"steps": list(entries), "reason": "", "log": "/l", **report})
    return host


def told(step: str, *, ok: bool = True, changed: bool = True, **more: Any) -> dict[str, Any]:
    return {"step": step, "ok": ok, "changed": changed, "reason": "", **more}


RECIPE = ("install_docker", "install_driver", "configure_compute")


def test_a_recipe_is_judged_step_by_step() -> None:
    host = judge(run(*RECIPE), *(told(step) for step in RECIPE))

    assert (host.state, host.done, host.changed) == (OK, list(RECIPE), True)
    assert host.step == "configure_compute"


def test_a_recipe_that_stops_tells_where_and_leaves_what_it_has_begun_to_be_undone() -> None:
    broken = told("install_driver", ok=False, reason="no such version", log="/log/driver")
    host = judge(run(*RECIPE), told("install_docker"), broken, ok=False)

    assert (host.state, host.step, host.reason) == (FAILED, "install_driver", "no such version")
    assert host.log == "/log/driver"
    # It never came to the last one.
    assert host.done == ["install_docker", "install_driver"]


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [told("install_docker")],
        [told("install_docker"), told("configure_compute")],
        [told("install_docker"), {"step": "install_driver", "ok": 1}],
        [told("install_docker"), {"step": "install_driver"}, told("configure_compute")],
    ],
)
def test_nothing_but_each_step_s_own_ok_is_success(entries: list[dict[str, Any]]) -> None:
    host = judge(run(*RECIPE), *entries)

    assert host.state == FAILED
    assert "install_driver" in host.done


def test_what_was_under_way_when_a_host_was_lost_is_undone_as_well() -> None:
    host = run(*RECIPE)
    rows.give_up(host, "no answer")

    assert (host.state, host.step) == (FAILED, ", ".join(RECIPE))
    assert host.done == list(RECIPE)


def test_a_host_that_refuses_a_message_has_not_begun_with_it() -> None:
    refused = judge(run(*RECIPE), ok=False, reason="another package", log="")

    assert (refused.state, refused.reason, refused.done) == (FAILED, "another package", [])
    back = judge(
        run(*RECIPE, mode="roll_back", state=FAILED, reason="first", done=list(RECIPE)),
        ok=False,
        reason="another package",
        log="",
    )
    assert back.stuck
    assert not back.rolled_back
    assert "could not begin: another package" in back.reason


def test_a_host_is_put_back_step_by_step() -> None:
    values: dict[str, Any] = {"state": FAILED, "reason": "first", "done": list(RECIPE)}
    steps = RECIPE[::-1]
    host = judge(run(*steps, mode="roll_back", **values), *(told(step) for step in steps))
    assert (host.done, host.rolled_back, host.stuck) == ([], True, False)

    broken = told("install_driver", ok=False, reason="no pip")
    values["done"] = list(RECIPE)
    host = judge(run(*steps, mode="roll_back", **values), told(steps[0]), broken, ok=False)
    assert (host.done, host.rolled_back) == (["install_docker", "install_driver"], False)
    assert host.stuck
    assert host.reason == "first; undoing install_driver failed: no pip"


def test_a_step_tells_whether_it_would_disturb_and_is_believed_to_where_it_does_not() -> None:
    entries = [
        told("install_docker", facts={"disturbs": False}),
        told("install_driver", facts={}),
        told("configure_compute", changed=False),
    ]
    host = judge(run(*RECIPE, mode="check", needs=[]), *entries)

    assert host.needs == ["install_docker", "install_driver"]
    assert host.disturbs == ["install_driver"]


def test_a_service_that_is_away_is_no_failure_of_a_host() -> None:
    idle = HostRow("c1", "compute", needs=["install_docker"], done=["install_docker"])
    idle.lose("isolate", "compute did not answer")
    # It can be put back, if that service is not needed for it.
    assert (idle.state, idle.step, idle.to_roll_back) == (UNKNOWN, "isolate", True)

    at_work = run("configure_compute", done=["install_docker"])
    at_work.lose("collect", "orchestration did not answer")
    # It is at work, for all that is known: nothing else may be begun there.
    assert (at_work.state, at_work.pending, at_work.to_roll_back) == (UNKNOWN, None, False)
    assert at_work.done == ["install_docker", "configure_compute"]
    assert "how configure_compute ended is not known" in at_work.reason

    failed = HostRow("c1", "compute", state=FAILED, step="verify_host", reason="first")
    failed.lose("isolate", "compute did not answer")
    assert (failed.state, failed.step) == (FAILED, "verify_host")


def test_hosts_are_counted_as_routes_need_it() -> None:
    batch = rows.batch(
        [
            HostRow("c1", "compute", needs=["install_docker"]),
            HostRow("c2", "compute", state=FAILED, done=["install_docker"]),
            HostRow("c3", "compute", state=UNKNOWN),
            run("verify_host", mode="check", needs=[], unknown=["install_docker"]),
        ]
    )
    del batch["rows"]

    assert batch == {
        "hosts": 4,
        "ok": 2,
        "failed": 2,
        "pending": 1,
        "changing": 1,
        "unknown": 1,
        "to_roll_back": 1,
        "lacking": 0,
    }


def lost(host: HostRow) -> None:
    host.pending = Pending(["verify_host"], "apply", "p", "c", 1)
    rows.give_up(host, "no answer")


def refuses(host: HostRow) -> None:
    rows.not_pushed(host, ["install_driver"], "another run is at it", "apply")


def does(host: HostRow) -> None:
    host.pending = Pending(["verify_host"], "apply", "p", "c", 1)
    judge(host, told("verify_host", changed=False))


def goes_back(host: HostRow) -> None:
    host.pending = Pending(["install_docker"], "roll_back", "p", "c", 1)
    judge(host, told("install_docker"))


def does_not_go_back(host: HostRow) -> None:
    host.pending = Pending(["install_docker"], "roll_back", "p", "c", 1)
    judge(host, told("install_docker", ok=False, reason="no"), ok=False)


# What may happen to a host, and what each of the states becomes by it.
EVENTS: dict[str, tuple[Any, dict[str, str]]] = {
    "a step fails": (
        lambda host: host.fail("isolate", "no"),
        {OK: FAILED, FAILED: FAILED, SKIPPED: FAILED, UNKNOWN: FAILED},
    ),
    "it is occupied": (
        lambda host: host.skip("recheck_instances", "vm"),
        {OK: SKIPPED, FAILED: FAILED, SKIPPED: SKIPPED, UNKNOWN: UNKNOWN},
    ),
    "a service is away": (
        lambda host: host.lose("isolate", "503"),
        {OK: UNKNOWN, FAILED: FAILED, SKIPPED: SKIPPED, UNKNOWN: UNKNOWN},
    ),
    "it is not heard": (lost, {OK: FAILED, FAILED: FAILED, SKIPPED: FAILED, UNKNOWN: FAILED}),
    "it is busy": (refuses, {OK: FAILED, FAILED: FAILED, SKIPPED: FAILED, UNKNOWN: FAILED}),
    "it does its steps": (does, {OK: OK, FAILED: FAILED, SKIPPED: SKIPPED, UNKNOWN: UNKNOWN}),
    "it goes back": (goes_back, {FAILED: FAILED, SKIPPED: SKIPPED, UNKNOWN: UNKNOWN}),
    "it does not go back": (
        does_not_go_back,
        {FAILED: FAILED, SKIPPED: SKIPPED, UNKNOWN: UNKNOWN},
    ),
}


@pytest.mark.parametrize(
    ("event", "state"), [(event, state) for event, (_, ends) in EVENTS.items() for state in ends]
)
def test_each_state_meets_each_event(event: str, state: str) -> None:
    happen, ends = EVENTS[event]
    host = HostRow("c1", "compute", state=state, reason="first", done=["install_docker"])

    happen(host)

    assert host.state == ends[state]
    assert host.pending is None
    # What was changed is known until it was taken back.
    assert host.rolled_back is (event == "it goes back")
    assert ("install_docker" in host.done) is not host.rolled_back
    assert host.stuck is (event == "it does not go back")
    assert not (host.ok and host.to_roll_back)
    assert host.to_roll_back is not (host.ok or host.rolled_back or host.stuck)
    assert host.reason or host.ok


def noise(chars: int, seed: int) -> str:
    """Return a text that cannot be packed."""
    letters = string.ascii_letters + string.digits + string.punctuation
    return "".join(random.Random(seed).choices(letters, k=chars))


def test_a_batch_fits_into_its_field_whatever_its_hosts_say() -> None:
    hosts = []
    for number in range(100):
        host = HostRow(noise(200, number), "compute", deployment_id=str(uuid.UUID(int=number)))
        host.facts = {"hostname": noise(400, number)}
        if number % 2:
            host.fail("install_driver", noise(400, number))
        hosts.append(host)
    packed = rows.batch(hosts)["rows"]

    assert sys.getsizeof(str(packed)) < 40_000
    # Nobody is lost, though of what they said only the beginnings are kept.
    read = rows.read(packed)
    assert [host.host for host in read] == [host.host for host in hosts]
    assert {host.state for host in read[1::2]} == {FAILED}


def test_the_ends_of_logs_give_way_before_reasons() -> None:
    hosts = []
    for number in range(100):
        host = HostRow(f"c{number}", "compute", tail=f"{noise(990, number)} the end")
        host.fail("install_driver", noise(190, 1000 + number))
        hosts.append(host)
    packed = rows.batch(hosts)["rows"]

    assert sys.getsizeof(str(packed)) < 40_000
    read = rows.read(packed)
    assert {len(host.reason) for host in read} == {190}
    # What is left of one is its end.
    few = [HostRow(f"c{n}", "compute", tail=f"{noise(990, n)} the end") for n in range(60)]
    tails = {host.tail[-7:] for host in rows.read(rows.batch(few)["rows"])}
    assert tails == {"the end"}


def test_few_hosts_are_carried_as_they_are() -> None:
    batch = rows.batch([HostRow("c1", "compute", reason="x")])
    assert batch["rows"] == [{"host": "c1", "role": "compute", "reason": "x"}]
    many = [HostRow(f"rack-{n}-docker.cloud.test", "compute", needs=["a"]) for n in range(100)]
    packed = rows.batch(many)["rows"]
    assert isinstance(packed, str)
    assert rows.read(packed) == many


def test_all_steps_whose_checks_fail_are_told_of_a_host() -> None:
    host = run(mode="check", needs=[])
    assert host.pending is not None
    host.pending.steps = ["install_docker", "install_driver", "configure_compute"]
    entries = [
        {"step": "install_docker", "ok": False, "reason": "no room"},
        {"step": "install_driver", "ok": True, "changed": True, "facts": {}},
        {"step": "configure_compute", "ok": False, "reason": "no Nova"},
    ]

    rows.judge(host, {"deploy_result": "failed"}, {"steps": entries, "reason": "no room"})

    assert (host.state, host.step, host.reason) == (FAILED, "install_docker", "no room")
    assert host.findings == ["configure_compute would fail: no Nova"]
    assert host.needs == ["install_driver"]
    assert host.pending is None
