#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What every host step shares: inputs, outputs, records, timeouts and the ways to change a host.

A step reaches a host as the text of this file followed by the text of the step's own file, so both
use the standard library of Python 3.9 alone. Inputs come as environment variables from the hook
``script`` of heat-agents (``mode``, ``settings``, ``timeout_s``, ``run_id``); outputs go to files
named ``$heat_outputs_path.<name>``.

The process that the hook starts is a watchdog: it forks a worker, and when the time is up it kills
every descendant of it. Whatever happens to the worker, an outcome is written.
"""

from __future__ import annotations

import base64
import copy
import ctypes
import errno
import fcntl
import grp
import hashlib
import http.client
import json
import logging
import os
import pwd
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LOG = logging.getLogger("novadocker")
MODES = ("apply", "check", "undo", "roll_back")
DEFAULT_TIMEOUT_S = 900
ANY_CODE = tuple(range(256))
LINKS = 40
REPORT_BYTES = 16 * 1024
REASON_CHARS = 2000
LOGS_KEPT = 50
DOCKER_SOCKET = "/run/docker.sock"
DOCKER_DIRECTORY = "/var/lib/docker"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: Which instance a container is of; the driver puts it on all of them, and Nova on nothing else.
INSTANCE_LABEL = "org.openstack.nova.uuid"
NOVA_UNITS = ("nova-compute.service", "openstack-nova-compute.service", "devstack@n-cpu.service")
KEPT_VARIABLES = re.compile(r"(?i:https?_proxy|no_proxy)$|PIP_|SSL_CERT_|REQUESTS_CA_BUNDLE$")
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


class StepFailed(Exception):
    """The step can not be done; the text says what failed, where, and what to do next."""


class SettingsError(StepFailed):
    """The settings do not fit the step's schema."""


# -- settings --------------------------------------------------------------------------------------

JSON_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def with_defaults(value: Any, schema: dict[str, Any], where: str = "settings") -> Any:
    """Check a value against the part of JSON schema that steps use, and fill in defaults.

    :raises SettingsError: naming the field; never showing its value, which may be a secret
    """
    names = schema.get("type", [])
    names = [names] if isinstance(names, str) else names
    fits = any(
        isinstance(value, JSON_TYPES[name]) and (name == "boolean" or not isinstance(value, bool))
        for name in names
    )
    if names and not fits:
        raise SettingsError(f"{where}: expected {' or '.join(names)}, got {type(value).__name__}")
    if "enum" in schema and value not in schema["enum"]:
        raise SettingsError(f"{where}: must be one of {schema['enum']}")
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        raise SettingsError(f"{where}: does not match the pattern {schema['pattern']}")
    if isinstance(value, str) and len(value) < schema.get("minLength", 0):
        raise SettingsError(f"{where}: must not be empty")
    if isinstance(value, (int, float)) and value < schema.get("minimum", value):
        raise SettingsError(f"{where}: must be at least {schema['minimum']}")
    if isinstance(value, (int, float)) and value > schema.get("maximum", value):
        raise SettingsError(f"{where}: must be at most {schema['maximum']}")
    if isinstance(value, list):
        items = schema.get("items", {})
        return [with_defaults(item, items, f"{where}[{n}]") for n, item in enumerate(value)]
    if isinstance(value, dict):
        return _object_with_defaults(value, schema, where)
    return value


def _object_with_defaults(
    value: dict[str, Any], schema: dict[str, Any], where: str
) -> dict[str, Any]:
    known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    unknown = sorted(set(value) - set(known))
    if unknown and others is False:
        raise SettingsError(
            f"{where}: unknown field {unknown[0]!r}; known are {', '.join(sorted(known)) or 'none'}"
        )
    missing = [name for name in schema.get("required", []) if name not in value]
    if missing:
        raise SettingsError(f"{where}.{missing[0]}: is required")
    filled = {name: sub["default"] for name, sub in known.items() if "default" in sub}
    filled.update(value)
    return {
        name: with_defaults(
            item, known.get(name, others if isinstance(others, dict) else {}), f"{where}.{name}"
        )
        for name, item in filled.items()
    }


# -- one run of a step -----------------------------------------------------------------------------


@dataclass
class Done:
    """What a command left behind."""

    code: int
    stdout: str
    stderr: str


