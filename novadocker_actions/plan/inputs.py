# SPDX-License-Identifier: Apache-2.0
"""What the workflows take: defaults, limits, and messages that name the field and the remedy."""

from __future__ import annotations

import copy
import json
from typing import Any

import jsonschema

from novadocker_actions.errors import Refused
from novadocker_actions.plan import engine_settings, engine_values, holds, secrets
from novadocker_actions.plan.references import Reference
from novadocker_actions.schema import Validator

_HOST_NAME = {"type": "string", "pattern": r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,253}[A-Za-z0-9])?$"}
_HOST_NAMES = {"type": "array", "items": _HOST_NAME, "maxItems": 10_000, "uniqueItems": True}
# As install_driver takes it.
_ADDRESS = {"type": ["string", "null"], "pattern": r"^(https?://[^\s\"'@]+)?$", "maxLength": 1000}


def _share(minimum: int, maximum: int) -> dict[str, Any]:
    """Return the schema of a number of hosts, or of a percentage of them."""
    whole = {"type": "integer", "minimum": minimum, "maximum": maximum}
    return {"oneOf": [whole, {"type": "string", "pattern": r"^([1-9]?\d|100)%$"}]}


# Each field: default, JSON schema, and what to do when it does not fit.
FIELDS: dict[str, tuple[Any, dict[str, Any], str]] = {
    "hosts": (
        None,
        {"oneOf": [{"type": "null"}, {**_HOST_NAMES, "minItems": 1}]},
        "Give a list (or comma separated names) of Nova compute hosts, or null.",
    ),
    "match": (
        "docker",
        {"type": "string", "minLength": 1, "maxLength": 255},
        "Give a part of the names of the compute hosts.",
    ),
    "if_none_match": ("all", {"enum": ["all", "fail"]}, "Give all or fail."),
    "where": (
        None,
        {"type": ["string", "null"], "minLength": 1, "maxLength": 2000},
        "Give a YAQL predicate over a host record, or null.",
    ),
    "exclude": ([], _HOST_NAMES, "Give a list (or comma separated names) of hosts."),
    "images": (
        ["busybox"],
        {"type": "array", "items": {"type": "string"}, "maxItems": 100, "uniqueItems": True},
        "Give a list (or comma separated references) of Docker images, [] for none.",
    ),
    "batch_size": (
        None,
        {"type": ["integer", "null"], "minimum": 1, "maximum": 100},
        "Give 1 to 100 hosts, or null for one canary and then growing batches.",
    ),
    "batch_sizes": (
        None,
        {
            "oneOf": [
                {"type": "null"},
                {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": 20,
                    "items": _share(minimum=1, maximum=100),
                },
            ]
        },
        "Give a list of 1 to 100 hosts and of percentages, such as 1,10%,50%, or null.",
    ),
    "max_failed": (
        0,
        _share(minimum=0, maximum=10_000),
        "Give how many hosts may fail before the run stops, 0 to 10000, or a percentage of those "
        "that it changes, such as 5%.",
    ),
    "run_timeout_s": (
        None,
        {"type": ["integer", "null"], "minimum": 60, "maximum": 604_800},
        "Give 60 to 604800 seconds, or null for a run without an end.",
    ),
    "batch_pause_s": (
        0,
        {"type": "integer", "minimum": 0, "maximum": 43_200},
        "Give 0 to 43200 seconds.",
    ),
    "approval": (
        holds.NONE,
        {"enum": [holds.NONE, holds.CANARY, holds.BATCHES]},
        "Give none, canary or batches.",
    ),
    "phase": ("all", {"enum": ["all", "stage", "switch"]}, "Give all, stage or switch."),
    "upgrade": (False, {"type": "boolean"}, "Give true or false."),
    "plan_digest": (
        None,
        {"type": ["string", "null"], "pattern": "^sha256:[0-9a-f]{64}$"},
        "Give the plan_digest that novadocker.plan reported, or null.",
    ),
    "step_timeout_s": (
        900,
        {"type": "integer", "minimum": 30, "maximum": 7200},
        "Give 30 to 7200 seconds.",
    ),
    "agent_timeout_s": (
        60,
        {"type": "integer", "minimum": 5, "maximum": 600},
        "Give 5 to 600 seconds.",
    ),
    "driver_url": (
        None,
        _ADDRESS,
        "Give the http or https URL of a directory with the driver's wheel, or null.",
    ),
    "driver_index": (
        None,
        _ADDRESS,
        "Give the http or https URL of a package index of yours, or null.",
    ),
    "docker": (
        {},
        engine_settings.SCHEMA,
        "Give settings of Docker's daemon.json as an object, each as the engine takes it.",
    ),
    "drain": ("refuse", {"enum": ["refuse", "skip", "migrate"]}, "Give refuse, skip or migrate."),
    "drain_timeout_s": (
        1800,
        {"type": "integer", "minimum": 60, "maximum": 86_400},
        "Give 60 to 86400 seconds.",
    ),
    "drain_at_once": (
        2,
        {"type": "integer", "minimum": 1, "maximum": 20},
        "Give 1 to 20 instances.",
    ),
    "aggregate": (
        "docker-hosts",
        {"type": "string", "pattern": r"^\S(.{0,253}\S)?$"},
        "Give the name of a host aggregate.",
    ),
    "report_url": (
        None,
        {"type": ["string", "null"], "pattern": r"^https?://\S+$", "maxLength": 2000},
        "Give an http or https URL, or null.",
    ),
    "dry_run": (
        None,
        {"type": "null"},
        "There is none any more: novadocker.plan shows what deploy would do with the same inputs.",
    ),
    "remove_images": (False, {"type": "boolean"}, "Give true or false."),
    "preload": (True, {"type": "boolean"}, "Give true or false."),
    "controllers": ("auto", {"enum": ["auto", "keep"]}, "Give auto or keep."),
}

