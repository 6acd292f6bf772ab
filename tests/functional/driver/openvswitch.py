# SPDX-License-Identifier: Apache-2.0
"""Open vSwitch in user space, from an unpacked package, for one network namespace."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.functional.driver import busybox

PACKAGES = ("openvswitch-switch", "openvswitch-common", "libxdp1", "libunbound8")
DAEMON = "usr/lib/openvswitch-switch/ovs-vswitchd"


def programs() -> Path:
    """Find where the programs are: installed, or unpacked into a cache (which takes a network)."""
    if Path("/", DAEMON).exists():
        return Path("/")
    for package in PACKAGES:
        if not list(busybox.CACHE.glob(f"{package}_*.deb")):
            busybox.unpack(package, busybox.CACHE)
    return busybox.CACHE / "root"


class Switch:
    """A running Open vSwitch.

    :param directory: of its sockets and its database
    """

    def __init__(self, root: Path, directory: Path) -> None:
        self.root = root
        self.directory = directory
        self.socket = f"unix:{directory}/db.sock"
        self.environment = {
            **os.environ,
            "OVS_RUNDIR": str(directory),
            "OVS_LOGDIR": str(directory),
            "OVS_DBDIR": str(directory),
            "OVS_PKGDATADIR": str(root / "usr/share/openvswitch"),
            "LD_LIBRARY_PATH": ":".join(
                str(path)
                for path in (*root.glob("usr/lib/*-linux-gnu"), *root.glob("lib/*-linux-gnu"))
            ),
        }

    def run(self, program: str, *arguments: str) -> str:
        """Run one of Open vSwitch's programs."""
        return subprocess.run(
            [str(self.root / program), *arguments],
            env=self.environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=30,
        ).stdout.strip()

    def vsctl(self, *arguments: str) -> str:
        """Run ovs-vsctl."""
        return self.run("usr/bin/ovs-vsctl", "--timeout=20", f"--db={self.socket}", *arguments)

    def ports(self, bridge: str) -> list[str]:
        """List the ports of a bridge."""
        return self.vsctl("list-ports", bridge).split()


@contextlib.contextmanager
def running(bridge: str) -> Iterator[Switch]:
    """Run Open vSwitch with one bridge on the user-space datapath, and stop it afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="novadocker-ovs-"))
    switch = Switch(programs(), directory)
    switch.run(
        "usr/bin/ovsdb-tool",
        "create",
        str(directory / "conf.db"),
        str(switch.root / "usr/share/openvswitch/vswitch.ovsschema"),
    )
    daemons = []
    try:
        for command in (
            [
                "usr/sbin/ovsdb-server",
                str(directory / "conf.db"),
                f"--remote=p{switch.socket}",
                "--remote=ptcp:6640:127.0.0.1",
                f"--unixctl={directory}/ovsdb.ctl",
            ],
            [DAEMON, switch.socket, f"--unixctl={directory}/vswitchd.ctl"],
        ):
            with open(directory / f"{Path(command[0]).name}.log", "wb") as log:
                daemons.append(
                    subprocess.Popen(
                        [str(switch.root / command[0]), *command[1:]],
                        env=switch.environment,
                        stdout=log,
                        stderr=log,
                    )
                )
            deadline = time.monotonic() + 20
            while not list(directory.glob("*.sock" if len(daemons) == 1 else "vswitchd.ctl")):
                if time.monotonic() > deadline or daemons[-1].poll() is not None:
                    raise RuntimeError(f"{command[0]} does not run: see {directory}")
                time.sleep(0.05)
        switch.vsctl("--no-wait", "init")
        switch.vsctl("add-br", bridge, "--", "set", "bridge", bridge, "datapath_type=netdev")
        yield switch
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(20)
        shutil.rmtree(directory, ignore_errors=True)
