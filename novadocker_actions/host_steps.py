# SPDX-License-Identifier: Apache-2.0
"""The host steps: their scripts, and the schemas of their settings."""

from __future__ import annotations

import ast
import functools
import hashlib
import re
from pathlib import PurePosixPath
from typing import Any

import jsonschema

from novadocker_actions import errors, resources

LIBRARY = "heat_templates/library"
# The first of joined modules says it for all.
_FUTURE = "from __future__ import annotations\n"

#: Input that names a push. The host's agent tells it back, and signs it with the outcome.
PUSH_ID = "push_id"


def _step_file(step: str) -> str:
    return f"heat_templates/configs/{step}.py"


def library_files() -> tuple[str, ...]:
    """Return the files of the library, in the order in which they come before a step.

    They share one namespace on the host; the first of them says which follow.
    """
    modules: tuple[str, ...] = _constant(f"{LIBRARY}/joined.py", "MODULES")
    return tuple(f"{LIBRARY}/{name}.py" for name in ("joined", *modules))


def joined(step: str, *more: str) -> str:
    """Return what a step needs of the library, then other text, then that of the step.

    An agent gets it each time that it asks Heat, so it holds no module that is not needed.

    :param step: name of a step
    :param more: text of further modules
    :raises MissingFile: when there is no such step
    """
    texts = [*more, resources.text(_step_file(step))]
    head, *modules = library_files()
    needed = _imported("\n".join(texts))
    for name in reversed(modules):
        if PurePosixPath(name).stem in needed:
            texts.insert(0, resources.text(name))
            needed |= _imported(texts[0])
    return "\n".join((resources.text(head), *(text.replace(_FUTURE, "") for text in texts)))


def _imported(text: str) -> set[str]:
    return set(re.findall(r"^from library\.(\w+) import", text, re.MULTILINE))


@functools.cache
def script(step: str) -> str:
    """Return what is sent to a host for a step: the library and the step.

    :param step: name of a step
    :raises MissingFile: when there is no such step
    """
    return joined(step)


@functools.cache
def settings_schema(step: str) -> dict[str, Any]:
    """Return the JSON schema that a step declares as ``SETTINGS``.

    :param step: name of a step
    :raises MissingFile: when there is no such step, or it declares no schema
    """
    schema: dict[str, Any] = _constant(_step_file(step), "SETTINGS")
    return schema


def _constant(name: str, constant: str) -> Any:
    for node in ast.parse(resources.text(name)).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=known)], value=value) if known == constant:
                return ast.literal_eval(value)
    raise errors.MissingFile(f"{name} declares no {constant}.")


def check_settings(step: str, settings: dict[str, Any]) -> None:
    """Check the settings of a step before they are sent.

    :param step: name of a step
    :param settings: what the step is to be given
    :raises Refused: when they do not fit the step's schema
    """
    fault = jsonschema.exceptions.best_match(
        jsonschema.Draft202012Validator(settings_schema(step)).iter_errors(settings)
    )
    if fault is not None:
        where = ".".join(str(part) for part in fault.absolute_path) or "settings"
        raise errors.Refused(f"{step} {where}", f"{fault.message}.", f"See the settings of {step}.")


def digest(steps: tuple[str, ...]) -> str:
    """Return a digest of the scripts of some steps, so that a plan knows what it was made with.

    :param steps: names of steps
    """
    total = hashlib.sha256()
    for step in steps:
        total.update(script(step).encode())
    return total.hexdigest()
