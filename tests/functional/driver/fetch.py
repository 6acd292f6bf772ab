# SPDX-License-Identifier: Apache-2.0
"""Fetch what the driver's tests start, for programs that run where there is no network.

``python -m tests.functional.driver.fetch``
"""

from __future__ import annotations

from tests.functional.driver import busybox, lxcfs, openvswitch, xfsprogs


def everything() -> None:
    """Have each of them installed, or unpacked in the cache."""
    busybox.program()
    lxcfs.programs()
    openvswitch.programs()
    xfsprogs.programs()


if __name__ == "__main__":
    everything()
