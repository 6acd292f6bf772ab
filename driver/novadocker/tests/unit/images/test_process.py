# SPDX-License-Identifier: Apache-2.0
"""Archives are read in a process of their own: its limits, its death, and who else lives."""

from __future__ import annotations

import errno
import fcntl
import gzip
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from novadocker import exceptions
from novadocker.tests import unfit
from novadocker.tests.archives import LAYER, Parts, tar
from novadocker.virt.docker.images import archive, process, program

LIMIT = 1 << 20
HERE = platform.machine()


@pytest.fixture
def unfit_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "PROGRAM", unfit.__name__)


def verify(path: Path, content: bytes) -> archive.Image:
    path.write_bytes(content)
    return process.Archives(LIMIT).image(str(path), HERE)


def test_another_user_of_its_number_may_have_all_pipes_that_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = fcntl.fcntl

    def refuse(fd: Any, command: int, *more: Any) -> Any:
        if command == fcntl.F_SETPIPE_SZ:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        return control(fd, command, *more)

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    assert verify(tmp_path / "archive", Parts().docker()).layers


def test_what_is_found_comes_back_as_it_was(tmp_path: Path) -> None:
    parts = Parts(config={"author": "Ж\udc80"}, layers=[LAYER, tar(("second", b"2"))])
    path = tmp_path / "archive"
    image = verify(path, parts.docker())
    with path.open("rb") as source:
        assert image == archive.Archive(source, LIMIT).image(HERE)
        again = b"".join(process.Archives(LIMIT).rewritten(str(path), image, "our:name"))
        assert again == b"".join(archive.Archive(source, LIMIT).rewritten(image, "our:name"))


def test_bytes_of_any_kind_survive() -> None:
    image = archive.Image(bytes(range(256)), (archive.Layer("a", "b", 1, True),), 7)
    plain = json.loads(json.dumps(program.image_to_json(image)))
    assert program.image_from_json(plain) == image


@pytest.mark.usefixtures("unfit_program")
class TestDeath:
    def test_too_much_of_the_processors_time_is_a_refusal(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(process, "CPU_S", 1)
        with pytest.raises(exceptions.ImageRefused, match="more than 1 s of the processor's time"):
            verify(tmp_path / "archive", b"spin")

    def test_too_much_memory_is_a_refusal(self, tmp_path: Path) -> None:
        with pytest.raises(exceptions.ImageRefused, match="more than 768 MiB of memory"):
            verify(tmp_path / "archive", b"grow")

    def test_a_crash_is_a_refusal(self, tmp_path: Path) -> None:
        with pytest.raises(exceptions.ImageRefused, match="crashes with signal 6"):
            verify(tmp_path / "archive", b"crash")

    @pytest.mark.parametrize(
        ("what", "told"), [(b"be_killed", "ended with -9"), (b"fail", "a fault of ours")]
    )
    def test_what_the_image_has_not_done_is_no_refusal(
        self, what: bytes, told: str, tmp_path: Path
    ) -> None:
        with pytest.raises(exceptions.DriverError, match=told) as raised:
            verify(tmp_path / "archive", what)
        assert not isinstance(raised.value, exceptions.ImageRefused)


def test_a_program_that_cannot_be_started_is_the_hosts_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "PROGRAM", "novadocker.nowhere")
    with pytest.raises(exceptions.DriverError, match="No module named") as raised:
        verify(tmp_path / "archive", Parts().docker())
    assert not isinstance(raised.value, exceptions.ImageRefused)


def test_whoever_has_had_enough_leaves_no_process(tmp_path: Path) -> None:
    path = tmp_path / "packed"
    path.write_bytes(gzip.compress(bytes(64 << 20)))
    parts = process.Archives(1 << 30).unpacked(str(path))
    next(parts)
    (child,) = _children()
    parts.close()
    assert child not in _children()


def _children() -> list[int]:
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def test_modules_are_not_taken_from_where_nova_compute_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('taken from the current directory')")
    monkeypatch.chdir(tmp_path)
    assert verify(tmp_path / "archive", Parts().docker())


GREEN = """
import eventlet
eventlet.monkey_patch()
import sys, time
from novadocker.virt.docker.images import process
turns = 0
def count():
    global turns
    while True:
        turns += 1
        time.sleep(0.01)
eventlet.spawn(count)
archives = process.Archives(1 << 30)
image = archives.image(sys.argv[1], sys.argv[2])
before = turns
size = sum(map(len, archives.rewritten(sys.argv[1], image, "our:name")))
assert size > image.size_bytes, size
print(before, turns - before)
"""


def test_green_threads_run_meanwhile(tmp_path: Path) -> None:
    """A process is started in some 0.1 s, in which they have their turns."""
    path = tmp_path / "archive"
    path.write_bytes(Parts(layers=[tar(("zeros", bytes(64 << 20)))]).docker())
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", GREEN, str(path), HERE],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert min(map(int, done.stdout.split())) >= 3
