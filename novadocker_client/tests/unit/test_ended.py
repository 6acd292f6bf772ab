# SPDX-License-Identifier: Apache-2.0
"""Runs whose executions are gone from Mistral."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from novadocker_client import again
from novadocker_client.connection import Cloud
from novadocker_client.errors import BadInput, NotFound
from novadocker_client.reports import junit
from novadocker_client.reports import page as html
from novadocker_client.runs import Run, Runs
from novadocker_client.tests.fake_cloud import FakeCloud

REPORT = {
    "state": "done",
    "rows": [{"host": "c1", "role": "compute", "state": "ok", "step": "verify_host"}],
}


def hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def pack(text: str) -> str:
    return "zlib:" + base64.b64encode(zlib.compress(text.encode())).decode()


def make(
    fake: FakeCloud, run_id: str, told: dict[str, Any], text: str | None = None, **of: Any
) -> None:
    """Make what is kept of a run, as somebody who knows how: with the right hashes.

    :param told: what of the summary is another than a run's
    :param text: the JSON of its contents
    """
    packed = pack(json.dumps({"input": {}, "output": {}}) if text is None else text)
    summary = {
        "workflow_name": "novadocker.deploy",
        "state": "SUCCESS",
        "description": "",
        "created_at": "2026-01-02 03:04:05",
        "updated_at": "2026-01-02 03:04:05",
        "message": "Done.",
        "outcome": "done",
        "contents": hashed(packed),
        **told,
    }
    shown = json.dumps(summary)
    name = f"novadocker-ended-20260102T030405-{run_id}-{hashed(shown)}"
    variables = json.dumps({"items": packed})
    fake.environments[name] = {"name": name, "description": shown, "variables": variables, **of}


def keep(fake: FakeCloud, run_id: str, message: str = "All is well.", **of: Any) -> dict[str, Any]:
    """Keep a run of the fake cloud as a run does it at its end; return its environment."""
    run = fake.executions[run_id]
    output = {"message": message, "url": "http://dashboard/run", "report": REPORT}
    text = json.dumps({"input": {"match": "docker"}, "output": output})
    packed = pack(text)
    told = json.dumps(
        {
            "workflow_name": run["workflow_name"],
            "state": "SUCCESS",
            "description": "before the weekend",
            "created_at": run["created_at"],
            "updated_at": run["created_at"],
            "message": message,
            "outcome": REPORT["state"],
            "contents": hashed(packed),
        }
    )
    began = "".join(sign for sign in run["created_at"] if sign.isdigit())
    name = f"novadocker-ended-{began[:8]}T{began[8:14]}-{run_id}-{hashed(told)}"
    kept = {"name": name, "description": told, "variables": json.dumps({"items": packed}), **of}
    fake.environments[name] = kept
    return kept


@pytest.fixture
def run_ids(fake: FakeCloud) -> list[str]:
    """Five runs that have ended, the first first, each of which is kept."""
    ids = [fake.add_run("deploy", "SUCCESS", output={"report": REPORT}) for _ in range(5)]
    for run_id in ids:
        keep(fake, run_id)
    return ids


def test_a_run_whose_execution_is_gone_is_shown_with_its_report(
    fake: FakeCloud, cloud: Cloud, run_ids: list[str]
) -> None:
    before = Runs(cloud).get(run_ids[0])
    del fake.executions[run_ids[0]]
    run = Runs(cloud).get(run_ids[0])
    assert (before.kept, run.kept) == (False, True)
    assert (run.id, run.workflow, run.state, run.outcome) == (
        *(before.id, "deploy", "SUCCESS", "done"),
    )
    assert (run.message, run.description) == ("All is well.", "before the weekend")
    assert (run.url, run.inputs) == ("http://dashboard/run", {"match": "docker"})
    assert [row.host for row in run.report.rows] == ["c1"]
    assert run.created_at == before.created_at
    progress = Runs(cloud).progress(run.id)
    assert (progress.tasks, progress.ended) == ((), True)


def test_those_that_are_gone_are_listed_among_the_others_once(
    fake: FakeCloud, cloud: Cloud, run_ids: list[str]
) -> None:
    for gone in (0, 1, 3):
        del fake.executions[run_ids[gone]]
    listed = Runs(cloud).list()
    assert [run.id for run in listed] == run_ids[::-1]
    assert [run.kept for run in listed] == [False, True, False, True, True]
    assert {(run.outcome, run.workflow) for run in listed} == {("done", "deploy")}
    assert listed[1].message == "All is well."
    assert Runs(cloud).list(workflow="verify") == []


@pytest.mark.parametrize("gone", [(), (0, 1), (3, 4), (1, 3), (0, 1, 2, 3, 4)])
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_pages_have_each_of_them_once_in_order(
    fake: FakeCloud, cloud: Cloud, run_ids: list[str], gone: tuple[int, ...], limit: int
) -> None:
    for number in gone:
        del fake.executions[run_ids[number]]
    seen: list[str] = []
    while page := Runs(cloud).list(limit=limit, marker=seen[-1] if seen else ""):
        seen += [run.id for run in page]
    assert list(dict.fromkeys(seen)) == run_ids[::-1]
    assert len(seen) == len(run_ids)


def test_a_marker_that_nobody_knows_is_told(cloud: Cloud, run_ids: list[str]) -> None:
    with pytest.raises(NotFound):
        Runs(cloud).list(marker="no-run")


def shown(cloud: Cloud, run_id: str) -> Run:
    return Runs(cloud).get(run_id)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("description", '{"state": "SUCCESS"}'),
        ("description", None),
        ("variables", json.dumps({"items": "zlib:AAAA"})),
        ("variables", "{}"),
        ("project_id", "another"),
    ],
)
def test_what_the_run_has_not_written_is_not_shown(
    fake: FakeCloud, cloud: Cloud, run_ids: list[str], part: str, value: Any
) -> None:
    run_id = run_ids[2]
    name = next(name for name in fake.environments if run_id in name)
    del fake.executions[run_id]
    fake.environments[name][part] = value
    with pytest.raises(NotFound):
        shown(cloud, run_id)
    listed = [run.id for run in Runs(cloud).list()]
    assert (run_id in listed) is (part == "variables")


def test_a_run_that_is_kept_twice_is_listed_once_and_is_what_was_kept_first(
    fake: FakeCloud, cloud: Cloud, run_ids: list[str]
) -> None:
    run_id = run_ids[2]
    (own,) = (kept for name, kept in fake.environments.items() if run_id in name)
    own["created_at"] = "2026-03-01 00:00:00"
    # Its name says that it is of a later run, which whoever has made it can have it say.
    fake.executions[run_id]["created_at"] = "2026-02-28 00:00:00"
    forged = keep(fake, run_id, message="Nothing happened.", created_at="2026-03-01 00:00:01")
    assert forged["name"] > own["name"]
    del fake.executions[run_id]
    for kept in (own, forged):
        # In whatever order Mistral lists them.
        fake.environments[kept["name"]] = fake.environments.pop(kept["name"])
        assert shown(cloud, run_id).message == "All is well."
        (listed,) = [run for run in Runs(cloud).list() if run.id == run_id]
        assert listed.message == "All is well."


@pytest.mark.parametrize(
    "made",
    [
        "[]",
        "no JSON",
        "[" * 20_000,
        '{"state": {}}',
        json.dumps({"workflow_name": "novadocker.deploy", "state": "SUCCESS"}),
    ],
)
def test_what_somebody_has_made_with_the_right_hash_and_no_sense_is_left_out(
    fake: FakeCloud, cloud: Cloud, run_ids: list[str], made: str
) -> None:
    name = f"novadocker-ended-20260102T030405-{run_ids[0]}-{hashed(made)}"
    fake.environments = {name: {"name": name, "description": made, "variables": "{}"}}
    del fake.executions[run_ids[0]]
    assert [run.id for run in Runs(cloud).list()] == run_ids[:0:-1]
    with pytest.raises(NotFound):
        shown(cloud, run_ids[0])


def test_values_that_somebody_has_made_up_are_words_and_nothing_else(
    fake: FakeCloud, cloud: Cloud, run_ids: list[str]
) -> None:
    fake.environments.clear()
    words = {key: {"no": ["text"]} for key in ("description", "message")}
    make(fake, run_ids[0], {**words, "outcome": [], "contents": []})
    del fake.executions[run_ids[0]]
    listed = {run.id: run for run in Runs(cloud).list()}[run_ids[0]]
    assert (listed.description, listed.message) == ("{'no': ['text']}", "{'no': ['text']}")
    assert (listed.ended, listed.outcome) == (True, "done")
    with pytest.raises(NotFound, match="what is kept of it was altered"):
        shown(cloud, run_ids[0])


def test_runs_are_listed_for_who_may_not_see_what_is_kept_of_others(
    fake: FakeCloud, cloud: Cloud, run_ids: list[str]
) -> None:
    del fake.executions[run_ids[0]]
    fake.faults["/mistral/v2/environments"] = (403, None)
    assert [run.id for run in Runs(cloud).list()] == run_ids[:0:-1]
    with pytest.raises(NotFound, match=f"Mistral does not show the run {run_ids[0]}"):
        shown(cloud, run_ids[0])


def test_no_run_is_begun_by_what_is_kept_of_another() -> None:
    """Others in the project can make such a one."""
    told = {"state": "planned", "plan_digest": "d"}
    plan = Run("1", "plan", "SUCCESS", output={"report": told}, kept=True)
    with pytest.raises(BadInput, match=r"^plan: Mistral has 1 no more, .* Plan anew"):
        again.deploy_inputs(plan)
    failed = Run("1", "deploy", "ERROR", output={"report": REPORT}, kept=True)
    with pytest.raises(BadInput, match=r"^failed_of: Mistral has 1 no more"):
        again.failed_inputs(failed, "deploy")


def test_a_run_that_was_never_kept_is_not_found(cloud: Cloud, run_ids: list[str]) -> None:
    with pytest.raises(NotFound, match="Mistral does not show the run 0000"):
        shown(cloud, "0000")


@pytest.mark.parametrize(
    "told",
    [
        {"state": "RUNNING"},
        {"state": "PAUSED"},
        {"state": {"no": ["text"]}},
        {"created_at": {"no": ["text"]}},
        {"created_at": ""},
        {"created_at": "0001-01-01 00:00:00"},
        {"created_at": "2026-13-01 00:00:00"},
        {"created_at": "9999-12-31 23:59:59"},
        {"updated_at": "0001-01-01 00:00:00"},
        {"updated_at": "soon"},
    ],
)
def test_what_cannot_be_a_run_that_has_ended_is_left_out(
    fake: FakeCloud, cloud: Cloud, told: dict[str, str]
) -> None:
    """Else it would go on for ever, be the latest for ever, or have a time that no page shows."""
    run_id = "0b7e3f5c-8c7e-4a5e-9d6e-0e7c0a1b2c3d"
    make(fake, run_id, told, created_at="2026-01-02 04:00:00")
    assert Runs(cloud).list() == []
    with pytest.raises(NotFound):
        shown(cloud, run_id)


@pytest.mark.parametrize("run_id", ["-" * 36, "0" * 36, "0b7e3f5c-8c7e-4a5e-9d6e-0e7c0a1b2c3-"])
def test_what_is_kept_under_no_runs_id_is_left_out(
    fake: FakeCloud, cloud: Cloud, run_id: str
) -> None:
    """A page of a run has an address of its id."""
    make(fake, run_id, {})
    assert Runs(cloud).list() == []


WHOLE: dict[str, Any] = {
    "input": {"hosts": ["c1"]},
    "output": {
        "message": "Done.",
        "url": "http://page",
        "report": {
            "state": "done",
            "rows": [{"host": "c1", "state": "ok", "seconds": 1.5, "steps": {"verify_host": 1}}],
            "hosts": {"rule": "hosts named", "selected": ["c1"]},
            "totals": {"ok": 1},
            "images": [{"reference": "nginx:1.27", "ok": True}],
            "notes": ["a note"],
            "errors": [{"task": "plan", "error": "no"}],
            "findings": [{"finding": "no space", "hosts": ["c1"], "count": 1}],
            "pages": [{"page": "novadocker-report-x"}],
            "plan_digest": "d",
        },
    },
}
NONSENSE = [
    None,
    5,
    10**400,
    float("inf"),
    "text",
    [],
    {},
    [[1]],
    {"a": 1},
    "\ud800",
    {"\udfff": 1},
]


def altered(value: Any, other: Any) -> Iterator[Any]:
    """Yield a value with one of its parts after the other in the place of another."""
    yield other
    if not isinstance(value, dict | list):
        return
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        for new in altered(part, other):
            copy = value.copy()
            copy[key] = new
            yield copy


@pytest.mark.parametrize("other", NONSENSE, ids=lambda value: type(value).__name__)
def test_whatever_is_in_what_is_kept_can_be_shown_and_written(
    fake: FakeCloud, cloud: Cloud, other: Any
) -> None:
    for number, contents in enumerate(altered(WHOLE, other)):
        run_id = f"00000000-0000-4000-8000-{number:012}"
        fake.environments.clear()
        make(fake, run_id, {"message": other, "outcome": other}, json.dumps(contents))
        listed = Runs(cloud).list()
        try:
            run = shown(cloud, run_id)
        except NotFound:
            assert not isinstance(contents, dict)
            continue
        name = f"novadocker.{run.workflow}"
        written = (
            *(run.message, run.url, run.outcome, repr(run.inputs), run.report.to_json()),
            junit.write(run.report, name, run.message),
            html.write(run.report, name, run.message),
            *(f"{row.cells} {row.times}" for row in run.report.rows),
            *(item.message + item.outcome for item in listed),
        )
        for text in written:
            text.encode()


@pytest.mark.parametrize("text", ["[" * 100_000, '"text"', "5", "no JSON", "9" * 5000])
def test_what_is_kept_and_is_no_object_was_altered(
    fake: FakeCloud, cloud: Cloud, text: str
) -> None:
    run_id = "0b7e3f5c-8c7e-4a5e-9d6e-0e7c0a1b2c3d"
    make(fake, run_id, {}, text)
    with pytest.raises(NotFound, match="what is kept of it was altered"):
        shown(cloud, run_id)


@pytest.mark.parametrize("items", [5, "text", {"rows": 5}, [{"rows": 5, "selected": "c1"}], [[]]])
def test_a_page_of_nonsense_is_an_empty_one(fake: FakeCloud, cloud: Cloud, items: Any) -> None:
    run_id = "0b7e3f5c-8c7e-4a5e-9d6e-0e7c0a1b2c3d"
    packed = pack(json.dumps(items))
    page = f"novadocker-report-{run_id}-{hashed(packed)}"
    report = {"state": "done", "pages": [{"page": page}]}
    make(fake, run_id, {}, json.dumps({"output": {"report": report}}))
    fake.environments[page] = {"name": page, "variables": json.dumps({"items": packed})}
    assert shown(cloud, run_id).report.rows == ()


@pytest.mark.parametrize("limit", [1, 2, 3, 10])
@pytest.mark.parametrize("gone", [(), (0, 2), (1, 2, 3), (3,), (0, 1, 2, 3, 4)])
def test_runs_of_the_same_second_are_on_pages_once(
    fake: FakeCloud, cloud: Cloud, gone: tuple[int, ...], limit: int
) -> None:
    ids = [fake.add_run("deploy", "SUCCESS", output={"report": REPORT}) for _ in range(7)]
    for run_id in ids[1:6]:
        fake.executions[run_id]["created_at"] = fake.executions[ids[3]]["created_at"]
    for run_id in ids:
        keep(fake, run_id)
    ordered = [ids[6], *sorted(ids[1:6]), ids[0]]
    for number in gone:
        del fake.executions[ordered[number]]
    seen: list[str] = []
    while page := Runs(cloud).list(limit=limit, marker=seen[-1] if seen else ""):
        assert len(page) == min(limit, len(ids) - len(seen))
        seen += [run.id for run in page]
        assert len(seen) <= len(ids)
    assert seen == ordered


def test_the_report_of_the_run_that_a_page_begins_after_is_not_asked_for(
    fake: FakeCloud, cloud: Cloud
) -> None:
    """It may be in a hundred pages."""
    names = [{"page": f"novadocker-report-{number}"} for number in range(10)]
    fake.add_run("deploy", "SUCCESS")
    marker = fake.add_run("deploy", "SUCCESS", output={"report": {"pages": names}})
    assert len(Runs(cloud).list(marker=marker)) == 1
    assert not fake.asked("/mistral/v2/environments/")


def test_no_form_is_filled_in_with_what_is_kept_of_a_run() -> None:
    given = {"driver_url": "http://x"}
    with pytest.raises(BadInput, match=r"^like: Mistral has 1 no more, .* Give the inputs anew"):
        again.like_inputs(Run("1", "plan", "SUCCESS", inputs=given, kept=True))
    assert again.like_inputs(Run("1", "plan", "SUCCESS", inputs=given)) == given
