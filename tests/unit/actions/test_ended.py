# SPDX-License-Identifier: Apache-2.0
"""Runs as they are kept for when Mistral has expired their executions."""

from __future__ import annotations

import hashlib
import json
import re
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from novadocker_actions.actions.report import Report
from novadocker_actions.cloud import ended, pages
from novadocker_actions.errors import CloudError, PageLost
from novadocker_actions.plan import inputs, report
from novadocker_client import ended as clients

RUN = "00000000-0000-4000-8000-000000000001"
MATCH = {"match": "docker"}
# What a database takes of a text and of a name, where it takes the least.
FIELD, NAME = 65_535, 200
OUTPUT = {"message": "Done. See it.", "url": "http://page", "report": {"state": "done", "rows": []}}


class Environments:
    """Mistral's environments in memory."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        # How many Mistral lists at once, the first first.
        self.max_limit = 1000

    def create(self, **row: Any) -> None:
        made = f"2026-02-01 {len(self.rows) // 3600:02}:{len(self.rows) // 60 % 60:02}:00"
        self.rows[row["name"]] = {"project_id": "p1", "created_at": made, **row}

    def list(self, **asked: Any) -> Any:
        since = asked.get("created_at", "").removeprefix("gte:")
        rows = [row for row in self.rows.values() if row["created_at"] >= since]
        return [
            SimpleNamespace(**row, to_dict=lambda row=row: row) for row in rows[: self.max_limit]
        ]

    def get(self, name: str) -> Any:
        return SimpleNamespace(to_dict=lambda: self.rows[name])

    def delete(self, name: str) -> None:
        if self.rows[name]["project_id"] != "p1":
            raise CloudError("workflow", "DELETE it", 403, "no")
        del self.rows[name]


def mistral(fault: int = 0, given: Any = MATCH, **told: Any) -> Any:
    """Return a Mistral whose runs have all ended.

    :param fault: its answer when it is asked for one
    :param given: the inputs of each
    :param told: what else it tells of each
    """

    def get(run_id: str) -> Any:
        if fault:
            raise CloudError("workflow", "GET it", fault, "no")
        row = {
            "id": run_id,
            "workflow_name": "novadocker.deploy",
            "description": "for the weekend",
            "created_at": "2026-01-02 03:04:05",
            "input": json.dumps(given),
            "project_id": "p1",
            **told,
        }
        return SimpleNamespace(**row, state="SUCCESS", to_dict=lambda: row)

    return SimpleNamespace(environments=Environments(), executions=SimpleNamespace(get=get))


def keep(service: Any, *, accepted: bool = True, **output: Any) -> ended.Kept:
    """Keep the run."""
    return ended.keep(service, RUN, {"bad": False, **OUTPUT, **output}, accepted=accepted)


def shown(service: Any) -> dict[str, Any]:
    """Return the run as the client shows it when its execution is gone."""
    cloud: Any = SimpleNamespace(mistral=service, project_id=lambda: "p1")
    run = clients.find(cloud, RUN)
    assert run is not None
    return run


def test_what_a_run_keeps_is_what_the_client_shows() -> None:
    service = mistral()
    own = keep(service)
    assert own.project_id == "p1"
    assert own.name.startswith("novadocker-ended-20260102T030405-")
    assert ended.run_of(own.name) == RUN
    cloud: Any = SimpleNamespace(mistral=service, project_id=lambda: "p1")
    (listed,) = clients.listed(cloud, ["novadocker.deploy"])
    assert listed["output"] == {"message": "Done. See it.", "report": {"state": "done"}}
    run = shown(service)
    assert (run["output"], run["input"], run["state"]) == (OUTPUT, MATCH, "SUCCESS")
    assert (run["description"], run["created_at"]) == ("for the weekend", "2026-01-02 03:04:05")


def test_others_do_not_see_it() -> None:
    service = mistral()
    own = keep(service)
    assert service.environments.rows[own.name]["scope"] == "private"


def test_what_was_refused_is_not_kept_as_it_may_be_a_secret() -> None:
    secret = "https://me:open-sesame@index.example.com"
    service = mistral(given={"driver_index": secret})
    keep(service, accepted=False)
    run = shown(service)
    assert (run["input"], run["output"]) == ({}, OUTPUT)


def test_a_run_with_the_longest_inputs_and_the_longest_report_is_kept() -> None:
    names = [f"compute-{number:06}.site-{number % 7}.example.com" for number in range(1100)]
    given = {"hosts": names, "docker": {"bip": "x" * inputs.OTHER_CHARS}}
    assert len(json.dumps(names)) > inputs.NAMING_CHARS
    rows = [
        {"host": name, "reason": hashlib.sha256(name.encode()).hexdigest()} for name in names[:200]
    ]
    told = {"state": "failed", "rows": rows}
    assert len(json.dumps(told)) > 0.9 * report.WHOLE_CHARS
    service = mistral(given=given)
    own = keep(service, report=told)
    kept_run = service.environments.rows[own.name]
    assert all(len(str(kept_run[part])) < FIELD for part in ("variables", "description"))
    assert len(own.name) <= NAME
    assert (shown(service)["input"], shown(service)["output"]["report"]) == (given, told)


def noise(chars: int) -> str:
    """Return what no compression makes shorter than its half."""
    parts = (hashlib.sha256(str(n).encode()).hexdigest() for n in range(chars // 64 + 1))
    return "".join(parts)[:chars]


def test_inputs_that_are_too_long_for_a_field_are_left_out() -> None:
    service = mistral(given={"hosts": noise(60_000)})
    keep(service)
    assert (shown(service)["input"], shown(service)["output"]) == ({}, OUTPUT)


def test_a_run_that_is_too_long_for_a_field_is_not_kept_and_ends() -> None:
    service = mistral()
    assert keep(service, message=noise(128_000)) == ended.Kept("p1")
    assert service.environments.rows == {}


def test_words_of_any_length_and_script_fit_what_lists_show() -> None:
    service = mistral(description="\N{EARTH GLOBE AMERICAS}" * 30_000)
    own = keep(service, message="\N{EARTH GLOBE AMERICAS}" * 3_000)
    assert len(service.environments.rows[own.name]["description"]) < FIELD


@pytest.mark.parametrize("fault", [404, 503])
def test_a_run_that_mistral_does_not_show_ends_all_the_same(fault: int) -> None:
    service = mistral(fault)
    assert keep(service) == ended.Kept()
    assert service.environments.rows == {}


@pytest.mark.parametrize("fault", [403, 413, 500, 503])
def test_a_run_that_mistral_does_not_keep_ends_and_sweeps_all_the_same(fault: int) -> None:
    service = mistral()
    service.environments.create(name=f"{pages.WORKING}{RUN}-{1:032}")
    refused = CloudError("workflow", "POST it", fault, "no")
    service.environments.create = mock.Mock(side_effect=refused)
    own = keep(service)
    assert own == ended.Kept("p1")
    pages.sweep(service, RUN, own)
    assert service.environments.rows == {}


@pytest.mark.parametrize(
    "told", [{"created_at": None}, {"created_at": "long ago"}, {"input": "{"}, {"input": b"{}"}]
)
def test_what_makes_no_sense_is_not_kept_and_the_run_ends(told: dict[str, Any]) -> None:
    service = mistral(**told)
    assert keep(service) == ended.Kept("p1")
    assert service.environments.rows == {}


def test_what_an_executor_that_was_lost_has_kept_is_known_by_its_name() -> None:
    service = mistral()
    taken = CloudError("workflow", "POST it", 409, "it is there")
    service.environments.create = mock.Mock(side_effect=taken)
    assert ended.run_of(keep(service).name) == RUN


def kept(number: int, run: int | None = None) -> str:
    run_id = f"00000000-0000-4000-8000-{number if run is None else run:012}"
    return f"novadocker-ended-2026010{number // 1000}T{number:06}-{run_id}-{number:032}"


def test_the_latest_are_kept_and_each_once() -> None:
    names = [kept(number) for number in range(1000, 1000 + ended.MOST + 5)]
    twice = kept(1300, 1100)
    own = kept(1100)
    gone = ended.too_many([*names, twice, "novadocker-stop-x", "theirs"], own)
    assert set(gone) == {*names[:5], twice}


def test_what_others_have_is_left_alone_and_what_is_kept_has_its_pages() -> None:
    service = mistral()
    rows = service.environments
    own = keep(service)
    for number in range(ended.MOST + 2):
        rows.create(name=kept(number), variables={}, project_id="p1")
    rows.create(name=kept(3000), variables={}, project_id="p2")
    rows.create(name=f"{pages.WORKING}{RUN}-{1:032}", variables={}, project_id="p2")
    rows.create(name=f"{pages.WORKING}{RUN}-{2:032}", variables={})
    rows.create(name=f"{pages.TOLD}{RUN}-{3:032}", variables={})
    # Its execution is gone, and what was kept of it goes now.
    service.executions.get = lambda run_id: (_ for _ in ()).throw(
        CloudError("workflow", "GET it", 404, "no")
    )
    old = ended.run_of(kept(0))
    rows.create(name=f"{pages.TOLD}{old}-{4:032}", variables={})
    pages.sweep(service, "another", own)
    left = set(rows.rows)
    assert {own.name, kept(3000), f"{pages.TOLD}{RUN}-{3:032}"} < left
    assert f"{pages.WORKING}{RUN}-{1:032}" in left
    assert not {f"{pages.WORKING}{RUN}-{2:032}", f"{pages.TOLD}{old}-{4:032}", kept(0)} & left
    mine = [name for name in left if ended.run_of(name) and rows.rows[name]["project_id"] == "p1"]
    assert len(mine) == ended.MOST


@pytest.mark.parametrize("others", ["p1", "p2"])
def test_all_is_swept_where_mistral_cuts_its_lists(others: str) -> None:
    """A large cloud's reports have pages by the thousand, and others have environments too."""
    service = mistral()
    rows = service.environments
    for number in range(150):
        rows.create(name=f"novadocker-another-{number}", variables={}, project_id=others)
    for number in range(ended.MOST + 2):
        rows.create(name=kept(number), variables={})
    own = keep(service)
    rows.create(name=f"{pages.WORKING}{RUN}-{1:032}", variables={})
    rows.max_limit = 100
    pages.sweep(service, RUN, own)
    left = set(rows.rows)
    assert f"{pages.WORKING}{RUN}-{1:032}" not in left
    assert sum(1 for name in left if ended.run_of(name)) == ended.MOST
    assert own.name in left