@dataclass
class Step:
    """One run of a step: what is wanted, what was done, and the ways to do it.

    Every change goes through :meth:`will`, which names it in the report and says whether to really
    do it; so ``check`` walks the same path as ``apply``. What a change replaces is recorded before
    it is made, in ``/var/lib/novadocker/<step>.json``, at two levels: the *record*, of the host as
    it was before the first run, which ``undo`` goes back to, and the *journal*, of the host as this
    run found it, which ``roll_back`` goes back to.

    :param run_id: of the workflow's run; a step that is pushed once more in one run, after a crash,
        goes on with the journal that it began
    """

    name: str
    mode: str = "apply"
    settings: dict[str, Any] = field(default_factory=dict)
    root: Path = Path("/")
    actions: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    run_id: str = ""

    def __post_init__(self) -> None:
        self.record_path = self.path(f"/var/lib/novadocker/{self.name}.json")
        self.read_record()

    def path(self, name: str) -> Path:
        """Return where an absolute path of the host is (under another root in tests)."""
        return self.root / name.lstrip("/")

    def will(self, action: str) -> bool:
        """Note a change and return whether to make it: not in check mode."""
        self.actions.append(action)
        LOG.info("%s%s", "would " if self.mode == "check" else "", action)
        return self.mode != "check"

    def note(self, remark: str) -> None:
        """Tell the operator something that is not a change."""
        self.facts.setdefault("notes", []).append(remark)
        LOG.info("note: %s", remark)

    # -- record and journal

    def read_record(self) -> None:
        """Read the record, and the journal if it is of this run.

        :raises StepFailed: when the file cannot be read, but in mode ``undo``: there
            :meth:`require_record` raises it, for those who cannot do without
        """
        self.record: dict[str, Any] = {}
        self.journal: dict[str, Any] = {}
        self.found: dict[str, Any] = {}
        self.record_fault = ""
        if self.record_path.exists():
            try:
                self.record, begun = parse_record(self.record_path.read_bytes())
            except ValueError as error:
                self.record_fault = (
                    f"{self.record_path} cannot be read ({error}), and it says how to take back "
                    f"what {self.name} did: put it back from a backup, or take that back by hand "
                    "and remove the file; then repeat"
                )
                if self.mode != "undo":
                    raise StepFailed(self.record_fault) from error
                return
            if self.run_id and begun.get("id") == self.run_id:
                self.journal, self.found = begun["changes"], begun["found"]
                return
        self.found = copy.deepcopy(self.record)

    def begin(self) -> None:
        """Read the record as it is now, and drop the journal of a run before this one."""
        self.read_record()
        if self.mode == "apply" and not self.journal:
            self.save_record()

    def require_record(self) -> None:
        """Refuse to undo what cannot be told.

        :raises StepFailed: when the record cannot be read
        """
        if self.record_fault:
            raise StepFailed(self.record_fault)

    def adopt_files(self, names: tuple[str, ...], header: str) -> None:
        """Where the record cannot be read, take these files as ours if they begin as ours do."""
        if not self.record_fault:
            return
        self.note(self.record_fault)
        for name in names:
            state = file_state(self.followed(name))
            if state and base64.b64decode(state["content"]).startswith(header.encode()):
                entry = {"before": None, "sha256": sha256(state)}
                self.record.setdefault("files", {})[name] = entry
        aside = self.record_path.with_name(f"{self.record_path.name}.unreadable-{utc_stamp()}")
        os.replace(self.record_path, aside)
        self.record_fault = ""

    @property
    def to_undo(self) -> dict[str, Any]:
        """What this mode goes back to: before the first run in ``undo``, else before this run."""
        return self.record if self.mode == "undo" else self.journal

    def remember(self, name: str, value: Any) -> None:
        """Record how something was before, unless it is on record already."""
        for level in (self.record, self.journal):
            level.setdefault(name, copy.deepcopy(value))
        self.save_record()

    def remember_each(self, name: str, values: list[str]) -> None:
        """Record things that this step adds to the host."""
        for level in (self.record, self.journal):
            known = level.setdefault(name, [])
            known.extend(value for value in values if value not in known)
        self.save_record()

    def remember_unit(self, service: Service) -> None:
        """Note whether a unit was active when this run found it; saved with the first change."""
        self.journal.setdefault("units", {}).setdefault(service.unit, service.active)

    def ran_before(self, unit: str) -> bool:
        """Return whether a unit was active when this run found it, as far as that was noted."""
        return bool(self.mode == "undo" or self.journal.get("units", {}).get(unit, True))

    def forget(self) -> None:
        """Note that all was taken back: the record is what it was then."""
        self.record = {} if self.mode == "undo" else copy.deepcopy(self.found)
        self.journal = {}
        self.save_record()

    def settle(self, name: str) -> None:
        """Note that one thing was taken back of what this run did."""
        self.journal.pop(name, None)
        self.record.pop(name, None)
        if name in self.found:
            self.record[name] = copy.deepcopy(self.found[name])
        self.save_record()

    def save_record(self) -> None:
        """Write record and journal, root-only; an empty record goes away."""
        if not any(self.record.values()):
            if self.record_path.exists():
                self.record_path.unlink()
                sync_directory(self.record_path.parent)
            return
        self.record_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        run = {"id": self.run_id, "found": self.found, "changes": self.journal}
        data = {"baseline": self.record, **({"run": run} if self.journal else {})}
        replace_file(self.record_path, json.dumps(data, indent=1).encode(), 0o600)

    def run(
        self,
        argv: list[str],
        *,
        ok: tuple[int, ...] = (0,),
        user: str | None = None,
        env: dict[str, str] | None = None,
        stdin: str | None = None,
    ) -> Done:
        """Run a command without a terminal and with a clean environment.

        :param ok: exit codes that are no failure
        :param user: run it as this user, with all their groups, instead of root
        :raises StepFailed: for any other exit code, or when there is no such command
        """
        identity: dict[str, Any] = {}
        if user and os.geteuid() == 0:
            entry = pwd.getpwnam(user)
            groups = os.getgrouplist(user, entry.pw_gid)
            identity = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": groups}
        try:
            done = subprocess.run(
                argv,
                env={**clean_environment(), **(env or {})},
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                cwd="/",
                **identity,
            )
        except OSError as error:
            raise StepFailed(f"{argv[0]} can not be run: {error.strerror}") from error
        shown = " ".join(argv)[:300]
        LOG.debug(
            "$ %s -> %s\n%s%s", shown, done.returncode, done.stdout[-8000:], done.stderr[-8000:]
        )
        if done.returncode not in ok:
            said = (done.stderr.strip() or done.stdout.strip())[-600:]
            raise StepFailed(f"{shown[:120]} failed with exit code {done.returncode}: {said}")
        return Done(done.returncode, done.stdout, done.stderr)

    # -- files

    def followed(self, name: str) -> Path:
        """Return where a file really is: a link to it, as configuration tools make, stays one.

        :raises StepFailed: when links lead nowhere
        """
        path = self.path(name)
        for _ in range(LINKS):
            if not path.is_symlink():
                return path
            target = os.readlink(path)
            path = self.path(target) if target.startswith("/") else path.parent / target
        raise StepFailed(f"{name} is a link that leads in circles: mend it, then repeat")

    def write_file(self, name: str, text: str, mode: int | None = None) -> bool:
        """Make a file have this text; return whether that was (or would be) a change.

        :param mode: permission bits; None keeps those of a file that is there, else 0644
        """
        path, data = self.followed(name), text.encode()
        now = file_state(path)
        if now and path.read_bytes() == data and mode in (None, now["mode"]):
            return False
        if self.will(f"write {name}"):
            self._remember_file(name, now, hashlib.sha256(data).hexdigest())
            self._make_directories(path.parent)
            state = now or {"mode": 0o644}
            bits = state["mode"] if mode is None else mode
            replace_file(path, data, bits, state.get("uid"), state.get("gid"))
        return True

    def _remember_file(self, name: str, now: dict[str, Any] | None, written: str) -> None:
        for level in (self.record, self.journal):
            entry = level.setdefault("files", {}).setdefault(name, {"before": now})
            entry["sha256"] = written
        self.save_record()

    def _make_directories(self, place: Path) -> None:
        missing = [part for part in (place, *place.parents) if not part.exists()]
        self.remember_each("directories", [f"/{part.relative_to(self.root)}" for part in missing])
        for part in reversed(missing):
            part.mkdir()
            sync_directory(part.parent)

    def content_before(self, name: str) -> bytes:
        """Return what a recorded file held before, empty when it was not there."""
        return base64.b64decode((self.to_undo["files"][name]["before"] or {}).get("content", ""))

    def restore_file(self, name: str, force: bool = False) -> bool:
        """Put a file back as it was before; return whether it changed.

        :param force: also when its text is not the one that this step wrote
        """
        entry = self.to_undo.get("files", {}).get(name)
        if entry is None:
            return False
        path, before = self.followed(name), entry["before"]
        now = file_state(path)
        ours = force or (now is not None and sha256(now) == entry["sha256"])
        if before is not None and not ours and now != before:
            self.note(f"{name} was changed by someone else since: left as it is")
        elif now != before and self.will(f"{'restore' if before else 'remove'} {name}"):
            if before:
                content = self.content_before(name)
                replace_file(path, content, before["mode"], before["uid"], before["gid"])
            else:
                if not ours:
                    kept = self.record_path.parent / f"{path.name}.{utc_stamp()}"
                    shutil.copy2(path, kept)
                    self.note(f"{name} was changed by someone else since: a copy is in {kept}")
                path.unlink(missing_ok=True)
                sync_directory(path.parent)
        if self.mode != "check":
            self._forget_file(name)
        return now != before and (ours or before is None)

    def _forget_file(self, name: str) -> None:
        del self.to_undo["files"][name]
        if self.mode != "undo":
            # It is again what this run found, and the record says of it what it said then.
            files = self.record.setdefault("files", {})
            files.pop(name, None)
            if name in self.found.get("files", {}):
                files[name] = copy.deepcopy(self.found["files"][name])
        self.save_record()

    def restore_files(self, force: bool = False) -> bool:
        """Put all recorded files back, then remove the directories made for them."""
        changed = [self.restore_file(name, force) for name in list(self.to_undo.get("files", {}))]
        if self.mode != "check":
            for name in sorted(self.to_undo.get("directories", []), key=len, reverse=True):
                if self.path(name).is_dir() and not any(self.path(name).iterdir()):
                    self.path(name).rmdir()
            if self.mode == "undo":
                self.record.pop("directories", None)
                self.save_record()
            else:
                self.settle("directories")
        return any(changed)


