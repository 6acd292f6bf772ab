# SPDX-License-Identifier: Apache-2.0
"""Put Heat's agent on a host: run over SSH by `novadocker-enroll`, with the host's credentials.

All of it lives in /opt/heat-agent, but for /etc/os-collect-config.conf and the unit. What is
installed is named by agent.lock, each file by its hash; where enrolment brought no files beside it,
they come from the Python index that the host is set up for.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from library.faults import StepFailed
from library.files import replace_file
from library.inbox import RAN, alone
from library.message import HOST_NAME, OPERATOR_KEYS
from library.options import option_line, option_lines
from library.outcome import run_step
from library.package import BROUGHT, CURRENT, PACKAGES, own_package
from library.progress import ACCESS
from library.restarts import restart_service
from library.services import find_service
from library.step import ANY_CODE, Step

SETTINGS = {
    "type": "object",
    "description": "The agent of a host.",
    "additionalProperties": False,
    "properties": {
        "os_collect_config": {
            "type": "object",
            "description": "The attribute of that name of the host's server resource in Heat; "
            "without it a host that was enrolled before keeps the one that it has.",
            "default": {},
        },
        "polling_interval_s": {
            "type": "number",
            "description": "The longest pause between two questions to Heat, but for a splay of a "
            "fifth of it.",
            "minimum": 1,
            "maximum": 3600,
            "default": 60,
        },
        "host": {
            "type": "string",
            "description": "Name that the host is enrolled by.",
            "default": "",
        },
        "operator_keys": {
            "type": "string",
            "description": "Public keys (PEM) of those whose messages the host runs.",
            "default": "",
        },
        "progress": {
            "type": "string",
            "description": "How the host tells how far it has come: the signal of the handle for "
            "that, as Heat gives it, empty for a host that tells only outcomes.",
            "default": "",
        },
        "unsigned": {
            "type": "string",
            "description": "Whether what the operator did not sign is run, as stacks of Heat want.",
            "enum": ["refuse", "run"],
            "default": "refuse",
        },
    },
}

HOME = "/opt/heat-agent"
BEFORE = "/opt/heat-agent.before"
LOCK = "agent.lock"
HOOKS = "heat-agents"
CONFIGURATION = "/etc/os-collect-config.conf"
HOST_KEY = "/etc/novadocker/host.key"
UNSIGNED = "/etc/novadocker/unsigned"
UNIT = "os-collect-config.service"
UNIT_FILE = f"/etc/systemd/system/{UNIT}"
WAKE = "/var/lib/heat-config/wake.conf"
STATE = (
    "/var/lib/os-collect-config",
    "/var/lib/heat-config",
    "/run/os-collect-config",
    "/run/heat-config",
)
HEADER = "# Written by novadocker-enroll; its `remove` takes it away.\n"
BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")

# os-collect-config logs the address of a question that failed, and the addresses of cfn and of
# temporary URLs are signed: whoever reads one can ask in the host's name. Its own logging options
# have no effect (it sets logging up only where oslo.log has added no handler, which it always has).
COLLECT = f"{HOME}/bin/collect"
# At rest agents pause up to so much longer than they were told, each by chance.
SPLAY = 1.2
RUN_PAUSE_S = 8
COLLECT_TEXT = f"""#!{HOME}/bin/python
{HEADER}import logging
import random
import re
import sys
import time

from os_collect_config import collect


class Clock:
    # Agents that were started together, or found Heat away together, do not go on asking together.
    # Short pauses are those of a run, for which somebody waits.
    def sleep(seconds):
        time.sleep(seconds * random.uniform(1, {SPLAY}) if seconds > {RUN_PAUSE_S} else seconds)


def without_query(record):
    record.msg, record.args = re.sub(r"\\?\\S*", "?...", record.getMessage()), ()
    return True


for name in ("cfn", "request"):
    logging.getLogger(f"os_collect_config.{{name}}").addFilter(without_query)
