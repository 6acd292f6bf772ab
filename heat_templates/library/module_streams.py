# SPDX-License-Identifier: Apache-2.0
"""Module streams of RHEL-likes: which an installation enables, and what hides packages."""

from __future__ import annotations

import configparser
import re
from pathlib import Path
from typing import Optional

from library.files import replace_file
from library.step import Step

# What dnf knows of streams on this host: a file for each module.
STATES = "/etc/dnf/modules.d"
# What dnf says of a package that repositories have, and that it does not offer.
HIDDEN = re.compile(r"filtered out by (modular|exclude)")
ENABLED = re.compile(r"^Enabling module streams:\n((?: .*\n?)+)", re.M)


def enabled_by(transaction: str) -> dict[str, str]:
    """Return the streams that a transaction would enable, by module, from what dnf shows of it."""
    shown = ENABLED.search(transaction)
    lines = shown.group(1).splitlines() if shown else []
    pairs = [line.split() for line in lines]
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


def remember(step: Step, streams: dict[str, str]) -> None:
    """Record how the modules were before an installation enables streams of them."""
    for module, stream in streams.items():
        recorded = step.record.get("module_streams", {})
        if module not in recorded:
            entry = {"stream": stream, "before": text_of(step, module)}
            for level in (step.record, step.journal):
                level["module_streams"] = {**level.get("module_streams", {}), module: entry}
            step.save_record()


def put_back(step: Step) -> None:
    """Have the modules be as they were, but for those that somebody has changed since."""
    for module, entry in step.to_undo.get("module_streams", {}).items():
        now, before = text_of(step, module), entry["before"]
        if now is None or now == before:
            continue
        if settings(now, module) != {"stream": entry["stream"], "profiles": "", "state": "enabled"}:
            step.note(f"the module {module} was changed by someone else since: left as it is")
        elif before is None:
            place(step, module).unlink()
        else:
            replace_file(place(step, module), before.encode(), 0o644)


def place(step: Step, module: str) -> Path:
    """Return the file that has a module's state."""
    return step.path(f"{STATES}/{module}.module")


def text_of(step: Step, module: str) -> Optional[str]:
    """Return the text of a module's state, None where dnf has kept none."""
    try:
        return place(step, module).read_text()
    except FileNotFoundError:
        return None


def settings(text: str, module: str) -> dict[str, str]:
    """Return stream, profiles and state, as a module's file has them."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
    except configparser.Error:
        return {}
    section = parser[module] if parser.has_section(module) else {}
    return {name: section.get(name, "").strip() for name in ("stream", "profiles", "state")}


def remedy(step: Step, said: str) -> str:
    """Return what can be done where something hides what is wanted: by its name, where known.

    :param said: by dnf; empty where nothing is hidden
    """
    hidden = HIDDEN.search(said)
    if hidden is None:
        return ""
    if hidden.group(1) == "exclude":
        return (
            "the settings of dnf exclude it (excludepkgs or exclude in /etc/dnf/dnf.conf or in a "
            "file of /etc/yum.repos.d, or a versionlock): take it out there, then repeat"
        )
    chosen = []
    for path in sorted(step.path(STATES).glob("*.module")):
        told = settings(path.read_text(errors="replace"), path.stem)
        if told.get("state") == "disabled":
            chosen.append(f"{path.stem} is disabled")
        elif told.get("state") == "enabled":
            chosen.append(f"{path.stem}:{told['stream']} is enabled")
    known = f" ({'; '.join(chosen[:5])})" if chosen else ""
    return (
        f"a module stream of this host{known} hides it: `dnf module reset` that module if nobody "
        "needs it so, or set module_hotfixes=1 for the repository that has the Docker Engine, then "
        "repeat"
    )
