# SPDX-License-Identifier: Apache-2.0
"""The hosts of the lab: containers that boot systemd as PID 1."""

from __future__ import annotations

import dataclasses
import io
import subprocess
import tarfile
import time
from collections.abc import Iterable, Mapping, Sequence

from lab.errors import CommandError, HostError
from lab.machine import commands
from lab.settings import LabSettings

# With these up a host can be worked on; slower services, as a cloud's, have checks of their own.
BASE_UNITS = ("dbus.service", "ssh.service", "openvswitch-switch.service")


@dataclasses.dataclass(frozen=True)
class HostFile:
    """A file to be put on a host.

    :param path: absolute path; missing parents are made
    :param data: content
    :param mode: permission bits
    :param owner: ``user`` or ``user:group`` by name; root by default
    """

    path: str
    data: str | bytes
    mode: int = 0o644
    owner: str | None = None


class Host:
    """A host of the lab, by name.

    :param name: the host's name, e.g. ``compute-3``
    :param settings: the plan of the lab
    """

    def __init__(self, name: str, settings: LabSettings | None = None) -> None:
        self.name = name
        self.settings = settings or LabSettings()
        self.container = self.settings.container(name)

    def __repr__(self) -> str:
        return f"Host({self.name!r})"

    @property
    def address(self) -> str:
        """Return the IPv4 address on the management network; the machine reaches it, too."""
        host = self.settings.host(self.name)
        if host:
            return host.address
        template = f'{{{{(index .NetworkSettings.Networks "{self.settings.network}").IPAddress}}}}'
        return self._docker("inspect", "--format", template, self.container).stdout.strip()

    def run(
        self,
        argv: Sequence[str],
        *,
        input: str | bytes | None = None,  # noqa: A002 (as subprocess names it)
        check: bool = True,
        timeout_s: float = 120,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program on the host as root and return its output as text.

        :param timeout_s: seconds after which the program is killed on the host itself
        :param env: variables for the program
        :raises CommandError: on a non-zero exit code (with ``check``) or when out of time
        """
        command = ["docker", "exec"]
        if input is not None:
            command.append("-i")
        for key, value in (env or {}).items():
            command += ["--env", f"{key}={value}"]
        command += [self.container, "timeout", "--kill-after=5", f"{timeout_s:g}", *argv]
        done = commands.run(
            command,
            input=input,
            check=False,
            timeout_s=timeout_s + 15,
            what=f"{self.name}: {' '.join(argv[:4])}",
        )
        if done.returncode and check:
            output = done.stdout + done.stderr
            last = next((x for x in reversed(output.splitlines()) if x.strip()), "no output")
            ended = (
                f"no end after {timeout_s:g} s"
                if done.returncode in (124, 137)
                else f"exit code {done.returncode}: {last.strip()}"
            )
            raise CommandError(
                f"{self.name}: {' '.join(argv[:6])}: {ended}",
                returncode=done.returncode,
                output=output,
            )
        return done

    def put(
        self, path: str, data: str | bytes, mode: int = 0o644, owner: str | None = None
    ) -> None:
        """Write one file on the host."""
        self.put_files([HostFile(path, data, mode, owner)])

    def put_files(self, files: Iterable[HostFile]) -> None:
        """Write many files on the host in one go."""
        self.run(["tar", "-x", "-f", "-", "-C", "/"], input=archive(files))

    def read(self, path: str) -> str:
        """Return the text of a file on the host."""
        return self.run(["cat", path]).stdout

    def state(self) -> str:
        """Return the container's state: ``running``, ``exited``, ... or ``absent``."""
        done = commands.run(
            ["docker", "inspect", "--format", "{{.State.Status}}", self.container], check=False
        )
        return done.stdout.strip() if done.returncode == 0 else "absent"

    def wait_booted(self, timeout_s: float = 120) -> None:
        """Return when the host can be worked on: systemd, SSH and Open vSwitch are up."""
        deadline = time.monotonic() + timeout_s
        said = ""
        while time.monotonic() < deadline:
            done = self.run(["systemctl", "is-active", *BASE_UNITS], check=False, timeout_s=20)
            if done.returncode == 0:
                return
            said = " ".join((done.stdout or done.stderr).split())
            if self.state() not in ("running", "created"):
                break
            time.sleep(0.2)
        raise HostError(
            f"{self.name} is not up after {timeout_s:g} s (systemd says: {said or 'nothing'});"
            f" see: docker logs {self.container}"
        )

    def start(self) -> None:
        """Start the container of a host that is stopped."""
        self._docker("start", self.container)

    def stop(self, timeout_s: int = 60) -> None:
        """Shut the host down as its own power button would.

        :param timeout_s: seconds after which it is switched off
        """
        commands.run(
            ["docker", "stop", "--time", str(timeout_s), self.container], timeout_s=timeout_s + 30
        )

    def _docker(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return commands.run(["docker", *argv])


def archive(files: Iterable[HostFile]) -> bytes:
    """Return a tar archive of files, with owners by name and paths relative to the root."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for file in files:
            data = file.data.encode() if isinstance(file.data, str) else file.data
            user, _, group = (file.owner or "root").partition(":")
            entry = tarfile.TarInfo(file.path.lstrip("/"))
            entry.size = len(data)
            entry.mode = file.mode
            entry.mtime = int(time.time())
            entry.uname, entry.gname = user, group or user
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def lab_hosts(settings: LabSettings) -> dict[str, Host]:
    """Return the hosts of the plan by name, the controller first."""
    return {host.name: Host(host.name, settings) for host in settings.hosts}
