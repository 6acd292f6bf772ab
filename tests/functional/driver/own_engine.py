# SPDX-License-Identifier: Apache-2.0
"""A Docker Engine of the test's own, which it may kill. For a network namespace of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import docker
import docker.errors
import requests

from novadocker.tests.archives import Parts
from tests.functional.driver import whole_output

# A dockerd without a bridge deletes docker0, wherever it finds it.
_OWN_NETWORK = ("unshare", "--net", "--")
# It and the programs that it starts, which are Go's, live for a short time: to collect garbage
# late costs a little memory, and saves work.
_ENVIRONMENT = {"GOGC": "800"}


def given_url() -> str:
    """Return where the engine listens that tests or a program are given by the environment."""
    return os.environ["DOCKER_HOST"]


def given(timeout_s: int = 60) -> docker.DockerClient:
    """Connect to that engine."""
    return whole_output.Client(given_url(), timeout_s=timeout_s)


@contextlib.contextmanager
def loaded(engine: docker.DockerClient, parts: Parts) -> Iterator[str]:
    """A context with an image of these parts; it goes with all containers that are made of it.

    :return: the image's id
    """
    (image,) = engine.images.load(parts.docker())
    try:
        yield image.id
    finally:
        for box in engine.containers.list(all=True, filters={"ancestor": image.id}):
            box.remove(force=True, v=True)
        engine.images.remove(image.id, force=True)


def _has_docker0() -> bool:
    """Return whether the network namespace of this process has the bridge of another engine."""
    return "docker0" in [name for _, name in socket.if_nameindex()]


class OwnEngine:
    """A second dockerd with its own containerd, data and sockets.

    :param options: more of the daemon's
    """

    def __init__(self, directory: Path, options: Sequence[str] = ()) -> None:
        self.directory = directory
        self._options = options
        self.url = f"unix://{directory}/docker.sock"
        self.run = directory / "run"
        self._version = "auto"
        self._daemon: subprocess.Popen[bytes] | None = None
        self._containerd: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        if self._containerd is None:
            self._containerd = self._spawn(
                "containerd",
                f"--address={self.directory}/containerd.sock",
                f"--root={self.directory}/containerd",
                f"--state={self.run}/containerd",
                "--config=/dev/null",
            )
        self._daemon = self._spawn(
            *(_OWN_NETWORK if _has_docker0() else ()),
            "dockerd",
            f"--host={self.url}",
            f"--data-root={self.directory}/data",
            f"--exec-root={self.run}",
            f"--pidfile={self.directory}/docker.pid",
            f"--containerd={self.directory}/containerd.sock",
            "--bridge=none",
            "--iptables=false",
            "--ip6tables=false",
            "--live-restore",
            *self._options,
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                self.client().ping()
                return
            except (docker.errors.DockerException, requests.exceptions.RequestException):
                if time.monotonic() > deadline or self._daemon.poll() is not None:
                    told = (self.directory / "dockerd.log").read_text()
                    raise RuntimeError(f"dockerd does not start: {told[-3000:]}") from None
                time.sleep(0.1)

    def _spawn(self, *command: str) -> subprocess.Popen[bytes]:
        name = next(word for word in command if word not in _OWN_NETWORK)
        with open(self.directory / f"{name}.log", "ab") as log:
            environment = {**os.environ, **_ENVIRONMENT}
            return subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def client(self) -> docker.DockerClient:
        """Connect to it."""
        client = whole_output.Client(self.url, self._version)
        # The engine runs programs to tell its version, and has the same one all its life.
        self._version = client.api.api_version
        return client

    def kill(self) -> None:
        """Kill the daemon, and leave its containers to themselves; any process may do it."""
        assert self._daemon is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._daemon.pid, signal.SIGKILL)
        status = Path(f"/proc/{self._daemon.pid}/stat")
        with contextlib.suppress(FileNotFoundError):
            while status.read_text().rpartition(")")[2].split()[0] != "Z":
                time.sleep(0.01)
        self._daemon.wait()
        (self.directory / "docker.pid").unlink(missing_ok=True)

    def crash(self) -> None:
        """Kill all there is of it, as a host that loses its power does."""
        assert self._containerd is not None
        pids = {container.attrs["State"]["Pid"] for container in self.client().containers.list()}
        self.kill()
        self._containerd.kill()
        self._containerd.wait()
        self._containerd = None
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                # All its processes have this directory in their arguments.
                if str(self.directory).encode() in (process / "cmdline").read_bytes():
                    pids.add(int(process.name))
        for pid in pids - {0, os.getpid(), os.getppid()}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.5)
        self._unmount()
        shutil.rmtree(self.run)

    def namespaces(self) -> list[str]:
        """List the network namespaces that it keeps; mere files go within a minute."""
        return sorted(place for place in self._mounts() if place.startswith(f"{self.run}/netns/"))

    def _mounts(self) -> list[str]:
        with open("/proc/self/mounts", encoding="utf-8") as mounts:
            return [line.split()[1] for line in mounts if str(self.directory) in line.split()[1]]

    def _unmount(self) -> None:
        for target in reversed(self._mounts()):
            subprocess.run(["umount", "--lazy", target], check=False)

    def remove(self) -> None:
        """Kill it and delete all that it has."""
        self.crash()
        shutil.rmtree(self.directory, ignore_errors=True)


@contextlib.contextmanager
def running(*options: str) -> Iterator[OwnEngine]:
    """Run an engine, and remove it afterwards.

    :param options: more of the daemon's
    """
    directory = Path(tempfile.mkdtemp(prefix="novadocker-engine-"))
    # As the engine's own: a remapped root passes through.
    directory.chmod(0o711)
    engine = OwnEngine(directory, options)
    engine.start()
    try:
        yield engine
    finally:
        engine.remove()
