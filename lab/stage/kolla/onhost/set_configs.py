#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Lay a container's configuration out as its config.json says, each time that it starts.

Installed as ``kolla_set_configs``, and does what kolla's program of that name does: what the start
before has laid out is taken back first, so a file that config.json no longer names is gone, or is
the image's own again. With ``--check`` it says by its exit code whether that has changed since.
"""

from __future__ import annotations

import glob
import grp
import json
import os
import pwd
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

CONFIG = Path("/var/lib/kolla/config_files/config.json")
RUN_COMMAND = Path("/run_command")
# The files of the image which others have been laid over, and which places had none.
DEFAULTS = Path("/etc/kolla/defaults")
STATE = "state.json"
STRATEGIES = ("COPY_ALWAYS",)

Entry = Mapping[str, Any]


class ConfigError(Exception):
    """The configuration cannot be laid out."""


def copies(entry: Entry) -> Iterator[tuple[Path, Path]]:
    """Yield what is to be copied, files and directories, and where.

    :raises ConfigError: nothing is there, and it is not optional
    """
    sources = glob.glob(entry["source"])
    if not sources and not entry.get("optional", False):
        raise ConfigError(f"there is no {entry['source']}")
    for source in map(Path, sources):
        dest = entry["dest"]
        yield source, Path(dest, source.name) if dest.endswith("/") else Path(dest)


def copy(source: Path, target: Path) -> None:
    """Put a file or a directory, with its modes, in the place of whatever is there."""
    delete(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy2(source, target)


def delete(path: Path) -> None:
    """Delete a file or a directory, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def own(path: Path, entry: Entry, *, recurse: bool = False) -> None:
    """Give a path the owner and the mode of its entry; directories can be searched by readers.

    :param recurse: all below a directory as well
    """
    user, _, group = entry["owner"].partition(":")
    owner = (pwd.getpwnam(user).pw_uid, grp.getgrnam(group or user).gr_gid)
    mode = int(entry["perm"].removeprefix("0o"), 8) if entry.get("perm") else None
    for each in (path, *(path.rglob("*") if recurse else ())):
        if each.is_symlink():
            continue
        os.chown(each, *owner)
        if mode is not None:
            each.chmod(mode | (mode & 0o444) >> 2 if each.is_dir() else mode)


def take_back(defaults: Path) -> None:
    """Undo what the start before has laid out."""
    state = defaults / STATE
    for name, kept in (json.loads(state.read_text()) if state.exists() else {}).items():
        delete(Path(name))
        if kept:
            copy(Path(kept), Path(name))
    state.unlink(missing_ok=True)


def lay_out(config: Entry, defaults: Path) -> None:
    """Copy the files, and keep what they cover."""
    defaults.mkdir(parents=True, exist_ok=True)
    state: dict[str, str] = {}
    for entry in config.get("config_files", ()):
        for source, target in copies(entry):
            kept = defaults / str(target).lstrip("/")
            if target.exists():
                copy(target, kept)
            state[str(target)] = str(kept) if target.exists() else ""
            (defaults / STATE).write_text(json.dumps(state))
            copy(source, target)
            if not entry.get("preserve_properties", False):
                own(target, entry, recurse=True)


def set_permissions(config: Entry) -> None:
    """Make the directories, and give what is there its owners and modes."""
    for entry in config.get("directories", ()):
        Path(entry["path"]).mkdir(parents=True, exist_ok=True)
        own(Path(entry["path"]), entry)
    for entry in config.get("permissions", ()):
        for path in map(Path, glob.glob(entry["path"])):
            own(path, entry, recurse=entry.get("recurse", False))


def differences(config: Entry) -> list[str]:
    """Return what is not as config.json wants it now."""
    return [
        str(target)
        for entry in config.get("config_files", ())
        for source, target in copies(entry)
        if contents(source) != contents(target)
    ]


def contents(path: Path) -> Mapping[str, bytes]:
    """Return what is in a file, or in all files of a directory, by name."""
    files = path.rglob("*") if path.is_dir() else (path,)
    return {str(each.relative_to(path)): each.read_bytes() for each in files if each.is_file()}


def main(arguments: Sequence[str]) -> int:
    """Lay the configuration out, or say whether it differs."""
    config = json.loads(CONFIG.read_text())
    if "--check" in arguments:
        changed = differences(config)
        print(*changed, sep="\n")
        return 1 if changed else 0
    strategy = os.environ.get("KOLLA_CONFIG_STRATEGY")
    if strategy not in STRATEGIES:
        raise ConfigError(f"KOLLA_CONFIG_STRATEGY is {strategy}, not {' or '.join(STRATEGIES)}")
    take_back(DEFAULTS)
    lay_out(config, DEFAULTS)
    set_permissions(config)
    RUN_COMMAND.write_text(config["command"])
    RUN_COMMAND.chmod(0o644)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ConfigError as err:
        sys.exit(f"kolla_set_configs: {err}")
