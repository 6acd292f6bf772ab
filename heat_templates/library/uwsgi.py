# SPDX-License-Identifier: Apache-2.0
"""What uWSGI runs a service with: the Python, and the environment that its own files give it."""

from __future__ import annotations

import re
from pathlib import Path

from library.step import program_path

# Options that name a virtual environment.
HOMES = ("home", "virtualenv", "venv", "pyhome")


def is_uwsgi(command: list[str]) -> bool:
    """Return whether a command starts uWSGI, in one of the names that distributions give it."""
    name = Path(command[0]).name if command else ""
    return re.fullmatch(r"uwsgi(?:_python\w*|-\w+)?", name) is not None


def uwsgi_python(command: list[str]) -> str:
    """Return the Python of what a uWSGI runs; empty when it cannot be told.

    That of the environment that its options name, else of the one that it is installed in itself,
    else the system's.
    """
    files = [value for option, value in uwsgi_options(command) if option == "ini"]
    if not all(Path(name).is_file() for name in files):
        return ""
    named = [value for option, value in uwsgi_options(command) if option in HOMES]
    own = Path(command[0]).parent.parent
    homes = [Path(value) for value in named] or ([own] if (own / "pyvenv.cfg").exists() else [])
    if not homes:
        return program_path("python3")
    python = homes[-1] / "bin" / "python3"
    return str(python) if python.exists() else ""


def uwsgi_environment(command: list[str]) -> dict[str, str]:
    """Return the variables that a uWSGI's options set."""
    pairs = [value.partition("=") for option, value in uwsgi_options(command) if option == "env"]
    return {name.strip(): value.strip() for name, equals, value in pairs if equals}


def uwsgi_options(command: list[str]) -> list[tuple[str, str]]:
    """Return a uWSGI's options by name, those in its files as well; of magic variables none."""
    options: list[tuple[str, str]] = []
    rest = list(command[1:])
    while rest:
        word = rest.pop(0)
        long, short = re.fullmatch(r"--([\w-]+)(?:=(.*))?", word), word == "-H"
        if long or short:
            name = long.group(1) if long else "home"
            value = long.group(2) if long and long.group(2) is not None else None
            if value is None and rest and not rest[0].startswith("-"):
                value = rest.pop(0)
            options.append((name, value or ""))
        elif word.endswith(".ini"):
            options.append(("ini", word))
    for _, name in [item for item in options if item[0] == "ini"]:
        options.extend(ini_options(Path(name)))
    return [(name, value) for name, value in options if "%(" not in value]


def ini_options(path: Path) -> list[tuple[str, str]]:
    """Return the options in a uWSGI's file, of which one may come more than once."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return []
    section = re.split(r"^\s*\[(?!uwsgi\])[^\]]*\]", text, maxsplit=1, flags=re.M)[0]
    lines = [line.partition("=") for line in section.splitlines() if line.strip()[:1] not in "#;"]
    return [(name.strip(), value.strip()) for name, equals, value in lines if equals]
