# SPDX-License-Identifier: Apache-2.0
"""What is taken over of a step's facts: the fields that are judged, of the types that they have.

A host may say anything, and Mistral keeps what the hosts of a batch say in one field of bounded
size. So facts are picked when they arrive; what does not fit is the failure of that host alone.
"""

from __future__ import annotations

import json
from typing import Any

from novadocker_actions import recipes

_TEXT_CHARS = 400
# Facts that nobody judges are kept up to this, for who reads a workflow's rows.
_OTHER_BYTES = 1000

# A step tells it of itself in check mode: whether what it would do disturbs a host in service.
DISTURBS = "disturbs"
_TEXT = str
_FIELDS: dict[str, dict[str, Any]] = {
    "describe_host": {
        "hostname": _TEXT,
        "nova": {
            "unit": _TEXT,
            "version": _TEXT,
            "compute_driver": _TEXT,
            "host": _TEXT,
            "compute_id": _TEXT,
            "hindrance": _TEXT,
            "deployer": _TEXT,
        },
        "docker": {"installed": bool, "instances": int},
        "novadocker": {"driver_version": _TEXT},
        "scheduler": {"unit": _TEXT, "isolates": bool},
        "records": dict.fromkeys(recipes.CONVERTING, bool),
        "journals": dict.fromkeys(recipes.CONVERTING, _TEXT),
    },
    "export_image": {"digest": _TEXT, "sha512": _TEXT},
    "install_docker": {"disturbs": bool},
    "install_driver": {"disturbs": bool},
}
_ANSWER = {"ok": bool, "digest": _TEXT, "reason": _TEXT}


def judged(step: str, facts: Any) -> dict[str, Any]:
    """Return the fields of a step's facts that are judged.

    :param step: that the host ran
    :param facts: what it told
    :raises ValueError: naming the field that is not of its type
    """
    if facts is None:
        return {}
    if not isinstance(facts, dict):
        raise ValueError(f"its facts are of type {type(facts).__name__}")
    facts = _ascii(facts)
    if facts.get("truncated"):
        raise ValueError("its facts were too long to be sent")
    if step == "check_images":
        answers = {name: answer for name, answer in facts.items() if name != "notes"}
        return _picked(answers, dict.fromkeys(answers, _ANSWER))
    if step in _FIELDS:
        return _picked(facts, _FIELDS[step])
    return facts if len(json.dumps(facts)) <= _OTHER_BYTES else {}


def _ascii(value: Any) -> Any:
    # One character beyond ASCII would widen the whole field that Mistral keeps it in.
    if isinstance(value, str):
        return value.encode("ascii", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_ascii(name): _ascii(part) for name, part in value.items()}
    return [_ascii(part) for part in value] if isinstance(value, list) else value


def _picked(facts: dict[str, Any], fields: dict[str, Any], where: str = "") -> dict[str, Any]:
    picked: dict[str, Any] = {}
    for name, kind in fields.items():
        value = facts.get(name)
        if value is None:
            continue
        wanted = dict if isinstance(kind, dict) else kind
        if not isinstance(value, wanted):
            raise ValueError(f"{where}{name} of its facts is of type {type(value).__name__}")
        if isinstance(value, dict):
            picked[name] = _picked(value, kind, f"{where}{name}.")
        elif isinstance(value, str):
            picked[name] = value[:_TEXT_CHARS]
        else:
            picked[name] = value
    return picked