# What an upgrade leaves to others, so that no more than the default of it may be given.
_NOT_OF_AN_UPGRADE = {
    "match": "an upgrade is of all Docker hypervisors, whatever they are called.",
    "if_none_match": "an upgrade is of Docker hypervisors, and of no other host.",
    "images": "an upgrade publishes none.",
    "docker": "an upgrade leaves engines as they are.",
    "aggregate": "an upgrade leaves hosts in the aggregates that they are in.",
    "phase": "an upgrade has one: a driver that is in use is replaced out of service.",
}

# Inputs that may name many hosts.
NAMING = ("hosts", "exclude")
# How long inputs may be, as Mistral keeps them: those that name hosts, and all others.
NAMING_CHARS, OTHER_CHARS = 40_000, 12_000

_SELECTING = ("hosts", "match", "if_none_match", "where", "exclude")
_WAITING = ("step_timeout_s", "agent_timeout_s", "report_url")
_CONVERTING = ("images", "driver_url", "driver_index", "docker", "aggregate")
_DRAINING = ("drain", "drain_timeout_s", "drain_at_once")
_BATCHING = (
    *("batch_size", "batch_sizes", "max_failed", "run_timeout_s"),
    *("batch_pause_s", "approval"),
    *_DRAINING,
)

# The inputs of each workflow.
WORKFLOWS: dict[str, tuple[str, ...]] = {
    "deploy": (
        *(*_SELECTING, *_CONVERTING, *_BATCHING, *_WAITING),
        *("phase", "upgrade", "plan_digest", "dry_run"),
    ),
    "plan": (*_SELECTING, *_CONVERTING, *_BATCHING, *_WAITING, "phase", "upgrade"),
    "verify": (*_SELECTING, *_CONVERTING, *_WAITING),
    "undeploy": (*_SELECTING, *_BATCHING, *_WAITING, "aggregate", "remove_images", "controllers"),
    "precheck": (*_SELECTING, *_CONVERTING, *_WAITING),
    "recover": ("hosts", "where", "exclude", "aggregate", *_WAITING),
    "preload_images": (*_SELECTING, *_WAITING, "images", "preload", "aggregate"),
}

_LISTS = ("hosts", "exclude", "images", "batch_sizes")
# Numbers in them may come as text, as a command line has it.
_COUNTING = ("batch_sizes", "max_failed")