def parse_record(data: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the record and the run that was journalled last, {} when none was.

    A version before this one wrote the record alone.

    :raises ValueError: when it is not a record
    """
    found = json.loads(data)
    if not isinstance(found, dict):
        raise ValueError("it does not hold an object")
    if "baseline" not in found:
        return found, {}
    record, run = found["baseline"], found.get("run") or {}
    if not isinstance(record, dict) or not isinstance(run, dict):
        raise ValueError("it does not hold a record")
    if run and not all(isinstance(run.get(name), dict) for name in ("found", "changes")):
        raise ValueError("it does not hold a journal")
    return record, run


def clean_environment() -> dict[str, str]:
    """Return the environment for commands: no inputs of the step, no virtual environment."""
    kept = {name: value for name, value in os.environ.items() if KEPT_VARIABLES.match(name)}
    return {
        "PATH": SYSTEM_PATH,
        "HOME": "/root",
        "LC_ALL": "C",
        "DEBIAN_FRONTEND": "noninteractive",
        # Services of the host, and the agent that runs this, are not restarted by an installation.
        "NEEDRESTART_SUSPEND": "1",
        "NEEDRESTART_MODE": "l",
        **kept,
    }


def file_state(path: Path) -> dict[str, Any] | None:
    """Return a file's content, mode and owner as JSON data; None when it is not there."""
    if not path.exists():
        return None
    status, content = path.stat(), base64.b64encode(path.read_bytes()).decode()
    owner = {"uid": status.st_uid, "gid": status.st_gid}
    return {"content": content, "mode": status.st_mode & 0o7777, **owner}


def sha256(state: dict[str, Any]) -> str:
    """Return the digest of the content in a file's recorded state."""
    return hashlib.sha256(base64.b64decode(state["content"])).hexdigest()


def replace_file(
    path: Path, data: bytes, mode: int, uid: int | None = None, gid: int | None = None
) -> None:
    """Write a file in one step: readers see the old text or the new one."""
    draft = path.with_name(f".{path.name}.novadocker")
    with os.fdopen(os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as handle:
        handle.write(data)
        handle.flush()
        os.chown(draft, -1 if uid is None else uid, -1 if gid is None else gid)
        os.chmod(draft, mode)
        copy_attributes(path, draft)
        os.fsync(handle.fileno())
    os.replace(draft, path)
    sync_directory(path.parent)


def copy_attributes(source: Path, target: Path) -> None:
    """Give a file the extended attributes of another: its SELinux label, its access list."""
    try:
        for name in os.listxattr(source):
            os.setxattr(target, name, os.getxattr(source, name))
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTSUP, errno.EPERM):
            raise


def sync_directory(place: Path) -> None:
    """Make new, renamed and removed entries of a directory outlive a power cut."""
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def program_path(name: str) -> str:
    """Return where a program of the host is, empty when it is not there."""
    return shutil.which(name, path=SYSTEM_PATH) or ""


def utc_stamp() -> str:
    """Return the time now, for names of files."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())


def wait_until(condition: Callable[[], Any], timeout_s: float, interval_s: float = 0.3) -> Any:
    """Poll until the condition holds; return its last value."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value or time.monotonic() >= deadline:
            return value
        time.sleep(interval_s)


# -- services --------------------------------------------------------------------------------------


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
        """The Python that the service runs in; empty when it can not be told."""
        first = self.command[0] if self.command else ""
        if Path(first).name.startswith("python"):
            return first
        return script_python(Path(first)) if first else ""

    @property
    def program(self) -> list[str]:
        """The script and its arguments, without the interpreter."""
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
    found = re.match(r"#!\s*(\S*python[\d.]*)", head) or re.search(
        r"exec'? \"?(\S*python[\d.]*)", head
    )
    if found:
        return found.group(1)
    named = re.match(r"#!\s*\S*/env (python[\d.]*)", head)
    return program_path(named.group(1)) if named else ""


def find_service(step: Step, units: tuple[str, ...]) -> Service | None:
    """Return the first of these units that this host has."""
    wanted = "LoadState,ActiveState,SubState,User,MainPID,NRestarts,Type,Environment,ExecStart"
    for unit in units:
        shown = step.run(
            ["systemctl", "show", "--no-pager", "-p", wanted, unit], ok=(0, 1, 4)
        ).stdout
        values = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
        if values.get("LoadState") not in ("loaded", "bad-setting", "error"):
            continue
        pid = int(values.get("MainPID") or 0)
        command, environment = process_command(pid)
        if not command:
            found = re.search(r"argv\[\]=(.*?) ; ignore_errors", values.get("ExecStart", ""))
            command = shlex.split(found.group(1)) if found else []
            environment = dict(
                item.split("=", 1) for item in shlex.split(values.get("Environment", ""))
            )
        return Service(
            unit=unit,
            active=values.get("ActiveState") == "active",
            state=f"{values.get('ActiveState', '')}/{values.get('SubState', '')}",
            user=values.get("User") or "root",
            pid=pid,
            restarts=int(values.get("NRestarts") or 0),
            notifies=values.get("Type") == "notify",
            command=command,
            environment=environment,
        )
    return None


def process_command(pid: int) -> tuple[list[str], dict[str, str]]:
    """Return the arguments and the environment of a running process, empty when there is none."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes() if pid else b""
        environment = Path(f"/proc/{pid}/environ").read_bytes() if pid else b""
    except OSError:
        return [], {}
    pairs = [item.split("=", 1) for item in environment.decode(errors="replace").split("\0")]
    argv = command.decode(errors="replace").rstrip("\0").split("\0")
    return [item for item in argv if item], {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


def nova_service(step: Step) -> Service:
    """Return nova-compute's service.

    :raises StepFailed: when there is none, or its Python can not be found
    """
    service = find_service(step, NOVA_UNITS)
    if service is None:
        raise StepFailed(f"no nova-compute unit on this host (looked for {', '.join(NOVA_UNITS)})")
    if not service.python:
        raise StepFailed(
            f"{service.unit} is {service.state} and its Python can not be told from the unit's "
            "command: start it with its old configuration, then repeat"
        )
    return service


def in_service_python(step: Step, service: Service, code: str, *arguments: str) -> Any:
    """Run code in a service's Python, as its user with its environment; return the JSON it prints.

    What the service's libraries print themselves does no harm: the answer is the last line.
    """
    kept = ("PYTHON", "OS_", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
    env = {name: value for name, value in service.environment.items() if name.startswith(kept)}
    env["HOME"] = pwd.getpwnam(service.user).pw_dir
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    done = step.run([service.python, "-c", code, *arguments], user=service.user, env=env)
    lines = done.stdout.strip().splitlines()
    return json.loads(lines[-1]) if lines else None


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
        step.run(["systemctl", "restart", restarted.unit], ok=ANY_CODE)


# -- Docker Engine ---------------------------------------------------------------------------------


class SocketConnection(http.client.HTTPConnection):
    """HTTP over the Docker Engine's local socket."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self.socket_path = path

    def connect(self) -> None:
        """Connect to the socket instead of a port."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.socket_path)


def docker_response(
    path: str, method: str = "GET", timeout_s: float = 30, headers: dict[str, str] | None = None
) -> http.client.HTTPResponse:
    """Ask the Docker Engine and return the open response, for bodies that are streamed.

    :raises StepFailed: when the engine does not answer
    """
    connection = SocketConnection(DOCKER_SOCKET, timeout_s)
    try:
        connection.request(method, path, headers=headers or {})
        return connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        raise StepFailed(
            f"the Docker Engine does not answer at {DOCKER_SOCKET}: {error}"
        ) from error


def docker(path: str, method: str = "GET", timeout_s: float = 30) -> Any:
    """Ask the Docker Engine; return its JSON answer, None when it has no such thing.

    :raises StepFailed: when the engine does not answer or refuses
    """
    response = docker_response(path, method, timeout_s)
    text = response.read().decode(errors="replace")
    if response.status == http.client.NOT_FOUND:
        return None
    if response.status >= http.client.BAD_REQUEST:
        raise StepFailed(f"the Docker Engine refused {method} {path.split('?')[0]}: {text[:300]}")
    return json.loads(text) if text.startswith(("{", "[")) else text


def instance_containers(step: Step) -> list[str]:
    """Return the names of the instances' containers on this host, also those that are stopped.

    Where the engine does not answer, what it keeps on disk says as much.
    """
    query = urllib.parse.urlencode({"all": "1", "filters": json.dumps({"label": [INSTANCE_LABEL]})})
    try:
        found = docker(f"/containers/json?{query}")
    except StepFailed:
        return sorted(name for name, labels in kept_containers(step) if INSTANCE_LABEL in labels)
    return sorted(item["Names"][0].lstrip("/") for item in found)


def kept_containers(step: Step) -> list[tuple[str, dict[str, str]]]:
    """Return name and labels of the containers that an engine keeps on disk."""
    kept = []
    for place in step.path(f"{engine_directory(step)}/containers").glob("*"):
        try:
            data = json.loads((place / "config.v2.json").read_text())
            labels = dict(data["Config"]["Labels"] or {})
            kept.append((str(data["Name"]).lstrip("/"), labels))
        except (OSError, ValueError, KeyError, TypeError):
            # What cannot be read may be an instance all the same.
            kept.append((place.name[:12], {INSTANCE_LABEL: ""}))
    return kept


def engine_directory(step: Step) -> str:
    """Return where the engine keeps its data, as its configuration file says."""
    try:
        settings = json.loads(step.path("/etc/docker/daemon.json").read_text())
        return str(settings.get("data-root", DOCKER_DIRECTORY))
    except (OSError, ValueError, AttributeError):
        return DOCKER_DIRECTORY


def refuse_if_instances(step: Step) -> None:
    """Refuse to take from a host what its instances' containers are managed with.

    :raises StepFailed: naming them
    """
    names = instance_containers(step)
    if names:
        raise StepFailed(
            f"{len(names)} instances live on this host as containers ({', '.join(names[:5])}): it "
            "stays a Docker hypervisor. Delete or move them, or mend what is wrong and deploy again"
        )


def group_members(name: str) -> list[str] | None:
    """Return who is in a group, None when there is no such group."""
    try:
        return list(grp.getgrnam(name).gr_mem)
    except KeyError:
        return None


# -- the watchdog ----------------------------------------------------------------------------------


def run_step(
    name: str,
    schema: dict[str, Any],
    converge: Callable[[Step], None],
    undo: Callable[[Step], None] | None = None,
) -> None:
    """Run a step as its inputs say, write its outputs, and exit with 0 only when all went well.

    :param converge: makes the host as wanted; called for ``apply`` and for ``check``
    :param undo: takes back what the step recorded, in ``undo`` of all runs and in ``roll_back`` of
        this one (:attr:`Step.to_undo`); steps that change nothing have none
    """
    root = Path(os.environ.get("NOVADOCKER_ROOT", "/"))
    log = open_log(root, name)
    try:
        timeout_s, step = read_inputs(name, schema, root)
        outcome = supervise(step, work_of(step.mode, converge, undo), timeout_s)
    except StepFailed as error:
        outcome = {"ok": False, "reason": str(error), "actions": [], "facts": {}}
    except Exception as error:
        LOG.exception("the step broke")
        outcome = {"ok": False, "reason": f"the step broke: {error!r}", "actions": [], "facts": {}}
    write_outputs(outcome, log)
    sys.exit(0 if outcome["ok"] else 1)


def work_of(
    mode: str, converge: Callable[[Step], None], undo: Callable[[Step], None] | None
) -> Callable[[Step], None]:
    """Return what is to be done in a mode."""

    def take_back(step: Step) -> None:
        if undo is None:
            step.note("this step changes nothing, so there is nothing to undo")
        elif mode == "roll_back" and not step.journal:
            step.note("this run changed nothing here")
        else:
            undo(step)
            step.forget()

    return take_back if mode in ("undo", "roll_back") else converge


def read_inputs(name: str, schema: dict[str, Any], root: Path) -> tuple[float, Step]:
    """Return the time limit and the step that the environment asks for."""
    inputs = dict(os.environ)
    mode = inputs.get("mode") or "apply"
    if mode not in MODES:
        raise SettingsError(f"mode: must be one of {', '.join(MODES)}")
    try:
        timeout_s = float(inputs.get("timeout_s") or DEFAULT_TIMEOUT_S)
    except ValueError as error:
        raise SettingsError("timeout_s: must be a number of seconds") from error
    if not timeout_s > 0:
        raise SettingsError("timeout_s: must be more than 0")
    try:
        settings = json.loads(inputs.get("settings") or "{}")
    except ValueError as error:
        raise SettingsError("settings: is not JSON") from error
    if mode in ("apply", "check"):
        settings = with_defaults(settings, schema)
    run_id = inputs.get("run_id") or ""
    if mode == "roll_back" and not run_id:
        raise SettingsError("run_id: is required to roll back, as it says which run")
    return timeout_s, Step(name, mode, settings, root, run_id=run_id or own_run_id())


def own_run_id() -> str:
    """Return an id for a step that no workflow pushed: its config's in Heat, else a new one."""
    outputs = dict(os.environ).get("heat_outputs_path")
    return Path(outputs).name if outputs else uuid.uuid4().hex


def open_log(root: Path, name: str) -> str:
    """Start this run's log file, drop the oldest ones, and return its name."""
    directory = root / "var/log/novadocker"
    directory.mkdir(parents=True, exist_ok=True, mode=0o750)
    for old in sorted(directory.glob("*.log"), key=lambda path: path.stat().st_mtime)[:-LOGS_KEPT]:
        old.unlink(missing_ok=True)
    path = directory / f"{name}-{utc_stamp()}.log"
    handler = logging.FileHandler(path)
    os.chmod(path, 0o600)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    LOG.addHandler(handler)
    LOG.setLevel(logging.DEBUG)
    return f"/var/log/novadocker/{path.name}"


def supervise(step: Step, work: Callable[[Step], None], timeout_s: float) -> dict[str, Any]:
    """Do the work in a child process; kill it and all its descendants when the time is up."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    reader, writer = os.pipe()
    worker = os.fork()
    if worker == 0:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        os.setsid()
        os.close(reader)
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(json.dumps(worked(step, work)).encode())
        os._exit(0)
    os.close(writer)
    signal.signal(signal.SIGTERM, _stopped)
    try:
        told = read_until(reader, time.monotonic() + timeout_s)
        reason = f"timed out after {timeout_s:g} s; everything it had started was stopped"
    except InterruptedError:
        told, reason = None, "stopped by a signal before the end"
    if told is None:
        end_descendants()
    else:
        os.waitpid(worker, 0)
        reason = "the step ended without an outcome"
    if told:
        return dict(json.loads(told))
    return {"ok": False, "reason": reason, "actions": [], "facts": {}}


def _stopped(_number: int, _frame: Any) -> None:
    raise InterruptedError


def worked(step: Step, work: Callable[[Step], None]) -> dict[str, Any]:
    """Do the work under the host's lock and return the outcome as data."""
    outcome: dict[str, Any] = {
        "ok": True,
        "reason": "",
        "actions": step.actions,
        "facts": step.facts,
    }
    try:
        with locked(step):
            step.begin()
            work(step)
    except StepFailed as error:
        outcome.update(ok=False, reason=str(error))
        LOG.error("failed: %s", error)
    except Exception as error:
        LOG.exception("the step broke")
        place = traceback.extract_tb(error.__traceback__)[-1]
        outcome.update(ok=False, reason=f"the step broke in {place.name}: {error!r}")
    return outcome


class locked:  # noqa: N801 - reads as a word: with locked(step)
    """Only one step changes a host at a time; checks may run beside each other."""

    def __init__(self, step: Step) -> None:
        self.shared = step.mode == "check"
        self.path = step.path("/run/novadocker.lock")

    def __enter__(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.handle = open(self.path, "a")
        fcntl.flock(self.handle, fcntl.LOCK_SH if self.shared else fcntl.LOCK_EX)

    def __exit__(self, *_error: object) -> None:
        self.handle.close()


def read_until(descriptor: int, deadline: float) -> bytes | None:
    """Read all that comes from a pipe; None when its end was not reached in time."""
    data = b""
    while True:
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not select.select([descriptor], [], [], left_s)[0]:
            return None
        piece = os.read(descriptor, 65536)
        if not piece:
            return data
        data += piece


def end_descendants(grace_s: float = 3) -> None:
    """Stop every descendant of this process, politely first; orphans have come to us."""
    for number, limit_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 10.0)):
        deadline = time.monotonic() + limit_s
        sent: set[int] = set()
        while time.monotonic() < deadline:
            alive = set(descendants(os.getpid()))
            if not alive:
                return
            for pid in alive - (sent if number == signal.SIGTERM else set()):
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass
            sent |= alive
            time.sleep(0.05)


