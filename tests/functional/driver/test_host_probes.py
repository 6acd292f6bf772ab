# SPDX-License-Identifier: Apache-2.0
"""What a host step asks in Nova's own Python: whether a container starts as the driver does it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import own_engine

sys.path.append(str(Path(__file__).parents[3] / "heat_templates"))

from library import probes


@pytest.fixture
def engine() -> Iterator[own_engine.OwnEngine]:
    before = bridges()
    with own_engine.running() as engine:
        yield engine
    assert bridges() == before


def bridges() -> list[tuple[int, str]]:
    """List the bridges of engines on this machine; others come and go with other tests."""
    return [link for link in socket.if_nameindex() if link[1].startswith("docker")]


@pytest.mark.field_case("K4.5")
def test_a_container_starts_or_the_reason_is_told_and_none_is_left(
    engine: own_engine.OwnEngine, tmp_path: Path
) -> None:
    (tmp_path / "nova.conf").write_text(f"[docker]\nhost_url = {engine.url}\n")
    text = probes.program_text(probes.container_fault)

    def fault() -> str:
        command = ["nova-compute", f"--config-file={tmp_path}/nova.conf"]
        done = subprocess.run(
            [sys.executable, "-c", text, *command], capture_output=True, text=True, check=True
        )
        return str(json.loads(done.stdout.splitlines()[-1]))

    assert fault() == ""
    assert engine.client().containers.list(all=True) == []
    # The program that each container of the engine's is started with is not there any more.
    settings = tmp_path / "no-runtime"
    settings.mkdir()
    engine.kill()
    engine._options = (*engine._options, f"--add-runtime=gone={settings}/runc")
    engine._options = (*engine._options, "--default-runtime=gone")
    engine.start()
    assert "no such file" in fault()
    assert engine.client().containers.list(all=True) == []
