# SPDX-License-Identifier: Apache-2.0
"""A run while it is under way: a line a host on a terminal, a line an event elsewhere."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from novadocker_client import events, meanings
from novadocker_client.errors import Unavailable
from novadocker_client.osc import base
from novadocker_client.osc.base import plain
from novadocker_client.progress import FAILED, RUNNING, UNKNOWN, HostProgress, Progress
from novadocker_client.runs import Run, Runs, TimedOut

# Lines of the terminal that the hosts do not get.
_AROUND = 8
_ORDER = {FAILED: 0, UNKNOWN: 1, RUNNING: 2}
_MARKS = {
    FAILED: ("failed", "bold red"),
    UNKNOWN: ("unknown", "bold red"),
    RUNNING: ("running", "yellow"),
}


def line(event: events.Event, run: Run) -> Text:
    """Return an event as a line, with how long after the run's beginning it was."""
    mark = Text("ok    ", style="green") if event.ok else Text("FAILED", style="bold red")
    return Text.assemble(
        f"{event.elapsed_s(run.created_at):7.1f} s  ", mark, f"  {plain(event.sentence())}"
    )


class Lines:
    """Shows a run as lines, each event once.

    :param console: where to
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told: set[str] = set()
        self._away = False

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: there is nothing to end."""

    def show(self, run: Run, progress: Progress) -> None:
        """Show what is new."""
        self._away = False
        for event in events.of(progress):
            if event.key not in self._told:
                self._told.add(event.key)
                self._print(line(event, run))
        if progress.hold and str(progress.hold) not in self._told:
            self._told.add(str(progress.hold))
            self._print(Text(plain(progress.hold.sentence(run.id))))

    def fault(self, fault: Unavailable) -> None:
        """Show that Mistral does not answer, once until it does again."""
        if not self._away:
            self._away = True
            self._print(Text(plain(f"{fault} The run goes on; it is asked for again.")))

    def _print(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True)


class Screen:
    """Shows a run as a table that changes, with a line a host.

    :param console: a terminal
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=False)
        self._last: tuple[Run, Progress] | None = None

    def __enter__(self) -> Screen:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, run: Run, progress: Progress) -> None:
        """Show how it stands."""
        self._last = (run, progress)
        self._live.update(self._view(run, progress), refresh=True)

    def fault(self, fault: Unavailable) -> None:
        """Show that Mistral does not answer, below what was last known."""
        parts: list[RenderableType] = [self._view(*self._last)] if self._last else []
        told = Text(plain(f"{fault} The run goes on; it is asked for again."), style="red")
        self._live.update(Group(*parts, told), refresh=True)

    def _view(self, run: Run, progress: Progress) -> RenderableType:
        return view(run, progress, rows=max(1, self._console.height - _AROUND))


def view(run: Run, progress: Progress, *, rows: int) -> RenderableType:
    """Return a run as a line and a table with a line a host, those that failed first.

    :param rows: for how many hosts there is room
    """
    now = datetime.datetime.now(datetime.UTC)
    hosts = sorted(progress.hosts(), key=lambda host: _ORDER.get(host.state, 3))
    title, told = _title(run, now), _caption(run, hosts, rows, progress)
    if not hosts:
        return Group(title, told) if told else title
    table = Table()
    for column in ("Host", "Step", "State", "For"):
        table.add_column(column, overflow="fold")
    for host in hosts[:rows]:
        word, style = _MARKS.get(host.state, ("ok", "green"))
        # As text: nothing in it is markup, whatever a host has said.
        table.add_row(
            Text(plain(host.host)),
            Text(plain(_step(host))),
            Text(word, style=style),
            _age(host, now),
        )
    return Group(title, table, told) if told else Group(title, table)


def _title(run: Run, now: datetime.datetime) -> Text:
    passed = f", {(now - run.created_at).total_seconds():.0f} s" if run.created_at else ""
    return Text(f"{run.workflow} {run.id}: {run.outcome}{passed}", style="bold")


def _step(host: HostProgress) -> str:
    words = meanings.step(host.step)
    if host.state == FAILED:
        return f"{words.title}: {host.reason}"
    if host.state not in (RUNNING, UNKNOWN):
        return words.done
    if host.doing is None:
        return words.title
    part = meanings.step(host.doing.step).title
    return f"{words.title}: {part} ({host.doing.number} of {host.doing.of})"


def _age(host: HostProgress, now: datetime.datetime) -> str:
    if host.state != RUNNING or not host.since:
        return ""
    return f"{max(0.0, (now - host.since).total_seconds()):.0f} s"


def _caption(run: Run, hosts: Sequence[HostProgress], rows: int, progress: Progress) -> Text:
    more = len(hosts) - rows
    parts = [f"and {more} more hosts"] if more > 0 else []
    under_way = [task.name for task in progress.tasks if not task.ended and not task.batch]
    parts += [meanings.step(name).title for name in dict.fromkeys(under_way)]
    parts += [plain(progress.hold.sentence(run.id))] if progress.hold else []
    return Text("; ".join(parts))


def until_it_ends(runs: Runs, run: Run, timeout_s: float | None) -> tuple[Run, int]:
    """Show a run until it ends; return it with the exit code.

    Who interrupts it, or has no more time, is told how the run is followed or stopped: it goes on.

    :param timeout_s: how long to stay; None for as long as it takes
    """
    console = Console(stderr=True)
    shown = Screen(console) if console.is_terminal else Lines(console)
    try:
        with shown:
            ended = runs.wait(
                run.id, timeout_s=timeout_s, on_progress=shown.show, on_fault=shown.fault
            )
    except KeyboardInterrupt:
        base.tell(f"\nThe run goes on. {how_to_follow(run.id)}")
        return run, base.INTERRUPTED
    except TimedOut as err:
        base.tell(f"{err} {how_to_follow(run.id)}")
        return run, base.TIMED_OUT
    except Unavailable as err:
        base.tell(f"{err} The run may go on. {how_to_follow(run.id)}")
        return run, base.FAILED
    return ended, base.EXIT_CODES[ended.outcome]


def how_to_follow(run_id: str) -> str:
    """Return the commands that follow or stop a run."""
    return (
        f"Follow it: openstack docker run watch {run_id}. "
        f"Stop it: openstack docker run stop {run_id}."
    )
