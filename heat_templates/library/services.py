# SPDX-License-Identifier: Apache-2.0
"""Services of systemd: how they are called, and asked in their own Python.

One may be in a container, which its unit starts: it is asked in there.
"""

from __future__ import annotations

import json
import pwd
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from library.compute_container import KOLLA_UNIT, Container, run_inside, started_by
from library.faults import StepFailed
from library.probes import program_text
from library.processes import process_command
from library.step import Done, Step, program_path, user_name, wait_until
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
NOVA_UNITS = (
    "nova-compute.service",
    "openstack-nova-compute.service",
    "devstack@n-cpu.service",
    KOLLA_UNIT,
)
# How long a container may take from its start to nova-compute's, or stay away between two.
BEGIN_S = 30


@dataclass
class Service:
    """A systemd service, and how its program is called.

    :param command: argument list from the running process, else from the unit
    :param container: that it is in; its command is as it is called in there, and empty while it
        does not run
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
    container: Container | None = None

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
    """Return the first of these units that runs on this host, else the first that it has."""
    first: Service | None = None
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
            given = shlex.split(values.get("Environment", ""))
            environment = dict(item.split("=", 1) for item in given)
        container = started_by(command) if unit == KOLLA_UNIT else None
        if container is not None:
            pid, values["User"] = container.pid, container.user
            command, environment = process_command(pid)
        elif unit == KOLLA_UNIT:
            continue
        if is_uwsgi(command):
            environment = {**environment, **uwsgi_environment(command)}
        service = Service(
            unit=unit,
            active=values.get("ActiveState") == "active" and (not container or container.running),
            state=f"{values.get('ActiveState', '')}/{values.get('SubState', '')}",
            user=user_name(values.get("User") or "root"),
            pid=pid,
            restarts=int(values.get("NRestarts") or 0),
            notifies=values.get("Type") == "notify",
            command=command,
            environment=environment,
            container=container,
        )
        first = service if service.active else first or service
        if first.active:
            break
    return first


def nova_service(step: Step) -> Service:
    """Return nova-compute's service.

    :raises StepFailed: when there is none, or its Python cannot be found
    """
    service = find_service(step, NOVA_UNITS)
    if service is None:
        raise StepFailed(f"no nova-compute unit on this host (looked for {', '.join(NOVA_UNITS)})")
    if service.container is not None and not service.python:
        service = begun(step, service.unit)
    if not service.python:
        raise StepFailed(
            f"{service.unit} is {service.state} and its Python cannot be told from the unit's "
            "command: start it with its old configuration, then repeat"
        )
    return service


def begun(step: Step, unit: str) -> Service:
    """Return a container's service, whose nova-compute may be about to begin.

    :raises StepFailed: when it does not run, so that its Python cannot be asked
    """

    def running() -> Service | None:
        service = find_service(step, (unit,))
        waits = service is not None and service.state.startswith("activ") and not service.python
        return None if waits else service

    service: Service | None = wait_until(running, BEGIN_S)
    if service is None or not service.python:
        raise StepFailed(
            f"{unit}: nova-compute does not run in its container, where its Python cannot be told "
            "otherwise: see its log, nova-compute.log in kolla's logs, why not; then repeat"
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
    if service.container is None:
        try:
            env["HOME"] = pwd.getpwnam(service.user).pw_dir
        except KeyError as err:
            raise StepFailed(f"{service.unit} runs as {service.user}, who is no user here") from err
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    argv = [service.python, "-c", program_text(probe), *arguments]
    done = run_beside(step, service, argv, user=service.user, env=env)
    lines = done.stdout.strip().splitlines()
    return json.loads(lines[-1]) if lines else None


def run_beside(
    step: Step,
    service: Service,
    argv: list[str],
    *,
    ok: tuple[int, ...] = (0,),
    user: str = "root",
    env: dict[str, str] | None = None,
) -> Done:
    """Run a command where a service is: on the host, or in its container.

    :param ok: exit codes that are no failure
    :raises StepFailed: for any other exit code
    """
    if service.container is None:
        return step.run(argv, ok=ok, user=user, env=env)
    return run_inside(step, service.container, argv, ok=ok, user=user, env=env)


def place_on_host(step: Step, service: Service, name: str) -> Path | None:
    """Return where on the host a path of a service is, None where it is in its container alone."""
    if service.container is None:
        return step.path(name)
    source = service.container.source(name)
    return step.path(source) if source else None
