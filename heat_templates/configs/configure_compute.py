# SPDX-License-Identifier: Apache-2.0
"""Make nova-compute use the Docker driver, by drop-in files; restart it only on a change."""

from __future__ import annotations

import json
import re
import tempfile
import time
from pathlib import Path
from typing import Any

from library.compute_container import SHARED, refuse_unfit
from library.container_config import (
    DROP_IN_FOLDER,
    DROP_IN_NAME,
    drop_in_on_host,
    had_no_entries,
    has_entries,
    names_driver,
    names_files,
    path_file,
    read_config,
    wanted_config,
    write_config,
    write_path_file,
)
from library.container_options import fit_container, libvirt_places
from library.container_restarts import (
    put_container_back,
    restart_with_less,
    sweep,
    take_out_entries,
)
from library.container_site import drafted, files_of
from library.driver_leftovers import remove_leftovers
from library.engine_access import is_member, join_group, may_use_engine
from library.faults import StepFailed
from library.instances import (
    instance_containers,
    refuse_if_instances,
    refuse_if_virtual_machines,
)
from library.options import option_lines, option_text
from library.outcome import run_step
from library.probes import distribution_files, effective_options, nova_driver, versions
from library.processes import began_at
from library.restarts import put_back, restart_service
from library.services import (
    NOVA_UNITS,
    Service,
    find_service,
    in_service_python,
    nova_service,
    place_on_host,
    run_beside,
)
from library.step import Step
from library.unit_text import written_command

SETTINGS = {
    "type": "object",
    "description": "The configuration of nova-compute on a Docker host.",
    "additionalProperties": False,
    "properties": {
        "compute_driver": {
            "type": "string",
            "description": "The driver, as Nova's option of that name takes it.",
            "pattern": "^[A-Za-z_][A-Za-z0-9_.]*$",
            "default": "novadocker.virt.docker.DockerDriver",
        },
        "options": {
            "type": "object",
            "description": "Further options, by section and name.",
            "default": {},
            "additionalProperties": {
                "type": "object",
                "additionalProperties": {"type": ["string", "number", "boolean"]},
            },
        },
    },
}

DROP_IN = f"{DROP_IN_FOLDER}/{DROP_IN_NAME}"
NOVA_CONF = "/etc/nova/nova.conf"
SUDOERS = "/etc/sudoers.d/novadocker"
HEADER = "# Written by novadocker; `undo` of the step configure_compute removes it.\n"
START_TIMEOUT_S = 120
DRIVER_DISTRIBUTION = "nova-docker"
OVERRIDDEN = (
    f"something overrides {DROP_IN} even as the last --config-file of {{unit}}: look at the unit's "
    "environment and arguments"
)