@pytest.mark.parametrize("kind", [ended.ENDED, pages.WORKING, pages.TOLD, "novadocker-stop-"])
@pytest.mark.parametrize(
    "end",
    [
        f"x-{RUN}/../../executions/{RUN}",
        f"{RUN}/../../workflows/novadocker.deploy",
        f"x-{RUN}-%2e%2e/x",
        f"{RUN}?force=true",
        f"{RUN}#",
    ],
)
def test_a_name_that_would_be_another_address_is_not_asked_for(kind: str, end: str) -> None:
    """A member of the project makes it, and the run has more rights."""
    service = mistral()
    own = keep(service)
    for number in range(ended.MOST):
        service.environments.create(name=kept(number), variables={})
    # It sorts as the oldest and as the latest.
    for time in ("00000000T000000-", "99999999T999999-"):
        service.environments.create(name=f"{kind}{time}{end}", variables={})
    service.environments.create(name=f"{kind}{end}", variables={})
    asked = []
    service.executions.get = lambda run_id: (_ for _ in asked.append(run_id) or ()).throw(
        CloudError("workflow", "GET it", 404, "no")
    )
    service.environments.delete = mock.Mock()
    pages.sweep(service, RUN, own)
    addresses = [*asked, *(call.args[0] for call in service.environments.delete.mock_calls)]
    assert not [address for address in addresses if not re.fullmatch("[0-9A-Za-z-]+", address)]


@pytest.mark.parametrize("lost", [PageLost("it is gone"), CloudError("workflow", "GET", 503, "no")])
def test_a_run_whose_hosts_cannot_be_read_is_kept_as_others(lost: Exception) -> None:
    service = mistral()
    cloud: Any = mock.Mock(workflow=service, workflow_url="http://mistral", project_id="p1")
    cloud.dashboard_url.return_value, cloud.trusts.return_value = "", []
    made = Report({}, done=[{"rows": {"page": "novadocker-page-1"}}])
    made._workflow, made._run_id = "deploy", RUN
    with mock.patch.object(pages, "read", side_effect=lost):
        result = made.act(cloud)
    assert "not all hosts could be read" in str(result["report"])
    assert shown(service)["output"]["report"] == result["report"]


def test_a_page_that_is_no_text_is_none_that_a_run_has_written() -> None:
    service = mistral()
    named = pages.write(service, pages.WORKING, RUN, ["c1"])
    service.environments.rows[named["page"]]["variables"] = '{"items": "\\ud800"}'
    with pytest.raises(PageLost, match="is not what the run has put there"):
        pages.read(service, named)