collect.time = Clock
sys.exit(collect.main())
"""

# From the source distribution (the wheel lacks them) to where the unit's environment points.
HOOK_FILES = {
    "heat-config/os-refresh-config/configure.d/20-os-apply-config": (
        "os-refresh-config/configure.d/20-os-apply-config"
    ),
    "heat-config/os-refresh-config/configure.d/55-heat-config": (
        "os-refresh-config/configure.d/55-heat-config"
    ),
    "heat-config/os-apply-config/var/run/heat-config/heat-config": (
        "templates/var/run/heat-config/heat-config"
    ),
    "heat-config/bin/heat-config-notify": "bin/heat-config-notify",
    "heat-config-script/install.d/hook-script.py": "hooks.d/script",
}


def converge(step: Step) -> None:
    """Make the agent be installed, configured with the given credentials, and running.

    Without credentials an agent that is there is brought up to date.
    """
    configuration = step.path(CONFIGURATION)
    if not step.settings["os_collect_config"] and not is_ours(configuration):
        # Of a host whose image brought its agent.
        return
    refuse_foreign_agent(step)
    changed = install(step)
    for name, (text, mode) in own_files(step).items():
        changed = step.write_file(name, text, mode) or changed
    service = find_service(step, (UNIT,))
    if not changed and service is not None and service.active:
        return
    if step.will(f"start {UNIT}"):
        wake = step.path(WAKE)
        wake.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        wake.touch(mode=0o600)
        step.run(["systemctl", "daemon-reload"])
        step.run(["systemctl", "enable", UNIT])
        started = find_service(step, (UNIT,))
        if started is None:
            raise StepFailed(f"systemd does not know {UNIT} after its file was written")
        # A recipe that is under way would have to be run once more.
        with alone(step):
            restart_service(step, started, 60)


def is_ours(configuration: Path) -> bool:
    """Return whether the agent's configuration is there, and from here."""
    return configuration.exists() and configuration.read_text().startswith(HEADER)


def refuse_foreign_agent(step: Step) -> None:
    """Leave a host alone that is somebody else's already."""
    path = step.path(CONFIGURATION)
    if path.exists() and not is_ours(path):
        raise StepFailed(
            f"this host has an os-collect-config already ({CONFIGURATION} is not from "
            "novadocker-enroll): take it away, or use the stack that it belongs to"
        )


def install(step: Step) -> bool:
    """Make the agent's environment of what agent.lock names; return whether that was to be done."""
    home, brought = step.path(HOME), own_package().parent / BROUGHT
    text = (brought / LOCK).read_text()
    wanted = {"lock": hashlib.sha256(text.encode()).hexdigest()}
    mark = home / "installed.json"
    if marked(mark) == wanted and works(step, home):
        return False
    if not step.will(f"install the agent of {LOCK} {wanted['lock'][:12]} in {HOME}"):
        return True
    step.remember("home", True)
    # A message that is under way is run by what would be taken from under its feet, and one that
    # came to half an agent would be taken for done.
    with alone(step), stopped(step), replaced(home, step.path(BEFORE), mark):
        make_environment(step, home)
        install_locked(step, home, text, brought)
        replace_file(mark, json.dumps(wanted).encode(), 0o644)
    return True


def marked(mark: Path) -> Any:
    """Return what an agent's environment was made of, None where that cannot be told."""
    try:
        return json.loads(mark.read_text())
    except (OSError, ValueError):
        return None


def install_locked(step: Step, home: Path, lock: str, brought: Path) -> None:
    """Install the files that a lock names, and take the hook scripts out of their sources.

    :param brought: has files that need not come from an index
    """
    with_hooks = any(is_named(path, lock) for path in brought.glob("*.tar.gz"))
    sources = ["--find-links", str(brought), *(["--no-index"] if with_hooks else [])]
    locked = ["--no-deps", "--require-hashes", *sources]
    entries = re.split(r"(?m)^(?=[A-Za-z0-9])", lock)
    hooks = [entry for entry in entries if entry.startswith(f"{HOOKS}==")]
    packages = [entry for entry in entries if entry not in hooks]
    with tempfile.TemporaryDirectory(prefix="novadocker-") as directory:
        Path(directory, "packages").write_text("".join(packages))
        Path(directory, "hooks").write_text("".join(hooks))
        binary = ["--only-binary", ":all:", "--requirement", f"{directory}/packages"]
        pip(step, home, ["install", *locked, *binary])
        # pip builds its metadata, by what was just installed and by nothing else.
        source = ["--no-build-isolation", "--no-binary", ":all:", "--dest", directory]
        pip(step, home, ["download", *locked, *source, "--requirement", f"{directory}/hooks"])
        unpack_hooks(next(Path(directory).glob("*.tar.gz")), home)


