# SPDX-License-Identifier: Apache-2.0
"""What hosts of the lab may suffer in tests."""

from __future__ import annotations

from lab.hosts.access import Host
from lab.machine import commands


def cut_power(host: Host) -> None:
    """Switch a host off without a warning, and on again."""
    commands.run(["docker", "kill", "--signal=KILL", host.container])
    host.start()
    host.wait_booted()