def wanted_options(settings: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Return the options as text, by section and name, the driver first.

    :raises StepFailed: naming one that is no single option
    """
    options: dict[str, dict[str, str]] = {"DEFAULT": {"compute_driver": settings["compute_driver"]}}
    for section, values in sorted(settings["options"].items()):
        for name, value in sorted(values.items()):
            options.setdefault(section, {})[name] = option_text(value)
    # Before anything is asked about it.
    drop_in_text(options)
    return options


def drop_in_text(options: dict[str, dict[str, str]]) -> str:
    """Return the drop-in file's text."""
    sections = (option_lines(section, values, "options") for section, values in options.items())
    return "".join([HEADER, *sections])


def converge(step: Step) -> None:
    """Write the drop-ins, prove that they take effect and that the driver loads, then restart."""
    step.facts["disturbs"] = False
    service = nova_service(step)
    options = wanted_options(step.settings)
    step.facts.update(unit=service.unit, python=service.python)
    if service.container is not None:
        refuse_unfit(step, service.container, service.state)
        fit_container(step, service, options)
    if step.mode == "apply":
        if not has_driver_set(step, service):
            refuse_if_virtual_machines(step, *libvirt_places(step, service))
        step.remember_unit(service.unit, service.active)
    drop_in = service.container is None or not is_permanent(step, service, options)
    changed = write_settings(step, service, options, drop_in)
    running = service.active and not gains_engine(step, service)
    running = running and not runs_older_driver(step, service)
    if not changed and running and effective(step, service, options):
        return
    if service.active:
        step.disturb(f"{service.unit} is restarted")
    if step.mode == "check":
        write_entries(step, service, drop_in)
        step.will(f"restart {service.unit}")
        foresee(step, service, options)
        return
    restarted = None
    try:
        if service.container is None:
            service = make_effective(step, service, options)
            loaded = prove_driver(step, service)
            allow_privileged_helper(step, service, loaded["root_helper"])
        else:
            loaded = foresee(step, service, options)
            join_group(step, service)
            # Only now: it would start by it whenever it is started.
            write_entries(step, service, drop_in)
            sweep(step, service, service.container)
        folder = f"{loaded['state_path']}/novadocker"
        held = place_on_host(step, service, folder)
        if held is not None and not held.exists():
            step.remember("folder", folder)
        if step.actions or not running or service.container is not None:
            step.will(f"restart {service.unit}")
            restarted = service
            restart_service(step, service, START_TIMEOUT_S)
    except StepFailed:
        leaving, is_new = leaves_docker(step), drop_in_is_new(step)
        if leaving and instance_containers(step):
            step.note("instances live here as containers: the configuration stays for the driver")
        else:
            if service.container is None:
                put_back(step, restarted)
            else:
                put_container_back(step, service, restarted is not None, START_TIMEOUT_S)
            if is_new:
                remove_leftovers(step, service, step.to_undo.get("folder"))
        raise


def drop_in_of(service: Service) -> str:
    """Return where on the host the drop-in of a service is."""
    return DROP_IN if service.container is None else drop_in_on_host(service.container)


def has_driver_set(step: Step, service: Service) -> bool:
    """Return whether a service begins with what this step has set, so that it is the driver's."""
    container = service.container
    given = container is None or has_entries(step, container)
    return given and step.path(drop_in_of(service)).exists()


def write_settings(
    step: Step, service: Service, options: dict[str, dict[str, str]], drop_in: bool
) -> bool:
    """Write the drop-in, and what a container needs besides.

    :param drop_in: whether it is needed
    :return: whether that is a change, or a container would not get it
    """
    text, changed = drop_in_text(options), False
    if drop_in:
        changed = step.write_file(drop_in_of(service), text, 0o644)
    container = service.container
    if container is None:
        return changed
    changed = write_path_file(step, container, HEADER) or changed
    lacks = wanted_config(step, service, container, drop_in) != read_config(step, container)
    if lacks or drop_in:
        step.note(
            f"kolla-ansible writes {container.folder}/config.json anew when it is run: deploy "
            'again after it, or make it permanent as the page "Hosts of kolla-ansible" says'
        )
    return lacks or changed


def write_entries(step: Step, service: Service, drop_in: bool) -> None:
    """Have a container get what it has to at its next start."""
    if service.container is not None:
        wanted = wanted_config(step, service, service.container, drop_in)
        write_config(step, service.container, wanted)


def is_permanent(step: Step, service: Service, options: dict[str, dict[str, str]]) -> bool:
    """Return whether kolla-ansible's own nova.conf has the options, and needs no drop-in."""
    if service.container is None or not names_driver(step, service.container):
        return False
    with tempfile.TemporaryDirectory(prefix="novadocker-", dir=step.path(SHARED)) as empty:
        Path(empty).chmod(0o755)
        alone = (f"--config-file={NOVA_CONF}", f"--config-dir={empty}")
        return effective(step, service, options, *alone)


def gains_engine(step: Step, service: Service) -> bool:
    """Return whether a restart gives the process a group that lets it use the engine."""
    if may_use_engine(service):
        return False
    return service.container is not None or is_member(step, service)


def runs_older_driver(step: Step, service: Service) -> bool:
    """Return whether nova-compute has run since before its driver was installed or replaced."""
    began = began_at(service.pid)
    installed = driver_installed_at(step, service) if began else None
    # A time to come is one of a clock that was wrong: no restart would get beyond it.
    return bool(began and installed and began < installed <= time.time())


def driver_installed_at(step: Step, service: Service) -> float | None:
    """Return when pip installed the driver, in seconds since the epoch, None where it has not."""
    try:
        if service.container is None:
            there = in_service_python(step, service, distribution_files, DRIVER_DISTRIBUTION)
        else:
            # The copy in there is as new as its start.
            there = files_of(step, service, DRIVER_DISTRIBUTION)
    except StepFailed:
        # What there is not is told where it is to be loaded.
        return None
    record = next((n for n in there.get("files", ()) if n.endswith(".dist-info/RECORD")), "")
    path = Path(there.get("place", "/"), record)
    return path.stat().st_mtime if record and path.is_file() else None


def foresee(step: Step, service: Service, options: dict[str, dict[str, str]]) -> dict[str, str]:
    """Find out with a draft of the drop-in what applying it would: whether it wins, what loads.

    :return: what the driver's load tells, nothing where it is not there yet
    :raises StepFailed: when it would be overridden, or the driver is there and does not load
    """
    room = None if service.container is None else step.path(SHARED)
    with tempfile.TemporaryDirectory(prefix="novadocker-", dir=room) as place:
        draft = Path(place, DROP_IN_NAME)
        # Nova's own user reads it.
        Path(place).chmod(0o755)
        draft.write_text(drop_in_text(options))
        draft.chmod(0o644)
        argument = f"--config-file={draft}"
        if service.container is not None:
            if not names_files(read_config(step, service.container)):
                argument = f"--config-dir={place}"
            service = drafted(step, service, place)
        if not effective(step, service, options, argument):
            raise StepFailed(OVERRIDDEN.format(unit=service.unit))
        installed = in_service_python(step, service, versions, DRIVER_DISTRIBUTION)
        if installed[DRIVER_DISTRIBUTION] is None and step.mode == "check":
            step.note("whether the driver loads is known when it is installed")
            return {}
        loaded = prove_driver(step, service, argument)
        allow_privileged_helper(step, service, loaded["root_helper"])
        return loaded


def prove_driver(step: Step, service: Service, *more: str) -> dict[str, str]:
    """Load Nova's configuration and the driver in Nova's environment; return what that tells.

    :param more: arguments of Nova's, after those of its unit
    """
    try:
        loaded = in_service_python(step, service, nova_driver, *service.program, *more)
    except StepFailed as err:
        last = str(err).strip().splitlines()[-1]
        raise StepFailed(
            f"the driver does not load in the environment of {service.python}: {last[:500]}"
        ) from err
    step.facts["driver"] = loaded["driver"]
    return dict(loaded)


def effective(step: Step, service: Service, options: dict[str, dict[str, str]], *more: str) -> bool:
    """Return whether nova-compute reads all wanted options with its command line (and more)."""
    names = {section: list(values) for section, values in options.items()}
    program = Path(service.program[0]).name
    arguments = [*service.program[1:], *more]
    read = in_service_python(
        step, service, effective_options, json.dumps(names), program, *arguments
    )
    return bool(read == options)


def make_effective(step: Step, service: Service, options: dict[str, dict[str, str]]) -> Service:
    """Return the service with arguments that let the drop-in win, changing its unit if need be."""
    if effective(step, service, options):
        return service
    argument = f"--config-file={DROP_IN}"
    if argument in service.program or not effective(step, service, options, argument):
        raise StepFailed(OVERRIDDEN.format(unit=service.unit))
    command = [service.python, *service.program, argument]
    written = written_command(step, service)
    line = f"{written} {argument}" if written else systemd_command(command)
    name = f"/etc/systemd/system/{service.unit}.d/90-novadocker.conf"
    lines = (HEADER, "[Service]\n", "ExecStart=\n", f"ExecStart={line}\n")
    step.write_file(name, "".join(lines))
    service.command = command
    return service


def systemd_command(command: list[str]) -> str:
    """Return a command line as a unit's ExecStart wants it."""
    words = []
    for word in command:
        if not word.isprintable():
            raise StepFailed(f"the command of the unit has a word that is no plain text: {word!r}")
        escaped = (
            word.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$").replace('"', '\\"')
        )
        words.append(f'"{escaped}"' if any(c in word for c in " \t'\";") else escaped)
    return " ".join(words)


# -- the privileged helper -------------------------------------------------------------------------


def allow_privileged_helper(step: Step, service: Service, root_helper: str) -> None:
    """Let nova-compute start privsep-helper as root, where the host does not yet.

    oslo.rootwrap lets privsep-helper pass by itself; plain sudo wants a rule.
    """
    if service.user == "root" or "rootwrap" in root_helper:
        return
    helper = str(Path(service.python).parent / "privsep-helper")
    argv = ["sudo", "-n", "-l", "-U", service.user, helper, "--help"]
    allowed = run_beside(step, service, argv, ok=(0, 1))
    if allowed.code == 0 and "not allowed" not in allowed.stdout:
        return
    if service.container is not None:
        raise StepFailed(
            f"{service.user} may not run {helper} as root in the container "
            f"{service.container.name}, neither by nova-rootwrap nor by sudo: take "
            "[workarounds]disable_rootwrap out of nova.conf, or have the image allow it"
        )
    if not re.fullmatch(r"/[\w./+-]+", helper):
        raise StepFailed(f"sudo cannot be given a rule for {helper!r}: it is no plain path")
    rule = f"{HEADER}{service.user} ALL=(root) NOPASSWD: {helper} *\n"
    check = step.run(["visudo", "-c", "-f", "-"], ok=(0, 1), stdin=rule)
    if check.code:
        raise StepFailed(f"sudo would not take the rule for {helper}: {check.stderr[-300:]}")
    step.write_file(SUDOERS, rule, 0o440)


# -- undo ------------------------------------------------------------------------------------------


def recorded_drop_in(step: Step) -> str:
    """Return where the drop-in is that is on record, be it beside a container's configuration."""
    files = step.to_undo.get("files", {})
    return next((name for name in files if name.endswith(DROP_IN[len("/etc/nova") :])), DROP_IN)


def leaves_docker(step: Step) -> bool:
    """Return whether taking back leaves Nova without the driver: not where it had it before."""
    files = step.to_undo.get("files", {})
    if step.mode == "undo" or any(entry["before"] is None for entry in files.values()):
        return bool(files)
    if any(had_no_entries(step, name) for name in files):
        return True
    drivers = re.findall(rb"^compute_driver *= *(\S+)", driver_option_before(step), re.M)
    return recorded_drop_in(step) in files and not any(b"docker" in x.lower() for x in drivers)


def drop_in_is_new(step: Step) -> bool:
    """Return whether the driver came with what is taken back: what it keeps goes with it then."""
    entry = step.to_undo.get("files", {}).get(recorded_drop_in(step))
    return entry is not None and entry["before"] is None


def driver_option_before(step: Step) -> bytes:
    """Return what the drop-in held before, empty when it was not changed."""
    name = recorded_drop_in(step)
    return step.content_before(name) if name in step.to_undo.get("files", {}) else b""


def undo(step: Step) -> None:
    """Restore the files, and have nova-compute take them up when that changed one."""
    unit_files = tuple(f"/etc/systemd/system/{unit}.d/90-novadocker.conf" for unit in NOVA_UNITS)
    service = find_service(step, NOVA_UNITS)
    container = service.container if service else None
    beside = (drop_in_on_host(container), path_file(container)) if container else ()
    step.adopt_files((DROP_IN, SUDOERS, *unit_files, *beside), HEADER)
    joined = "group" in step.to_undo
    if not (step.to_undo.get("files") or joined or step.owes("restart")):
        return
    if leaves_docker(step):
        refuse_if_instances(step)
    if drop_in_is_new(step):
        step.owe("leftovers")
    owed = step.owe("restart")
    taken_out = container is not None and take_out_entries(step, container)
    if not (step.restore_files() or taken_out or joined or owed) or service is None:
        return
    if step.ran_before(service.unit):
        step.will(f"restart {service.unit}")
        if container is None:
            restart_service(step, service, START_TIMEOUT_S)
        else:
            restart_with_less(step, service, START_TIMEOUT_S)
    elif step.will(f"stop {service.unit}, which did not run before"):
        step.run(["systemctl", "daemon-reload"])
        step.run(["systemctl", "stop", service.unit])
    if step.owes("leftovers"):
        remove_leftovers(step, service, step.to_undo.get("folder"))


if __name__ == "__main__":
    run_step("configure_compute", SETTINGS, converge, undo)
