# SPDX-License-Identifier: Apache-2.0
"""Make nova-compute use the Docker driver, by drop-in files; restart it only on a change."""

import grp
import json
import re
from pathlib import Path
from typing import Any

from host_step import (
    NOVA_UNITS,
    Service,
    Step,
    StepFailed,
    find_service,
    in_service_python,
    instance_containers,
    nova_service,
    put_back,
    refuse_if_instances,
    restart_service,
    run_step,
)

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

DROP_IN = "/etc/nova/nova-compute.conf.d/90-novadocker.conf"
SUDOERS = "/etc/sudoers.d/novadocker"
HEADER = "# Written by novadocker; `undo` of the step configure_compute removes it.\n"
START_TIMEOUT_S = 120

# The effective values, by oslo.config itself: it reads default drop-in directories before the files
# that a command line names, so a unit with --config-file can win over a drop-in.
EFFECTIVE = """
import json, sys
from oslo_config import cfg
from oslo_log import log
conf = cfg.ConfigOpts()
log.register_options(conf)
wanted = json.loads(sys.argv[1])
for section, names in wanted.items():
    options = [cfg.StrOpt(name) for name in names]
    conf.register_opts(options, None if section == "DEFAULT" else section)
conf(sys.argv[3:], project="nova", prog=sys.argv[2])
def value(section, name):
    return conf[name] if section == "DEFAULT" else conf[section][name]
print(json.dumps({part: {name: value(part, name) for name in wanted[part]} for part in wanted}))
"""

# As nova-compute does at its start: configuration, then the driver's class below nova.virt.
LOADS = """
import json, sys
sys.argv = sys.argv[1:]
import nova.cmd.compute
from nova import config, utils
from nova.virt import driver
from oslo_utils import importutils
config.parse_args(sys.argv, configure_db=False, init_rpc=False)
name = config.CONF.compute_driver
found = importutils.import_class("nova.virt." + name)
if not issubclass(found, driver.ComputeDriver):
    raise SystemExit(name + " is not a nova.virt.driver.ComputeDriver")
name = found.__module__ + "." + found.__name__
print(json.dumps({"driver": name, "root_helper": utils.get_root_helper()}))
"""


