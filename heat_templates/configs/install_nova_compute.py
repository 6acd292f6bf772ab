# SPDX-License-Identifier: Apache-2.0
"""Make a blank host a Nova compute host: Nova's and Neutron's agents, configured and running.

They come from the distribution's packages, or from a virtual environment that is on the host
already. Options that are secret are references, ``@{name}``, to a file on the host that only root
can read: no secret goes through Heat.
"""

from __future__ import annotations

import json
import re
import shutil
from typing import Any

from library.faults import StepFailed
from library.instances import refuse_if_instances, refuse_if_virtual_machines
from library.options import option_lines, option_text
from library.outcome import run_step
from library.packages import package_manager
from library.restarts import restart_service
from library.services import Service, find_service
from library.step import ANY_CODE, Step

SETTINGS = {
    "type": "object",
    "description": "What makes a blank host a compute host of this cloud.",
    "additionalProperties": False,
    "required": ["files"],
    "properties": {
        "environment": {
            "type": ["string", "null"],
            "description": "Virtual environment on the host with both agents; null: packages.",
            "pattern": "^/[A-Za-z0-9/._-]+$",
            "default": None,
        },
        "packages": {
            "type": "array",
            "description": "Packages to install; empty: the distribution's usual ones.",
            "items": {"type": "string", "pattern": "^[a-zA-Z0-9][a-zA-Z0-9.+_-]*$"},
            "default": [],
        },
        "files": {
            "type": "object",
            "description": "Options by file (/etc/nova/..., /etc/neutron/...), section and name.",
            "additionalProperties": {
                "type": "object",
                "additionalProperties": {
                    "type": "object",
                    "additionalProperties": {"type": ["string", "number", "boolean"]},
                },
            },
        },
        "secrets_file": {
            "type": ["string", "null"],
            "description": "JSON file on the host where @{name} and @{outer.inner} are looked up.",
            "pattern": "^/[A-Za-z0-9/._-]+$",
            "default": None,
        },
        "bridges": {
            "type": "object",
            "description": "Open vSwitch bridges to make: port and datapath_type by bridge.",
            "default": {},
            "additionalProperties": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "port": {"type": "string", "pattern": "^[A-Za-z0-9._-]+$"},
                    "datapath_type": {"type": "string", "enum": ["netdev", "system"]},
                },
            },
        },
        "ovsdb_manager": {
            "type": ["string", "null"],
            "description": "Where Open vSwitch's database is to listen for the agents.",
            "pattern": "^p?(tcp|unix|ssl):[A-Za-z0-9/.:_-]+$",
            "default": None,
        },
    },
}

NO_PACKAGES = "name an environment instead"
USERS = ("nova", "neutron")
HEADER = "# Written by novadocker; `undo` of the step install_nova_compute removes it.\n"
AGENT_FILES = ("/etc/neutron/neutron.conf", "/etc/neutron/plugins/ml2/openvswitch_agent.ini")
COMMANDS = {
    "nova-compute.service": "nova-compute",
    "neutron-openvswitch-agent.service": " ".join(
        ("neutron-openvswitch-agent", *(f"--config-file {name}" for name in AGENT_FILES))
    ),
}


def converge(step: Step) -> None:
    """Make accounts or packages, files, bridges and units be there, and the agents run."""
    texts = {name: file_text(step, parts) for name, parts in step.settings["files"].items()}
    foreign = [
        name for name in texts if not name.startswith(tuple(f"/etc/{user}/" for user in USERS))
    ]
    if foreign:
        raise StepFailed(f"files: {foreign[0]} is neither below /etc/nova nor below /etc/neutron")
    refuse_other_compute(step)
    changed = make_accounts(step) if step.settings["environment"] else install_packages(step)
    for name, text in texts.items():
        changed = write_configuration(step, name, text) or changed
    if step.settings["environment"]:
        for name, text in environment_files(step).items():
            mode = 0o440 if "sudoers" in name else 0o644
            changed = step.write_file(name, text, mode) or changed
    changed = make_bridges(step) or changed
    start_agents(step, changed)


def refuse_other_compute(step: Step) -> None:
    """Leave a host alone that is a compute host already, and not by this step."""
    if find_service(step, tuple(COMMANDS)[:1]) is not None and not step.record:
        raise StepFailed(
            "this host has a nova-compute that this step did not install: convert it with the "
            "workflow novadocker.deploy instead"
        )


