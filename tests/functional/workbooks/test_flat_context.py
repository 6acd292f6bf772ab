# SPDX-License-Identifier: Apache-2.0
"""What Mistral carries of a run's hosts: no field of it grows with their number."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
import requests
from keystoneauth1 import access, session
from keystoneauth1.identity.access import AccessInfoPlugin
from mistral.db.v2 import api as db_api

from novadocker_actions.cloud import clients, ended, pages
from novadocker_actions.errors import PageLost
from novadocker_actions.plan import packing, report
from tests.functional.workbooks.fake_cloud import CALLER, CATALOG, TOKEN, FakeCloud
from tests.functional.workbooks.fields import largest
from tests.functional.workbooks.in_process import Mistral
from tests.functional.workbooks.mistral_api import MISTRAL, MistralApi
from tests.functional.workbooks.results import CONVERTED, rows

# Of a field of Mistral's, at any number of hosts.
LIMIT = 64 * 1024
# Of what a run says of a host to other runs: 20 bits in base64.
CLAIM_CHARS = 3.5
REASON = "\N{GRINNING FACE}\N{HORIZONTAL ELLIPSIS} pip could not: " + "".join(map(str, range(150)))


@pytest.fixture
def paged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a few hosts carried as many are."""
    monkeypatch.setattr(pages, "CARRIED_CHARS", 10)
    monkeypatch.setattr(packing, "PLAIN_CHARS", 10_000)
    monkeypatch.setattr(report, "WHOLE_CHARS", 10)


@pytest.fixture
def workflow(engine: Mistral, cloud: FakeCloud) -> Any:
    """Mistral as actions ask it, with its own API."""
    transport = requests.Session()
    transport.mount("http://", cloud)
    transport.mount(MISTRAL, MistralApi())
    info = access.AccessInfoV3(auth_token=TOKEN, body={"token": {**CALLER, "catalog": CATALOG}})
    logged_in = session.Session(auth=AccessInfoPlugin(info), session=transport)
    return clients.Cloud(logged_in, None, {}, "a-task", "an-execution").workflow


def test_mistral_itself_keeps_pages_and_what_batches_found(mistral: Mistral, workflow: Any) -> None:
    run = mistral.run("novadocker.plan")
    items = [{"host": f"rack-{number}-docker", "role": "compute"} for number in range(100)]

    named = pages.write(workflow, pages.WORKING, run["id"], items)
    # An executor that was lost has done so before.
    assert pages.write(workflow, pages.WORKING, run["id"], items) == named
    assert pages.read(workflow, named) == items
    told = pages.write(workflow, pages.TOLD, run["id"], items)
    own = ended.Kept(workflow.environments.get(told["page"]).project_id)

    with db_api.transaction(read_only=True):
        below = db_api.get_workflow_executions(workflow_name="novadocker._recipe")
        ids = [execution.id for execution in below]
    batches = [pages.read(workflow, {"execution": execution_id}) for execution_id in ids]
    assert "compute-docker-1" in {row["host"] for rows_of_batch in batches for row in rows_of_batch}

    workflow.environments.update(
        name=named["page"], variables={"items": packing.compressed("[]")}, description="altered"
    )
    with pytest.raises(PageLost, match="is not what the run has put there"):
        pages.read(workflow, named)
    # It has ended: but its report is left of it, until it is gone itself.
    pages.sweep(workflow, "another-run", own)
    assert pages.read(workflow, told) == items
    with pytest.raises(PageLost, match="is gone from Mistral"):
        pages.read(workflow, named)
    mistral.forget()
    pages.sweep(workflow, "another-run", own)
    with pytest.raises(PageLost, match="is gone from Mistral"):
        pages.read(workflow, told)