def wanted_options(settings: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Return the options as text, by section and name, the driver first."""
    options: dict[str, dict[str, str]] = {"DEFAULT": {"compute_driver": settings["compute_driver"]}}
    for section, values in sorted(settings["options"].items()):
        for name, value in sorted(values.items()):
            text = str(value).lower() if isinstance(value, bool) else str(value)
            if "\n" in text:
                raise StepFailed(f"options.{section}.{name}: must be one line")
            options.setdefault(section, {})[name] = text
    return options


def drop_in_text(options: dict[str, dict[str, str]]) -> str:
    """Return the drop-in file's text."""
    lines = [HEADER]
    for section, values in options.items():
        lines.append(f"[{section}]\n")
        lines.extend(f"{name} = {value}\n" for name, value in values.items())
    return "".join(lines)


def converge(step: Step) -> None:
    """Write the drop-ins, prove that they take effect and that the driver loads, then restart."""
    service = nova_service(step)
    options = wanted_options(step.settings)
    step.facts.update(unit=service.unit, python=service.python)
    if step.mode == "apply":
        step.remember_unit(service)
    changed = step.write_file(DROP_IN, drop_in_text(options), 0o644)
    running = service.active and in_docker_group(service)
    if not changed and running and effective(step, service, options):
        return
    if step.mode == "check":
        step.will(f"restart {service.unit}")
        return
    restarted = None
    try:
        service = make_effective(step, service, options)
        allow_privileged_helper(step, service, prove_driver(step, service))
        if step.actions or not running:
            step.will(f"restart {service.unit}")
            restarted = service
            restart_service(step, service, START_TIMEOUT_S)
    except StepFailed:
        if leaves_docker(step) and instance_containers(step):
            step.note("instances live here as containers: the configuration stays for the driver")
        else:
            put_back(step, restarted)
        raise


def prove_driver(step: Step, service: Service) -> str:
    """Load Nova's configuration and the driver in Nova's environment; return Nova's root helper."""
    try:
        loaded = in_service_python(step, service, LOADS, *service.program)
    except StepFailed as error:
        last = str(error).strip().splitlines()[-1]
        raise StepFailed(
            f"the driver does not load in the environment of {service.python}: {last[:500]}"
        ) from error
    step.facts["driver"] = loaded["driver"]
    return str(loaded["root_helper"])


def effective(step: Step, service: Service, options: dict[str, dict[str, str]], *more: str) -> bool:
    """Tell whether nova-compute reads all wanted options with its command line (and more)."""
    names = {section: list(values) for section, values in options.items()}
    program = Path(service.program[0]).name
    arguments = [*service.program[1:], *more]
    found = in_service_python(step, service, EFFECTIVE, json.dumps(names), program, *arguments)
    return bool(found == options)


def make_effective(step: Step, service: Service, options: dict[str, dict[str, str]]) -> Service:
    """Return the service with arguments that let the drop-in win, changing its unit if need be."""
    if effective(step, service, options):
        return service
    argument = f"--config-file={DROP_IN}"
    if argument in service.program or not effective(step, service, options, argument):
        raise StepFailed(
            f"something overrides {DROP_IN} even as the last --config-file of {service.unit}: "
            "look at the unit's environment and arguments"
        )
    command = [service.python, *service.program, argument]
    name = f"/etc/systemd/system/{service.unit}.d/90-novadocker.conf"
    lines = (HEADER, "[Service]\n", "ExecStart=\n", f"ExecStart={systemd_command(command)}\n")
    step.write_file(name, "".join(lines))
    service.command = command
    return service


def systemd_command(command: list[str]) -> str:
    """Return a command line as a unit's ExecStart wants it."""
    words = []
    for word in command:
        escaped = (
            word.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$").replace('"', '\\"')
        )
        words.append(f'"{escaped}"' if any(c in word for c in " \t'\";") else escaped)
    return " ".join(words)


def in_docker_group(service: Service) -> bool:
    """Tell whether the running nova-compute may talk to the engine, as far as groups go."""
    try:
        wanted = grp.getgrnam("docker")
        status = Path(f"/proc/{service.pid}/status").read_text()
    except (KeyError, OSError):
        return True
    if service.user == "root" or service.user not in wanted.gr_mem:
        return True
    groups = next(line for line in status.splitlines() if line.startswith("Groups:"))
    return str(wanted.gr_gid) in groups.split()


# -- the privileged helper -------------------------------------------------------------------------


def allow_privileged_helper(step: Step, service: Service, root_helper: str) -> None:
    """Let nova-compute start privsep-helper as root, where the host does not yet.

    oslo.rootwrap lets privsep-helper pass by itself; plain sudo wants a rule.
    """
    if service.user == "root" or "rootwrap" in root_helper:
        return
    helper = str(Path(service.python).parent / "privsep-helper")
    allowed = step.run(["sudo", "-n", "-l", "-U", service.user, helper, "--help"], ok=(0, 1))
    if allowed.code == 0 and "not allowed" not in allowed.stdout:
        return
    rule = f"{HEADER}{service.user} ALL=(root) NOPASSWD: {helper} *\n"
    check = step.run(["visudo", "-c", "-f", "-"], ok=(0, 1), stdin=rule)
    if check.code:
        raise StepFailed(f"sudo would not take the rule for {helper}: {check.stderr[-300:]}")
    step.write_file(SUDOERS, rule, 0o440)


# -- undo ------------------------------------------------------------------------------------------


def leaves_docker(step: Step) -> bool:
    """Tell whether taking back leaves Nova without the driver: not where it had it before."""
    files = step.to_undo.get("files", {})
    if step.mode == "undo" or any(entry["before"] is None for entry in files.values()):
        return bool(files)
    drivers = re.findall(rb"^compute_driver *= *(\S+)", driver_option_before(step), re.M)
    return DROP_IN in files and not any(b"docker" in name.lower() for name in drivers)


def driver_option_before(step: Step) -> bytes:
    """Return what the drop-in held before, empty when it was not changed."""
    return step.content_before(DROP_IN) if DROP_IN in step.to_undo.get("files", {}) else b""


def undo(step: Step) -> None:
    """Restore the files, and have nova-compute take them up when that changed one."""
    unit_files = tuple(f"/etc/systemd/system/{unit}.d/90-novadocker.conf" for unit in NOVA_UNITS)
    step.adopt_files((DROP_IN, SUDOERS, *unit_files), HEADER)
    if not step.to_undo.get("files"):
        return
    if leaves_docker(step):
        refuse_if_instances(step)
    service = find_service(step, NOVA_UNITS)
    if not step.restore_files() or service is None:
        return
    if step.ran_before(service.unit):
        step.will(f"restart {service.unit}")
        restart_service(step, service, START_TIMEOUT_S)
    elif step.will(f"stop {service.unit}, which did not run before"):
        step.run(["systemctl", "daemon-reload"])
        step.run(["systemctl", "stop", service.unit])


if __name__ == "__main__":
    run_step("configure_compute", SETTINGS, converge, undo)