def descendants(ancestor: int) -> Iterator[int]:
    """Yield the living processes below this one, reaping the dead ones."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                status = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            state, parent = status.rsplit(")", 1)[1].split()[:2]
            if state != "Z":
                parents[int(entry)] = int(parent)
    for pid in parents:
        above = parents.get(pid, 0)
        while above and above != ancestor:
            above = parents.get(above, 0)
        if above == ancestor:
            yield pid


def write_outputs(outcome: dict[str, Any], log: str) -> None:
    """Write the outputs where the hook looks for them, and one line for people."""
    outputs = {
        "deploy_result": "ok" if outcome["ok"] else "failed",
        "changed": "true" if outcome["actions"] else "false",
        "report": bounded_report(outcome, log),
    }
    prefix = dict(os.environ).get("heat_outputs_path")
    for name, text in outputs.items() if prefix else ():
        with os.fdopen(
            os.open(f"{prefix}.{name}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w"
        ) as handle:
            handle.write(text)
    print(json.dumps(outputs) if not prefix else f"{outputs['deploy_result']}; see {log}")
    if outcome["reason"]:
        print(outcome["reason"][:REASON_CHARS], file=sys.stderr)


def bounded_report(outcome: dict[str, Any], log: str) -> str:
    """Return the report as JSON text of at most 16 KB, shortening what is least needed first."""
    report: dict[str, Any] = {
        "reason": outcome["reason"][:REASON_CHARS],
        "actions": [action[:300] for action in outcome["actions"]],
        "facts": outcome["facts"],
        "log": log,
    }
    if len(json.dumps(report)) > REPORT_BYTES:
        more = len(report["actions"]) - 10
        report["actions"] = [*report["actions"][:10], f"and {more} more, see the log"]
    if len(json.dumps(report)) > REPORT_BYTES:
        report["facts"] = {"truncated": True}
    return json.dumps(report)


sys.modules.setdefault("host_step", sys.modules[__name__])
