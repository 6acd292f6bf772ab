# SPDX-License-Identifier: Apache-2.0
"""What is asked of a service in its own Python: programs that are sent there as text."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import time

import pytest
import verify_host
from library import probes, processes


@pytest.fixture
def other_release(tmp_path: pathlib.Path) -> pathlib.Path:
    """Return a place with a Nova, and a driver that has its engine somewhere else."""
    for name in (
        "nova/__init__.py",
        "nova/cmd/__init__.py",
        "nova/cmd/compute.py",
        "nova/config.py",
        "novadocker/__init__.py",
        "novadocker/conf.py",
        "novadocker/exceptions.py",
        "novadocker/virt/__init__.py",
        "novadocker/virt/docker/__init__.py",
        "novadocker/virt/docker/client.py",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def test_of_a_driver_of_another_release_python_says_what_verify_host_knows_it_by(
    other_release: pathlib.Path,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", probes.program_text(probes.container_fault), "nova-compute"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(other_release)},
    )
    assert verify_host.OTHER_LAYOUT in done.stderr


def test_when_a_process_began_is_told_by_the_kernel() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        told = processes.began_at(process.pid)
        process.kill()
    assert told is not None
    assert abs(told - time.time()) < 30
    assert (processes.began_at(0), processes.began_at(process.pid)) == (None, None)
