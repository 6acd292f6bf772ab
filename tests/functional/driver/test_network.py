# SPDX-License-Identifier: Apache-2.0
"""Instances on a real Open vSwitch in user space, in a network namespace of the test's own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.functional.driver import busybox, openvswitch

CHECKOUT = Path(__file__).parents[3]


@pytest.mark.docker
@pytest.mark.slow
def test_ports_of_instances() -> None:
    if os.geteuid() != 0:
        pytest.skip("network namespaces take root")
    # There is no network to fetch them by in the namespace.
    busybox.program()
    openvswitch.programs()
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-m", "tests.functional.driver.programs.network"],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'driver'}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20000:]