def is_named(path: Path, lock: str) -> bool:
    """Return whether a lock names a file, by its content."""
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" in lock


@contextmanager
def stopped(step: Step) -> Iterator[None]:
    """Have the agent ask for nothing meanwhile; where that fails, it goes on as it was."""
    service = find_service(step, (UNIT,))
    running = service is not None and service.active
    if running:
        step.run(["systemctl", "stop", UNIT])
    try:
        yield
    except BaseException:
        if running:
            step.run(["systemctl", "start", UNIT], ok=ANY_CODE)
        raise


@contextmanager
def replaced(home: Path, before: Path, mark: Path) -> Iterator[None]:
    """Have a folder made anew; where that fails, or the host goes down, it is as it was before.

    :param mark: the file of it that is written last
    """
    if before.exists() and not mark.exists():
        shutil.rmtree(home, ignore_errors=True)
        before.rename(home)
    shutil.rmtree(before, ignore_errors=True)
    if home.exists():
        home.rename(before)
    try:
        yield
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        if before.exists():
            before.rename(home)
        raise
    shutil.rmtree(before, ignore_errors=True)


def make_environment(step: Step, home: Path) -> None:
    """Make an empty environment of the host's Python."""
    done = step.run(["python3", "-m", "venv", "--clear", str(home)], ok=ANY_CODE)
    if done.code:
        raise StepFailed(
            f"python3 -m venv does not work on this host (on Debian: install python3-venv): "
            f"{(done.stdout + done.stderr)[-300:]}"
        )


def pip(step: Step, home: Path, arguments: list[str]) -> None:
    """Run pip of the agent's environment.

    :raises StepFailed: with its last words, which name a file that is not there, or another
    """
    options = ["--disable-pip-version-check", "--no-input", "-q"]
    done = step.run([f"{home}/bin/python", "-m", "pip", *options, *arguments], ok=ANY_CODE)
    if done.code:
        raise StepFailed(
            f"the agent cannot be installed as {LOCK} names it: {done.stderr.strip()[-400:]}. Give "
            "the host an index that has these files, or --wheels a folder that has those for its "
            "Python"
        )


def works(step: Step, home: Path) -> bool:
    """Return whether the agent's environment is one of the Python that this host has now.

    An upgrade of the distribution brings another, which does not see what was installed for it.
    """
    python = home / "bin/python"
    if not python.exists():
        return False
    return step.run([str(python), "-I", "-c", "import os_collect_config"], ok=ANY_CODE).code == 0


def unpack_hooks(archive: Path, home: Path) -> None:
    """Take the few files that are needed out of the source distribution."""
    with tarfile.open(archive) as tar:
        members = {member.name.split("/", 1)[-1]: member for member in tar.getmembers()}
        for source, target in HOOK_FILES.items():
            content = tar.extractfile(members[source]) if source in members else None
            if content is None:
                raise StepFailed(f"{archive.name} holds no {source}, which is {HOOKS} no more")
            path = home / target
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, content.read(), 0o755 if "templates" not in target else 0o644)


def own_files(step: Step) -> dict[str, tuple[str, int]]:
    """Return the texts and modes of the files that are ours."""
    # The link is followed here: what runs already is not to get another package under its feet.
    call = f'exec {HOME}/bin/python -I "$(readlink -f {PACKAGES}/{CURRENT})"'
    shell = "#!/bin/sh\n"
    configure = f"{HOME}/os-refresh-config/configure.d"
    name, keys = step.settings.get("host"), step.settings.get("operator_keys")
    access, given = step.settings.get("progress"), step.settings["os_collect_config"]
    return {
        **({ACCESS: (f"{access}\n", 0o600)} if access else {}),
        **({HOST_NAME: (f"{name}\n", 0o600)} if name else {}),
        **({OPERATOR_KEYS: (keys, 0o644)} if keys else {}),
        **({UNSIGNED: (f"{step.settings['unsigned']}\n", 0o644)} if keys else {}),
        COLLECT: (COLLECT_TEXT, 0o755),
        f"{HOME}/notify": (f'{shell}{call} notify "$1"\n', 0o755),
        f"{HOME}/hooks/script": (f"{shell}{call} hook script\n", 0o755),
        f"{HOME}/hooks/novadocker": (f"{shell}{call} message\n", 0o755),
        f"{configure}/50-refuse": (f"{shell}{call} refuse\n", 0o755),
        f"{configure}/60-settle": (f"{shell}{call} settle\n", 0o755),
        **({CONFIGURATION: (configuration(step.settings), 0o600)} if given else {}),
        UNIT_FILE: (unit_text(step), 0o644),
    }


