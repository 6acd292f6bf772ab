# SPDX-License-Identifier: Apache-2.0
"""The machine's own Docker engine: used when there, installed and started when not."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import time

from lab.errors import CommandError, EngineError
from lab.machine import commands

PID_FILE = pathlib.Path("/var/run/docker.pid")
PACKAGES = {
    "dockerd": ("docker.io", "iptables"),
    "docker": ("docker-cli",),
    "iptables": ("iptables",),
    "mmdebstrap": ("mmdebstrap",),
}


def ensure(log: pathlib.Path, timeout_s: float = 60) -> str:
    """Return the version of the running engine, after installing and starting it if need be.

    :param log: file for the output of apt and of an engine started here
    :param timeout_s: seconds to wait for a started engine
    :raises EngineError: when there is no engine in the end
    """
    _install_missing(log)
    version = running_version()
    if version is None:
        _start(log)
        version = _wait(timeout_s, log)
    return version


def running_version() -> str | None:
    """Return the version of the engine that answers, None when none does."""
    try:
        done = commands.run(
            ["docker", "info", "--format", "{{.ServerVersion}}"], check=False, timeout_s=20
        )
    except CommandError:
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def missing_packages() -> list[str]:
    """Return the Debian packages of programs that the lab needs and the machine lacks."""
    wanted: list[str] = []
    # An engine that answers may be anywhere (DOCKER_HOST); only without one is dockerd needed.
    if shutil.which("dockerd") is None and running_version() is None:
        wanted += PACKAGES["dockerd"]
    for program in ("iptables", "mmdebstrap"):
        if shutil.which(program) is None:
            wanted += PACKAGES[program]
    return sorted(set(wanted))


def _install_missing(log: pathlib.Path) -> None:
    packages = missing_packages()
    if packages:
        _apt_install(packages, log)
    if shutil.which("docker") is None:
        _apt_install(list(PACKAGES["docker"]), log)


def _apt_install(packages: list[str], log: pathlib.Path) -> None:
    if os.geteuid() != 0:
        raise EngineError(f"run as root, packages are missing: {' '.join(packages)}")
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    try:
        commands.run_logged(install, log, timeout_s=600, what="install packages", env=env)
    except CommandError:
        commands.run_logged(
            ["apt-get", "update"], log, timeout_s=300, what="update package lists", env=env
        )
        commands.run_logged(install, log, timeout_s=600, what="install packages", env=env)


def _start(log: pathlib.Path) -> None:
    if os.geteuid() != 0:
        raise EngineError("the Docker engine does not answer: start it, or run the lab as root")
    if pathlib.Path("/run/systemd/system").is_dir():
        commands.run_logged(
            ["systemctl", "start", "docker.service"], log, timeout_s=120, what="start docker"
        )
        return
    if _dockerd_is_running():
        return
    with log.open("ab") as out:
        subprocess.Popen(
            ["dockerd"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
        )


def _dockerd_is_running() -> bool:
    """Return whether the machine's dockerd runs already, even if it does not answer yet.

    Others, with data and sockets of their own, are none of the machine's.
    """
    try:
        pid = int(PID_FILE.read_text())
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == "dockerd"
    except (OSError, ValueError):
        return False


def _wait(timeout_s: float, log: pathlib.Path) -> str:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        version = running_version()
        if version:
            return version
        time.sleep(0.3)
    raise EngineError(f"the Docker engine does not answer after {timeout_s:g} s", log=log)
