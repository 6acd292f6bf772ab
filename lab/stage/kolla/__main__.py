# SPDX-License-Identifier: Apache-2.0
"""Make a compute host of the lab one whose nova-compute runs in a container.

    python -m lab.stage.kolla HOST

The way back is the lab's down and up.
"""

from __future__ import annotations

import argparse
import sys

from lab.controlplane import provision
from lab.errors import HostError, LabError
from lab.hosts.access import Host
from lab.machine import lock
from lab.machine.progress import Progress
from lab.settings import LabSettings
from lab.stage.kolla import host as kolla_host


def convert(settings: LabSettings, progress: Progress, name: str) -> None:
    """Move a host's nova-compute into a container; a host that has it there is left as it is."""
    if name not in [planned.name for planned in settings.computes]:
        raise HostError(f"{name} is no compute host of the lab's plan")
    host = Host(name, settings)
    if kolla_host.is_made(host):
        progress.say(f"nova-compute of {name} runs in a container already")
        return
    cloud = provision.controller_cloud(Host(settings.controller.name, settings))
    with progress.step(f"nova-compute of {name} into a container"):
        kolla_host.make(host, cloud)


def main() -> None:
    """Make the host of the command line such a one."""
    parser = argparse.ArgumentParser(prog="python -m lab.stage.kolla", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("host", metavar="HOST")
    settings = LabSettings()
    try:
        with lock.held(settings, "kolla"):
            convert(settings, Progress(), parser.parse_args().host)
    except LabError as err:
        sys.exit(f"lab: {err}")


if __name__ == "__main__":
    main()
