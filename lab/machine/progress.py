# SPDX-License-Identifier: Apache-2.0
"""Telling what the lab is doing: live on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import rich.console
import rich.live
import rich.spinner
import rich.table
import rich.text


class Progress:
    """Steps with their times; steps may run at the same time in several threads.

    :param console: where to write, standard output by default
    """

    def __init__(self, console: rich.console.Console | None = None) -> None:
        self.console = console or rich.console.Console(highlight=False, soft_wrap=True)
        self.began = time.monotonic()
        self._lock = threading.Lock()
        self._running: dict[int, tuple[str, float]] = {}
        self._live: rich.live.Live | None = None
        self._count = 0

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Show a step while the body runs, and how long it took when it is done."""
        key = self._open(title)
        began = time.monotonic()
        try:
            yield
        except BaseException:
            self._close(key)
            self._line("failed", title, time.monotonic() - began, "red")
            raise
        self._close(key)
        self._line("done", title, time.monotonic() - began, "green")

    def say(self, text: str) -> None:
        """Write one line."""
        self.console.print(text, markup=False)

    def _open(self, title: str) -> int:
        with self._lock:
            self._count += 1
            self._running[self._count] = (title, time.monotonic())
            if self.console.is_terminal and self._live is None:
                self._live = rich.live.Live(
                    console=self.console,
                    get_renderable=self._picture,
                    refresh_per_second=6,
                    transient=True,
                )
                self._live.start()
            count = self._count
        if not self.console.is_terminal:
            self.say(f"  ...            {title}")
        return count

    def _close(self, key: int) -> None:
        with self._lock:
            del self._running[key]
            if not self._running and self._live is not None:
                self._live.stop()
                self._live = None

    def _line(self, word: str, title: str, seconds: float, colour: str) -> None:
        # One call: between two, the live display would be drawn into the line.
        line = rich.text.Text.assemble("  ", (f"{word:<6}", colour), f" {seconds:6.1f} s {title}")
        self.console.print(line)

    def _picture(self) -> rich.table.Table:
        table = rich.table.Table.grid(padding=(0, 1))
        for title, began in list(self._running.values()):
            seconds = time.monotonic() - began
            table.add_row(rich.spinner.Spinner("dots"), f"{seconds:6.1f} s", rich.text.Text(title))
        return table