def configuration(settings: dict[str, Any]) -> str:
    """Return the text of os-collect-config.conf: the collectors with what Heat gave for each."""
    given = settings["os_collect_config"]
    own = {
        "command": "os-refresh-config",
        "polling_interval": f"{settings['polling_interval_s']:g}",
    }
    lines = [HEADER, option_lines("DEFAULT", own, "os_collect_config")]
    collectors = given.get("collectors") or []
    if not collectors:
        raise StepFailed("os_collect_config: names no collectors, so it is not a server's of Heat")
    lines.extend(option_line("collectors", name, "os_collect_config") for name in collectors)
    for section in collectors:
        values = {
            name: str(value).replace("$", "$$")
            for name, value in sorted((given.get(section) or {}).items())
            if value is not None
        }
        if values:
            lines += ["\n", option_lines(section, values, "os_collect_config")]
    return "".join(lines)


def unit_text(step: Step) -> str:
    """Return the agent's unit."""
    environment = {
        "PATH": f"{HOME}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C",
        "HEAT_AGENT_HOME": HOME,
        "HEAT_CONFIG_HOOKS": f"{HOME}/hooks",
        "HEAT_CONFIG_NOTIFY": f"{HOME}/notify",
        "OS_REFRESH_CONFIG_BASE_DIR": f"{HOME}/os-refresh-config",
        "OS_CONFIG_APPLIER_TEMPLATES": f"{HOME}/templates",
    }
    bundle = next((name for name in BUNDLES if step.path(name).exists()), None)
    if bundle:
        environment["REQUESTS_CA_BUNDLE"] = bundle
    command = f"{COLLECT} --config-file {CONFIGURATION} --config-file {WAKE}"
    quoted = [shlex.quote(f"{name}={value}") for name, value in environment.items()]
    return (
        f"{HEADER}[Unit]\nDescription=Ask OpenStack Heat for work of this host\n"
        "Wants=network-online.target\nAfter=network-online.target\n\n[Service]\n"
        + "".join(f"Environment={item}\n" for item in quoted)
        + f"ExecStart={command}\nRestart=always\nRestartSec=5\n"
        "RuntimeDirectory=heat-config\nRuntimeDirectoryMode=0700\nRuntimeDirectoryPreserve=yes\n\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )


def undo(step: Step) -> None:
    """Take the agent away, unless the host is still converted: then nothing could undo that."""
    with alone(step):
        remove(step)


def remove(step: Step) -> None:
    """Take it away while nothing else is under way."""
    converted = [path.stem for path in step.record_path.parent.glob("*.json")]
    converted = sorted(set(converted) - {step.name})
    if converted:
        raise StepFailed(
            f"this host still has what {', '.join(converted)} did: run novadocker.undeploy first"
        )
    step.require_record()
    if not step.to_undo:
        return
    if step.will(f"stop {UNIT}"):
        step.run(["systemctl", "disable", "--now", UNIT], ok=ANY_CODE)
    step.restore_files(force=True)
    if step.to_undo.get("home") and step.will(f"remove {HOME} and the agent's state"):
        for name in (HOME, BEFORE, *STATE, RAN, PACKAGES):
            shutil.rmtree(step.path(name), ignore_errors=True)
        step.path(HOST_KEY).unlink(missing_ok=True)
        place = step.path(HOST_KEY).parent
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()
        step.run(["systemctl", "daemon-reload"])


if __name__ == "__main__":
    run_step("install_agent", SETTINGS, converge, undo)
