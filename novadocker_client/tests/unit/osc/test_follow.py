# SPDX-License-Identifier: Apache-2.0
"""A run on a terminal."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from novadocker_client.connection import Cloud
from novadocker_client.errors import Unavailable
from novadocker_client.osc.follow import Lines, Screen, view
from novadocker_client.runs import Runs
from novadocker_client.tests.fake_cloud import FakeCloud


def console() -> Console:
    """Return a terminal of 160 columns and 20 lines."""
    return Console(file=io.StringIO(), force_terminal=True, width=160, height=20, color_system=None)


def shown(renderable: Any) -> str:
    """Return what a terminal shows."""
    where = console()
    where.print(renderable)
    return where.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def add(fake: FakeCloud, count: int) -> str:
    """Add a run that is at many hosts, one of which has failed; return its id."""
    run = fake.add_run()
    names = [f"host-{number}" for number in range(count)]
    batch = fake.add_below(
        run,
        run,
        "switch_batch",
        "_switch_batch",
        "RUNNING",
        input={"rows": [{"host": name} for name in names]},
    )
    rows: list[dict[str, Any]] = [{"host": name} for name in names]
    rows[-1].update(state="failed", reason="pip [b]broke[/b] \x1b[2J")
    fake.add_task(batch, "install_driver", rows=rows)
    return run


def test_a_line_a_host_says_what_it_is_at_those_that_failed_first(
    fake: FakeCloud, cloud: Cloud
) -> None:
    run = add(fake, 2)
    text = shown(view(Runs(cloud).get(run), Runs(cloud).progress(run), rows=10))
    assert text.index("host-1") < text.index("host-0")
    assert "the driver is in Nova's environment" in text
    assert "Install the driver: pip [b]broke[/b] \ufffd[2J" in text
    assert f"deploy {run}: running" in text


def test_a_run_that_is_at_no_host_is_a_line_and_no_table(fake: FakeCloud, cloud: Cloud) -> None:
    run = fake.add_run()
    fake.add_task(run, "select_hosts", "RUNNING")
    lines = shown(view(Runs(cloud).get(run), Runs(cloud).progress(run), rows=10)).splitlines()
    assert (lines[0].startswith(f"deploy {run}: running"), lines[1:]) == (True, ["Select hosts"])


def test_a_thousand_hosts_fit_on_the_screen(fake: FakeCloud, cloud: Cloud) -> None:
    run = add(fake, 1000)
    text = shown(view(Runs(cloud).get(run), Runs(cloud).progress(run), rows=5))
    assert len(text.splitlines()) < 20
    assert "and 995 more hosts" in text
    assert "host-999" in text


def test_what_a_run_waits_for_is_told_once_with_how_it_goes_on(
    fake: FakeCloud, cloud: Cloud
) -> None:
    run = add(fake, 2)
    hold = {"kind": "approval", "batch": 2, "left": 1, "hosts": 5, "since": 0, "until": 2e9}
    fake.add_below(run, run, "hold", "_hold", "RUNNING", input={"hold": hold})
    told, progress = Runs(cloud).get(run), Runs(cloud).progress(run)
    where = console()
    with Lines(where) as lines:
        lines.show(told, progress)
        lines.show(told, progress)
    text = where.file.getvalue()  # type: ignore[attr-defined]
    assert text.count("It waits for an approval of batch 2 of 2, 5 hosts") == 1
    shown_so = " ".join(shown(view(told, progress, rows=5)).split())
    assert f"openstack docker run approve {run}" in shown_so


def test_a_service_that_is_away_is_told_below_what_is_known(fake: FakeCloud, cloud: Cloud) -> None:
    run = add(fake, 2)
    where = console()
    with Screen(where) as screen:
        screen.fault(Unavailable("Mistral", "answer", "away", 503))
        screen.show(Runs(cloud).get(run), Runs(cloud).progress(run))
        screen.fault(Unavailable("Mistral", "answer", "away", 503))
    text = where.file.getvalue()  # type: ignore[attr-defined]
    last = text[text.rindex(f"deploy {run}") :]
    assert "host-0" in last
    assert "Mistral does not answer (503)" in last


class Written:
    """A run with a batch, which is shown as lines."""

    def __init__(self, fake: FakeCloud, cloud: Cloud) -> None:
        self._fake, self._cloud = fake, cloud
        self.run = fake.add_run()
        self.batch = fake.add_below(
            self.run, self.run, "convert_batch", "_convert_batch", "RUNNING", input={"rows": []}
        )
        self._out = io.StringIO()
        self._lines = Lines(Console(file=self._out, width=160))

    def add(self, name: str, state: str = "SUCCESS", rows: Any = None) -> None:
        """Add a task of the batch."""
        self._fake.add_task(self.batch, name, state, rows=rows)

    def text(self) -> str:
        """Return all that was shown, after another look."""
        runs = Runs(self._cloud)
        self._lines.show(runs.get(self.run), runs.progress(self.run))
        return self._out.getvalue()


@pytest.fixture
def written(fake: FakeCloud, cloud: Cloud) -> Written:
    """A run that is shown as lines."""
    return Written(fake, cloud)


def test_ended_task_is_shown_with_its_meaning_and_hosts(written: Written) -> None:
    written.add("install_docker", rows=[{"host": "a"}, {"host": "b", "state": "ok"}])
    assert "ok      a, b: Docker Engine is installed" in written.text()


def test_failed_host_is_shown_with_its_reason(written: Written) -> None:
    rows = [{"host": "a", "state": "failed", "reason": "[disk] full"}]
    written.add("install_docker", rows=rows)
    assert "FAILED  a: Install Docker Engine: [disk] full" in written.text()


def test_running_and_uninteresting_tasks_are_not_shown(written: Written) -> None:
    written.add("install_docker", "RUNNING")
    written.add("settle")
    assert written.text() == ""


def test_failed_task_is_shown_whatever_it_is(written: Written) -> None:
    written.add("settle", "ERROR")
    assert "FAILED  Settle failed" in written.text()


def test_task_is_shown_once(written: Written) -> None:
    written.add("isolate", rows=[{"host": "a"}])
    written.text()
    assert written.text().count("the aggregate") == 1
