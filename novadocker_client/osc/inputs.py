# SPDX-License-Identifier: Apache-2.0
"""Inputs of workflows on the command line: options by their meanings, and a file."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from novadocker_client import meanings
from novadocker_client.errors import BadInput
from novadocker_client.meanings import Input
from novadocker_client.runs import require_inputs

_PREFIX = "input_"


def add_options(
    parser: argparse.ArgumentParser, workflow: str, without: tuple[str, ...] = ()
) -> None:
    """Add an option for each input of a workflow, and one for a file with them.

    :param workflow: name without the workbook's
    :param without: inputs that the command takes otherwise
    """
    group = parser.add_argument_group("inputs of the run")
    group.add_argument(
        "--from",
        dest="inputs_file",
        metavar="FILE",
        help="A YAML or JSON file with inputs by name; an option wins over what it says.",
    )
    for name in meanings.WORKFLOWS[workflow].inputs:
        if name not in without:
            _add_option(group, name, meanings.INPUTS[name])


def _add_option(group: Any, name: str, told: Input) -> None:
    # What is not given is not sent: the workflow has its default.
    options: dict[str, Any] = {
        "dest": f"{_PREFIX}{name}",
        "default": argparse.SUPPRESS,
        "help": (told.meaning + _default(told)).replace("%", "%%"),
    }
    if told.kind == meanings.FLAG:
        options["action"] = argparse.BooleanOptionalAction
    elif told.kind == meanings.CHOICE:
        options["choices"] = told.choices
        options["metavar"] = f"{{{','.join(told.choices)}}}"
    else:
        options["metavar"] = _METAVARS[told.kind]
        options["type"] = _TYPES[told.kind]
    group.add_argument(f"--{name.replace('_', '-')}", **options)


def _default(told: Input) -> str:
    if told.default in (None, (), {}) or told.kind == meanings.FLAG:
        return ""
    value = ",".join(told.default) if told.kind == meanings.NAMES else told.default
    return f" Default: {value}."


def names(text: str) -> list[str]:
    """Return comma separated names as a list; an empty text has none."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _share(text: str) -> int | str:
    try:
        return meanings.share(text)
    except ValueError as err:
        raise argparse.ArgumentTypeError(str(err)) from err


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as err:
        raise argparse.ArgumentTypeError(f"it is no JSON: {err}") from err
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError('it is no JSON object, such as {"debug": true}')
    return value


_METAVARS = {
    meanings.NAMES: "NAME[,NAME...]",
    meanings.TEXT: "TEXT",
    meanings.NUMBER: "NUMBER",
    meanings.SHARE: "NUMBER|PERCENT%",
    meanings.OBJECT: "JSON",
}
_TYPES: Mapping[str, Callable[[str], Any]] = {
    meanings.NAMES: names,
    meanings.TEXT: str,
    meanings.NUMBER: int,
    meanings.SHARE: _share,
    meanings.OBJECT: _object,
}


def given(parsed_args: argparse.Namespace, workflow: str) -> dict[str, Any]:
    """Return the inputs that were given, those of options before those of the file.

    :param workflow: name without the workbook's
    :raises BadInput: when the file cannot be read, or has what the workflow does not take
    """
    inputs = read(Path(parsed_args.inputs_file)) if parsed_args.inputs_file else {}
    for option, value in vars(parsed_args).items():
        if option.startswith(_PREFIX):
            inputs[option.removeprefix(_PREFIX)] = value
    require_inputs(workflow, inputs)
    return inputs


def read(path: Path) -> dict[str, Any]:
    """Return the inputs that a file has.

    :raises BadInput: when it cannot be read, or is no mapping
    """
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as err:
        problem = " ".join(str(err).split())
        raise BadInput("--from", f"{problem}.", "Give a YAML or JSON file with inputs.") from err
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise BadInput("--from", f"{path} has no inputs by name.", "Write lines such as hosts: [a]")
    return value