# -- accounts and packages -------------------------------------------------------------------------


def make_accounts(step: Step) -> bool:
    """Make the system users of the agents and their directories."""
    changed = False
    for user in USERS:
        if step.run(["getent", "passwd", user], ok=(0, 2)).code and step.will(f"add user {user}"):
            step.remember_each("users", [user])
            home = f"/var/lib/{user}"
            shell = "/usr/sbin/nologin"
            step.run(["useradd", "--system", "--user-group", "-d", home, "-s", shell, user])
            changed = True
        names = [f"/var/lib/{user}", f"/var/lib/{user}/lock", f"/var/log/{user}"]
        for name in [*names, *(["/var/lib/nova/instances"] if user == "nova" else [])]:
            changed = make_directory(step, name, user, user, 0o755) or changed
        changed = make_directory(step, f"/etc/{user}", "root", user, 0o750) or changed
    return changed


def make_directory(step: Step, name: str, user: str, group: str, mode: int) -> bool:
    """Make a directory with its owner, and record it."""
    if step.path(name).is_dir() or not step.will(f"make {name}"):
        return not step.path(name).is_dir()
    step.remember_each("made", [name])
    step.path(name).mkdir(mode=mode)
    shutil.chown(step.path(name), user, group)
    step.path(name).chmod(mode)
    return True


def install_packages(step: Step) -> bool:
    """Install the distribution's agents; what was not there before is recorded."""
    manager = package_manager(step, NO_PACKAGES)
    there = manager.installed()
    wanted = step.settings["packages"] or manager.nova
    missing = [name for name in wanted if name not in there]
    if not missing or not step.will(f"install {', '.join(missing)}"):
        return bool(missing)
    step.remember_each("packages", manager.planned(missing))
    manager.install(missing)
    return True


# -- files -----------------------------------------------------------------------------------------


def file_text(step: Step, sections: dict[str, dict[str, Any]]) -> str:
    """Return a configuration file's text, with the secrets of the host filled in.

    :raises StepFailed: naming a secret that is not there; its value is never shown
    """
    filled = {
        section: {name: with_secrets(step, option_text(value)) for name, value in options.items()}
        for section, options in sections.items()
    }
    texts = (option_lines(section, options, "files") for section, options in filled.items())
    return "".join([HEADER, *texts])


def with_secrets(step: Step, text: str) -> str:
    """Return an option's value with the secrets of the host in the place of their names."""
    return re.sub(r"@\{([\w.-]+)\}", lambda match: secret(step, match.group(1)), text)


def secret(step: Step, name: str) -> str:
    """Return a secret of this host, escaped as oslo.config wants it."""
    place = step.settings["secrets_file"]
    if not place or not step.path(place).exists():
        raise StepFailed(
            f"secrets_file: {place or 'is not set'}, and @{{{name}}} is wanted from it"
        )
    try:
        value: Any = json.loads(step.path(place).read_text())
    except ValueError as err:
        # Not what it says of the place: that would be a part of the file.
        raise StepFailed(f"secrets_file: {place} is not JSON: mend it, then repeat") from err
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if not isinstance(value, (str, int, float)):
        raise StepFailed(f"secrets_file: {place} has no {name}")
    return str(value).replace("$", "$$")


def write_configuration(step: Step, name: str, text: str) -> bool:
    """Write a file that only root and the service's user can read."""
    changed = step.write_file(name, text, 0o640)
    if changed and step.mode == "apply":
        shutil.chown(step.path(name), "root", name.split("/")[2])
    return changed


def environment_files(step: Step) -> dict[str, str]:
    """Return the units and the sudo rules that packages would have brought."""
    home = step.settings["environment"]
    path = f"{home}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    files = {}
    for unit, command in COMMANDS.items():
        user = unit.split("-")[0]
        files[f"/etc/systemd/system/{unit}"] = (
            f"{HEADER}[Unit]\nDescription=OpenStack {unit.split('.')[0]}\n"
            "After=network-online.target openvswitch-switch.service\n\n"
            f"[Service]\nUser={user}\nGroup={user}\nEnvironment=PATH={path}\n"
            f"Environment=LC_ALL=C.UTF-8\nExecStart={home}/bin/{command}\nRestart=on-failure\n"
            "RestartSec=2\nKillMode=mixed\nLimitNOFILE=65536\n\n"
            "[Install]\nWantedBy=multi-user.target\n"
        )
        # privsep-helper, with any context, is how the agents are root, as in Nova's own packages.
        files[f"/etc/sudoers.d/{user}"] = (
            f"{HEADER}Defaults:{user} !requiretty, !syslog, "
            f'secure_path="{home}/bin:/usr/sbin:/usr/bin:/sbin:/bin"\n'
            f"{user} ALL=(root) NOPASSWD: {home}/bin/privsep-helper *\n"
        )
    return files


