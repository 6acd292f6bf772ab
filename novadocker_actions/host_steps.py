# SPDX-License-Identifier: Apache-2.0
"""The host steps: the schemas of their settings."""

from __future__ import annotations

import ast
import functools
from typing import Any

import jsonschema

from novadocker_actions import errors, resources
from novadocker_actions.schema import Validator

# Input that names a push. The host's agent tells it back, and signs it with the outcome.
PUSH_ID = "push_id"


def _step_file(step: str) -> str:
    return f"heat_templates/configs/{step}.py"


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
    fault = jsonschema.exceptions.best_match(Validator(settings_schema(step)).iter_errors(settings))
    if fault is not None:
        where = ".".join(str(part) for part in fault.absolute_path) or "settings"
        raise errors.Refused(f"{step} {where}", f"{fault.message}.", f"See the settings of {step}.")
