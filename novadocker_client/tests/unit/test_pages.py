# SPDX-License-Identifier: Apache-2.0
"""Runs of many hosts: what they carry is packed, and their reports lie in pages."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from typing import Any

from novadocker_client import pages
from novadocker_client.connection import Cloud
from novadocker_client.progress import host_rows
from novadocker_client.runs import Runs
from novadocker_client.tests.fake_cloud import FakeCloud


def packed(items: list[Any]) -> str:
    """Return a list as a run carries it."""
    return "zlib:" + base64.b64encode(zlib.compress(json.dumps(items).encode())).decode()


def add_page(fake: FakeCloud, items: list[Any]) -> dict[str, str]:
    """Add a page with items, and return what names it."""
    text = packed(items)
    name = f"novadocker-report-r1-{hashlib.sha256(text.encode()).hexdigest()[:32]}"
    fake.environments[name] = {"name": name, "variables": json.dumps({"items": text})}
    return {"page": name}


def test_rows_that_are_packed_are_rows() -> None:
    (row,) = host_rows(packed([{"host": "c1", "role": "compute", "state": "failed"}]))
    assert (row.host, row.state) == ("c1", "failed")


def test_what_cannot_be_unpacked_has_nothing_in_it() -> None:
    assert pages.unpack("zlib:?") == []
    assert host_rows("zlib:AAAA") == ()
    assert host_rows({"execution": "e1"}) == ()


def test_a_report_is_assembled_from_its_pages(fake: FakeCloud, cloud: Cloud) -> None:
    row = {"host": "c1", "role": "compute", "state": "failed"}
    named = [
        add_page(fake, [{"rows": [row]}]),
        add_page(fake, [{"rows": [{**row, "host": "c2", "state": "ok"}]}]),
        add_page(fake, [{"selected": ["c1", "c2"]}]),
    ]
    told = {"state": "partial", "rows": [row], "hosts": {"selected": []}, "pages": named}
    run = Runs(cloud).get(fake.add_run(state="SUCCESS", output={"report": told}))

    assert [row.host for row in run.report.rows] == ["c1", "c2"]
    assert run.report.data["hosts"]["selected"] == ["c1", "c2"]
    assert "pages" not in run.report.data


def test_of_a_page_that_is_another_the_beginning_is_shown_with_a_remark(
    fake: FakeCloud, cloud: Cloud
) -> None:
    named = add_page(fake, [{"rows": [{"host": "forged", "state": "ok"}]}])
    fake.environments[named["page"]]["variables"] = json.dumps({"items": packed([{"rows": []}])})
    told = {"state": "done", "rows": [{"host": "c1", "state": "ok"}], "pages": [named]}
    run = Runs(cloud).get(fake.add_run(state="SUCCESS", output={"report": told}))

    assert [row.host for row in run.report.rows] == ["c1"]
    assert "it is not what the run has written" in run.report.notes[-1]