# -- Open vSwitch and the agents -------------------------------------------------------------------


def make_bridges(step: Step) -> bool:
    """Make the bridges with their ports, and let the database listen."""
    changed = False
    if not step.settings["bridges"] and not step.settings["ovsdb_manager"]:
        return False
    there = step.run(["ovs-vsctl", "list-br"]).stdout.split()
    if step.mode == "apply":
        # The Neutron agent makes bridges of its own: what is not on this list goes with it.
        step.remember("bridges_before", there)
    for name, wanted in step.settings["bridges"].items():
        if name in there or not step.will(f"make the bridge {name}"):
            changed = changed or name not in there
            continue
        command = ["ovs-vsctl", "--", "add-br", name]
        if wanted.get("datapath_type"):
            command += ["--", "set", "Bridge", name, f"datapath_type={wanted['datapath_type']}"]
        if wanted.get("port"):
            command += ["--", "add-port", name, wanted["port"]]
        step.run(command)
        changed = True
    manager = step.settings["ovsdb_manager"]
    managers = step.run(["ovs-vsctl", "get-manager"]).stdout.split()
    if manager and manager not in managers and step.will(f"let Open vSwitch listen at {manager}"):
        step.remember("managers", managers)
        step.run(["ovs-vsctl", "set-manager", *managers, manager])
    return changed or bool(manager and manager not in managers)


def start_agents(step: Step, changed: bool) -> None:
    """Enable and start the agents; restart them when something changed."""
    for unit in COMMANDS:
        service = find_service(step, (unit,))
        if not changed and service is not None and service.active:
            continue
        if step.will(f"start {unit}"):
            step.run(["systemctl", "daemon-reload"])
            step.run(["systemctl", "enable", unit])
            restart_service(step, known_service(step, unit))


def known_service(step: Step, unit: str) -> Service:
    """Return a service that has to be there by now."""
    service = find_service(step, (unit,))
    if service is None:
        raise StepFailed(f"systemd does not know {unit}, though its package or file was installed")
    return service


def undo(step: Step) -> None:
    """Stop the agents and take away all that was put here."""
    step.require_record()
    if not step.to_undo:
        return
    # It takes Nova's own files of them away as well.
    refuse_if_instances(step)
    refuse_if_virtual_machines(step)
    units = [unit for unit in COMMANDS if find_service(step, (unit,)) is not None]
    if units and step.will(f"stop {', '.join(units)}"):
        step.run(["systemctl", "disable", "--now", *units], ok=ANY_CODE)
    if not step.will("remove the agents' packages, files, bridges and accounts"):
        return
    if step.to_undo.get("packages"):
        package_manager(step, NO_PACKAGES).purge(step.to_undo["packages"])
    step.restore_files(force=True)
    if "bridges_before" in step.to_undo:
        there = step.run(["ovs-vsctl", "list-br"]).stdout.split()
        for name in sorted(set(there) - set(step.to_undo["bridges_before"])):
            step.run(["ovs-vsctl", "--if-exists", "del-br", name])
    if "managers" in step.to_undo:
        step.run(["ovs-vsctl", "del-manager"])
        if step.to_undo["managers"]:
            step.run(["ovs-vsctl", "set-manager", *step.to_undo["managers"]])
    for name in reversed(step.to_undo.get("made", [])):
        shutil.rmtree(step.path(name), ignore_errors=True)
    for user in step.to_undo.get("users", []):
        step.run(["userdel", user], ok=(0, 6))
    step.run(["systemctl", "daemon-reload"])
    step.run(["systemctl", "reset-failed", *COMMANDS], ok=ANY_CODE)


if __name__ == "__main__":
    run_step("install_nova_compute", SETTINGS, converge, undo)