def _listed(value: Any) -> Any:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _counted(value: Any) -> Any:
    if isinstance(value, list):
        return [_counted(part) for part in value]
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _explain(value: Any, fault: jsonschema.ValidationError) -> str:
    leaf = jsonschema.exceptions.best_match(fault.context or []) or fault
    if "propertyNames" in leaf.absolute_schema_path:
        return engine_settings.unknown_key(str(leaf.instance))
    if leaf.validator == "pattern" and leaf.instance == value:
        return f"{value!r} is not of the expected form."
    if leaf.validator == "pattern":
        return f"{leaf.instance!r} in it is not of the expected form."
    return f"{leaf.message}."


def require_no_secrets(given: dict[str, Any]) -> None:
    """Refuse inputs with a secret in them, which is not told again.

    :param given: inputs by name
    :raises Refused: naming where it is
    """
    place = secrets.place_of(given)
    if place:
        raise Refused(
            place,
            "a password or a token is in it, and Mistral and Heat keep and show what a run is "
            "given.",
            "Let the host have it: what an operator writes into its daemon.json, pip.conf or a "
            "drop-in of its units is kept.",
        )


def require_bearable(given: dict[str, Any]) -> None:
    """Refuse inputs that are too long to be carried through a run.

    :param given: inputs by name
    :raises Refused: naming the input that takes the most
    """
    for names, most, remedy in (
        (NAMING, NAMING_CHARS, "Select hosts with match or where, or in several runs."),
        (sorted(set(given) - {*NAMING}), OTHER_CHARS, "Give less of it, or several runs."),
    ):
        lengths = {name: len(json.dumps(given[name])) for name in names if name in given}
        if sum(lengths.values()) > most:
            longest = max(lengths, key=lambda name: lengths[name])
            raise Refused(
                longest,
                f"it takes {lengths[longest]} characters, and inputs of its kind may take {most} "
                "together.",
                remedy,
            )


def _require_of_an_upgrade(settings: dict[str, Any]) -> None:
    for name, problem in _NOT_OF_AN_UPGRADE.items():
        if settings[name] not in (FIELDS[name][0], []):
            raise Refused(
                name,
                problem,
                "Leave it out, and select with hosts, where and exclude; the rest is deploy's "
                "without upgrade.",
            )


def validate(workflow: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return a workflow's settings: what was given, checked and in one form, and the defaults.

    :param workflow: name of a workflow, without the workbook's
    :param given: inputs by name
    :raises Refused: on the first input that does not fit, or that the workflow does not take
    """
    names = WORKFLOWS[workflow]
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise Refused(
            unknown[0],
            f"novadocker.{workflow} takes no such input.",
            f"It takes: {', '.join(sorted(names))}.",
        )
    require_no_secrets(given)
    settings = {name: copy.deepcopy(entry[0]) for name, entry in FIELDS.items()}
    for name in names:
        if name not in given:
            continue
        value = _listed(given[name]) if name in _LISTS else given[name]
        value = _counted(value) if name in _COUNTING else value
        schema, remedy = FIELDS[name][1], FIELDS[name][2]
        fault = jsonschema.exceptions.best_match(Validator(schema).iter_errors(value))
        if fault is not None:
            where = ".".join([name, *map(str, fault.absolute_path)]) if name == "docker" else name
            raise Refused(where, _explain(value, fault), remedy)
        misfit = engine_values.first_misfit(value) if name == "docker" else None
        if misfit is not None:
            raise Refused(f"docker.{misfit.place}", misfit.problem, misfit.remedy)
        settings[name] = value
    if settings["batch_size"] is not None and settings["batch_sizes"] is not None:
        raise Refused(
            "batch_sizes", "batch_size is given as well, and says another thing.", "Give one."
        )
    if settings["upgrade"]:
        _require_of_an_upgrade(settings)
        settings["images"] = []
    settings["images"] = [Reference.parse(text).familiar for text in settings["images"]]
    if "images" not in names:
        settings["images"] = []
    return settings
