# SPDX-License-Identifier: Apache-2.0
"""The driver's unit tests, in a process of their own.

Nova and Heat both register their options in oslo.config's one global configuration, and cannot be
imported
together.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[3]


def test_driver() -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-W", "ignore", "-p", "no:cacheprovider"),
            "driver/novadocker/tests/unit",
        ],
        cwd=CHECKOUT,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # For a machine that has other tests to run as well.
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20000:]
