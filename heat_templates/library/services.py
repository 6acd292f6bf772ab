# SPDX-License-Identifier: Apache-2.0
"""Services of systemd: how they are called, restarted, and asked in their own Python."""

from __future__ import annotations

import grp
import json
import pwd
import re
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from library.faults import StepFailed
from library.probes import program_text
from library.processes import process_command
from library.step import ANY_CODE, Step, program_path, user_name
from library.uwsgi import is_uwsgi, uwsgi_environment, uwsgi_python

GLANCE_UNITS = (
    "glance-api.service",
    "openstack-glance-api.service",
    "devstack@g-api.service",
)
SCHEDULER_UNITS = (
    "nova-scheduler.service",
    "openstack-nova-scheduler.service",
    "devstack@n-sch.service",
)
NOVA_UNITS = ("nova-compute.service", "openstack-nova-compute.service", "devstack@n-cpu.service")


@dataclass
class Service:
    """A systemd service, and how its program is called.

    :param command: argument list from the running process, else from the unit
    """

    unit: str
    active: bool
    state: str
    user: str
    pid: int
    restarts: int
    notifies: bool
    command: list[str]
    environment: dict[str, str]

    @property
    def python(self) -> str:
        """Return the Python that the service runs in; empty when it cannot be told."""
        first = self.command[0] if self.command else ""
        if Path(first).name.startswith("python"):
            return first
        if is_uwsgi(self.command):
            return uwsgi_python(self.command)
        return script_python(Path(first)) if first else ""

    @property
    def program(self) -> list[str]:
        """Return the script and its arguments, without the interpreter."""
        if self.command and Path(self.command[0]).name.startswith("python"):
            rest = self.command[1:]
            while rest and re.fullmatch(r"-[A-Za-ln-z]+", rest[0]):
                rest = rest[1:]
            return rest
        return self.command


def script_python(script: Path) -> str:
    """Return the interpreter that a Python console script starts, empty when it is none."""
    try:
        with open(script, "rb") as handle:
            head = handle.read(1024).decode(errors="replace")
    except OSError:
        return ""
    line = re.match(r"#!\s*(\S*python[\d.]*)", head) or re.search(
        r"exec'? \"?(\S*python[\d.]*)", head
    )
    if line:
        return line.group(1)
    named = re.match(r"#!\s*\S*/env (python[\d.]*)", head)
    return program_path(named.group(1)) if named else ""


def find_service(step: Step, units: tuple[str, ...]) -> Service | None:
    """Return the first of these units that this host has."""
    wanted = "LoadState,ActiveState,SubState,User,MainPID,NRestarts,Type,Environment,ExecStart"
    for unit in units:
        # A unit's environment may hold passwords, as those of proxies.
        shown = step.run(
            ["systemctl", "show", "--no-pager", "-p", wanted, unit], ok=(0, 1, 4), quiet=True
        ).stdout
        values = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
        if values.get("LoadState") not in ("loaded", "bad-setting", "error"):
            continue
        pid = int(values.get("MainPID") or 0)
        command, environment = process_command(pid)
        if not command:
            listed = re.search(r"argv\[\]=(.*?) ; ignore_errors", values.get("ExecStart", ""))
            command = shlex.split(listed.group(1)) if listed else []
            environment = dict(
                item.split("=", 1) for item in shlex.split(values.get("Environment", ""))
            )
        if is_uwsgi(command):
            environment = {**environment, **uwsgi_environment(command)}
        return Service(
            unit=unit,
            active=values.get("ActiveState") == "active",
            state=f"{values.get('ActiveState', '')}/{values.get('SubState', '')}",
            user=user_name(values.get("User") or "root"),
            pid=pid,
            restarts=int(values.get("NRestarts") or 0),
            notifies=values.get("Type") == "notify",
            command=command,
            environment=environment,
        )
    return None


def nova_service(step: Step) -> Service:
    """Return nova-compute's service.

    :raises StepFailed: when there is none, or its Python cannot be found
    """
    service = find_service(step, NOVA_UNITS)
    if service is None:
        raise StepFailed(f"no nova-compute unit on this host (looked for {', '.join(NOVA_UNITS)})")
    if not service.python:
        raise StepFailed(
            f"{service.unit} is {service.state} and its Python cannot be told from the unit's "
            "command: start it with its old configuration, then repeat"
        )
    return service


def in_service_python(
    step: Step, service: Service, probe: Callable[..., Any], *arguments: str
) -> Any:
    """Call a probe in a service's Python, as its user with its environment; return its answer.

    What the service's libraries print themselves does no harm: the answer is the last line.
    """
    kept = ("PYTHON", "OS_", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
    env = {name: value for name, value in service.environment.items() if name.startswith(kept)}
    try:
        env["HOME"] = pwd.getpwnam(service.user).pw_dir
    except KeyError as err:
        raise StepFailed(f"{service.unit} runs as {service.user}, who is no user here") from err
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    done = step.run(
        [service.python, "-c", program_text(probe), *arguments], user=service.user, env=env
    )
    lines = done.stdout.strip().splitlines()
    return json.loads(lines[-1]) if lines else None


def may_use_engine(service: Service) -> bool:
    """Return whether the running service is in group docker, as far as that can be told.

    What counts are the groups of the process, not those that a new login of its user would have.
    """
    try:
        wanted = grp.getgrnam("docker").gr_gid
        status = Path(f"/proc/{service.pid}/status").read_text() if service.pid else ""
    except (KeyError, OSError):
        return True
    groups = re.findall(r"^(?:Gid|Groups):(.*)", status, re.M)
    return service.user == "root" or not groups or str(wanted) in " ".join(groups).split()


def is_member(user: str) -> bool:
    """Return whether a user's next process will be in group docker."""
    try:
        return user in grp.getgrnam("docker").gr_mem
    except KeyError:
        return False


def restart_service(step: Step, service: Service, timeout_s: float = 120) -> None:
    """Restart a service and wait until it stays up.

    :raises StepFailed: with the last lines of its journal
    """
    step.run(["systemctl", "daemon-reload"])
    step.run(["systemctl", "reset-failed", service.unit], ok=(0, 1))
    done = step.run(["systemctl", "restart", service.unit], ok=ANY_CODE)
    settle_s, deadline = 0.0 if service.notifies else 3.0, time.monotonic() + timeout_s
    since, seen_pid = time.monotonic(), 0
    while done.code == 0 and time.monotonic() < deadline:
        now = find_service(step, (service.unit,))
        if now is None or now.state.startswith("failed") or now.restarts > 0:
            break
        if not now.active or now.pid != seen_pid:
            since, seen_pid = time.monotonic(), now.pid
        if now.active and time.monotonic() - since >= settle_s:
            return
        time.sleep(0.3)
    raise StepFailed(
        f"{service.unit} does not stay up after the restart: {journal_end(step, service.unit)}"
    )


def journal_end(step: Step, unit: str) -> str:
    """Return the last lines that a unit has logged."""
    command = ["journalctl", "-u", unit, "-n", "15", "-o", "cat", "--no-pager"]
    return step.run(command, ok=ANY_CODE).stdout[-900:]


def put_back(step: Step, restarted: Service | None) -> None:
    """Put files back as this run found them, and have a service that took them up take these up.

    Its failure to do so would only hide the reason for all this.
    """
    if not step.restore_files():
        return
    step.note("the configuration was put back as it was")
    if restarted:
        step.run(["systemctl", "daemon-reload"])
        step.run(["systemctl", "reset-failed", restarted.unit], ok=(0, 1))
        try:
            step.run(["systemctl", "restart", restarted.unit])
        except StepFailed:
            step.owe("restart")