@pytest.mark.usefixtures("paged")
def test_a_run_whose_hosts_lie_in_pages_is_as_any_other(mistral: Mistral, cloud: FakeCloud) -> None:
    bad = cloud.hosts["compute-docker-2"]
    bad.faults["configure_compute", "apply"] = "fail"

    run = mistral.run("novadocker.deploy", {"max_failed": 1})

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert cloud.hosts["compute-docker-1"].state == CONVERTED
    assert rows(run)[bad.name]["rolled_back"] is True
    # Its report's pages stay, and what is kept of it for when it is gone; no others do.
    names = [named["page"] for named in run["output"]["report"]["pages"]]
    (kept,) = [name for name in cloud.environments if ended.run_of(name) == run["id"]]
    assert sorted([*names, kept]) == sorted(cloud.environments)
    assert all(name.startswith(f"{pages.TOLD}{run['id']}-") for name in names)

    undone = mistral.run("novadocker.undeploy")
    assert undone["state"] == "SUCCESS", mistral.tree(undone["id"])
    assert undone["output"]["report"]["totals"]["failed"] == 0


@pytest.mark.usefixtures("paged")
def test_a_page_that_somebody_has_altered_is_not_believed(
    mistral: Mistral, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = pages.write

    def write(*given: Any) -> dict[str, str]:
        named = real(*given)
        page = cloud.environments[named["page"]]
        text = json.dumps([{"host": "compute-3", "role": "compute"}])
        page["variables"] = json.dumps({"items": packing.compressed(text)})
        return named

    monkeypatch.setattr(pages, "write", write)

    run = mistral.run("novadocker.deploy")

    assert run["state"] == "ERROR"
    assert "is not what the run has put there" in run["output"]["message"]
    assert {mode for host in cloud.hosts.values() for _, mode in host.runs} <= {"check"}


@pytest.mark.usefixtures("paged")
def test_what_a_lost_run_has_left_of_pages_is_deleted_by_the_next(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    gone = "0b7e3f5c-8c7e-4a5e-9d6e-0e7c0a1b2c3d"
    for kind in (pages.WORKING, pages.TOLD):
        cloud.environments[f"{kind}{gone}-1"] = {"name": "x", "variables": "{}"}
    cloud.environments["an-operator-s-own"] = {"name": "y", "variables": "{}"}

    mistral.run("novadocker.plan")

    assert "an-operator-s-own" in cloud.environments
    assert not [name for name in cloud.environments if gone in name]


# Numbers of hosts, smallest first: tools/proofs/flat_context gives larger ones.
NUMBERS = [int(number) for number in os.environ.get("NOVADOCKER_FLAT_HOSTS", "40 120").split()]


@pytest.mark.slow
def test_no_field_grows_with_the_number_of_hosts(
    mistral: Mistral, cloud: FakeCloud, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of few and of many hosts, 95 of a hundred of which fail, in foreign characters."""
    sizes = []
    for number in NUMBERS:
        cloud.requests.clear()
        cloud.environments.clear()
        mistral.forget()
        for index in range(len(cloud.hosts) - 4, number - 2):
            host = cloud.add_host(f"rack-{index:05}-docker.region-one.cloud.test", "compute")
            if index % 20:
                host.faults["install_driver", "apply"] = REASON
        run = mistral.run("novadocker.deploy", {"max_failed": number}, 60 + 2 * number)
        assert run["state"] == "SUCCESS", mistral.tree(run["id"])[-3000:]
        broken = [host for host in cloud.hosts.values() if host.faults]
        assert len(broken) > (number - 2) * 0.9
        assert run["output"]["report"]["totals"]["failed"] == len(broken)
        sizes.append(largest())
        with capsys.disabled():
            size, field = sizes[-1]
            each = len(cloud.requests) / number
            print(f"\n{number} hosts: largest {size} bytes ({field}), {each:.1f} requests a host")
    assert max(bytes_ for bytes_, _ in sizes) < LIMIT, sizes
    # Beyond a batch, only the batches' names and counts come to it, and what runs of other projects
    # have to see: which hosts this one is about.
    claimed = CLAIM_CHARS * NUMBERS[-1]
    assert sizes[-1][0] < 1.5 * sizes[0][0] + claimed, sizes
    assert cloud.largest_environment < LIMIT
