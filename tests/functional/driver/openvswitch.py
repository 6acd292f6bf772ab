# SPDX-License-Identifier: Apache-2.0
"""Open vSwitch in user space, from an unpacked package, for one network namespace."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.functional.driver import packages

PACKAGE = "openvswitch-switch"
DAEMON = "usr/lib/openvswitch-switch/ovs-vswitchd"


def programs() -> Path:
    """Find below which directory the programs are."""
    return packages.root_with(DAEMON, PACKAGE)


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
            "LD_LIBRARY_PATH": packages.libraries(root),
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

    @contextlib.contextmanager
    def daemon(self, program: str, *arguments: str, log: Path, answers: str) -> Iterator[None]:
        """Run one of Open vSwitch's daemons.

        :param answers: the socket in its directory that is there once it runs
        """
        control = f"--unixctl={self.directory}/{log.stem}.ctl"
        with open(log, "wb") as output:
            running = subprocess.Popen(
                [str(self.root / program), *arguments, control],
                env=self.environment,
                stdout=output,
                stderr=output,
            )
        try:
            deadline = time.monotonic() + 20
            while not (self.directory / answers).exists():
                if time.monotonic() > deadline or running.poll() is not None:
                    raise RuntimeError(f"{program} does not run: {log.read_text()}")
                time.sleep(0.05)
            yield
        finally:
            running.terminate()
            running.wait(20)

    def ports(self, bridge: str) -> list[str]:
        """List the ports of a bridge."""
        return self.vsctl("list-ports", bridge).split()


@contextlib.contextmanager
def running(bridge: str) -> Iterator[Switch]:
    """Run Open vSwitch with one bridge on the user-space datapath, and stop it afterwards."""
    with _server("--remote=ptcp:6640:127.0.0.1") as switch:
        log = switch.directory / "vswitchd.log"
        with switch.daemon(DAEMON, switch.socket, log=log, answers="vswitchd.ctl"):
            switch.vsctl("--no-wait", "init")
            switch.vsctl("add-br", bridge, "--", "set", "bridge", bridge, "datapath_type=netdev")
            yield switch


@contextlib.contextmanager
def database(bridge: str) -> Iterator[Switch]:
    """Run Open vSwitch's database alone, with a bridge in it and no switch that made it."""
    with _server() as switch:
        switch.vsctl("--no-wait", "add-br", bridge)
        yield switch


@contextlib.contextmanager
def _server(*remotes: str) -> Iterator[Switch]:
    directory = Path(tempfile.mkdtemp(prefix="novadocker-ovs-"))
    switch = Switch(programs(), directory)
    file = str(directory / "conf.db")
    schema = str(switch.root / "usr/share/openvswitch/vswitch.ovsschema")
    try:
        switch.run("usr/bin/ovsdb-tool", "create", file, schema)
        arguments = (file, f"--remote=p{switch.socket}", *remotes)
        log = directory / "ovsdb-server.log"
        with switch.daemon("usr/sbin/ovsdb-server", *arguments, log=log, answers="db.sock"):
            yield switch
    finally:
        shutil.rmtree(directory, ignore_errors=True)
