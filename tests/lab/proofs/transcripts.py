# SPDX-License-Identifier: Apache-2.0
"""Commands as an operator types them, and what they print: in a pipe, and on a terminal."""

from __future__ import annotations

import os
import pathlib
import re
import shlex
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

# Where this environment has the client's commands.
BIN = pathlib.Path(sys.executable).parent
COLUMNS, LINES = 100, 40
COMMAND_TIMEOUT_S = 900
ENDED = re.compile(r"^exit code (\d+)$", re.MULTILINE)
RUN = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
# What other plug-ins of the command say of themselves.
OF_OTHERS = "Could not load "


@dataclass(frozen=True)
class Said:
    """What a command has printed, on both of its outputs, and how it ended."""

    code: int
    text: str

    @property
    def run_id(self) -> str:
        """Return the run that it is about, the last that it names."""
        ids = RUN.findall(self.text)
        assert ids, self.text
        return str(ids[-1])


class Transcripts:
    """Runs commands in a folder of its own, and keeps what they print, by pages.

    :param folder: of the pages
    :param place: where commands are run
    :param credentials: the variables by which ``openstack`` finds its cloud
    """

    def __init__(
        self, folder: pathlib.Path, place: pathlib.Path, credentials: Mapping[str, str]
    ) -> None:
        self.folder, self.place = folder, place
        folder.mkdir(parents=True, exist_ok=True)
        own = {name: text for name, text in os.environ.items() if not name.startswith("OS_")}
        path = f"{BIN}:{os.environ['PATH']}"
        self._env = {**own, **credentials, "PATH": path, "COLUMNS": str(COLUMNS)}
        self.pages: dict[str, list[str]] = {}
        self._page = ""

    def begin(self, page: str) -> None:
        """Keep what follows on a page."""
        self._page = page
        self.pages[page] = []

    def type(self, *command: str, timeout_s: float = COMMAND_TIMEOUT_S) -> Said:
        """Run a command whose outputs are a pipe."""
        done = subprocess.run(
            # What a shell runs in the background has Ctrl-C ignored.
            ["env", "--default-signal=INT", *command],
            env=self._env,
            cwd=self.place,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        self._keep(f"$ {shlex.join(command)}", done.stdout, f"exit code {done.returncode}")
        return Said(done.returncode, done.stdout)

    def on_a_terminal(
        self,
        *command: str,
        moments: Sequence[Callable[[str], bool]] = (),
        interrupt: bool = False,
        timeout_s: float = COMMAND_TIMEOUT_S,
    ) -> Said:
        """Run a command on a terminal.

        :param moments: the screen is kept once when each of them is so, in their order
        :param interrupt: whether Ctrl-C is pressed after the last of them
        """
        self._keep(f"$ {shlex.join(command)}")
        terminal = _Terminal(command, self._env, self.place)
        try:
            for moment in moments:
                self._keep(terminal.await_screen(moment, timeout_s), "[and later]")
            if interrupt:
                terminal.press("C-c")
            screen = terminal.await_screen(lambda text: bool(ENDED.search(text)), timeout_s)
        finally:
            terminal.close()
        last = ENDED.search(screen)
        assert last
        self._keep(screen[: last.end()])
        return Said(int(last.group(1)), screen[: last.start()])

    def _keep(self, *parts: str) -> None:
        lines = "\n".join(part.strip("\n") for part in parts if part.strip()).splitlines()
        told = "\n".join(line.rstrip() for line in lines if not line.startswith(OF_OTHERS))
        print(told, flush=True)
        page = self.pages[self._page]
        # A blank line stands before each command.
        page.append(f"\n{told}" if page and told.startswith("$ ") else told)
        (self.folder / f"{self._page}.txt").write_text("\n".join(page) + "\n")


class _Terminal:
    def __init__(self, command: Sequence[str], env: Mapping[str, str], place: pathlib.Path) -> None:
        self._socket = f"novadocker-{uuid.uuid4().hex[:8]}"
        script = f"{shlex.join(command)}; printf '\\nexit code %d\\n' $?; exec cat"
        size = ("-x", str(COLUMNS), "-y", str(LINES))
        subprocess.run(
            self._tmux("-f", "/dev/null", "new-session", "-d", *size, script),
            env={**env, "TERM": "xterm-256color"},
            cwd=place,
            check=True,
        )

    def _tmux(self, *arguments: str) -> list[str]:
        return ["tmux", "-u", "-L", self._socket, *arguments]

    def screen(self) -> str:
        # From the beginning of what has scrolled away, wrapped lines whole.
        capture = self._tmux("capture-pane", "-p", "-J", "-S", "-")
        return subprocess.run(capture, stdout=subprocess.PIPE, text=True, check=True).stdout

    def await_screen(self, wanted: Callable[[str], bool], timeout_s: float) -> str:
        deadline = time.monotonic() + timeout_s
        while not wanted(screen := self.screen()):
            assert time.monotonic() < deadline, screen
            assert not ENDED.search(screen), screen
            time.sleep(0.3)
        return screen

    def press(self, key: str) -> None:
        subprocess.run(self._tmux("send-keys", key), check=True)

    def close(self) -> None:
        subprocess.run(self._tmux("kill-server"), check=True)
