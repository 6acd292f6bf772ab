# SPDX-License-Identifier: Apache-2.0
"""Make Glance accept docker images, by a drop-in file that adds to the operator's list."""

from __future__ import annotations

import configparser
import re
from pathlib import Path
from typing import Any

from library.deployers import glance_by_deployer
from library.faults import StepFailed
from library.glance_formats import glance_formats
from library.outcome import run_step
from library.restarts import put_back, restart_service
from library.services import GLANCE_UNITS, Service, find_service, in_service_python
from library.step import Step

SETTINGS = {
    "type": "object",
    "description": "The image formats of Glance.",
    "additionalProperties": False,
    "properties": {
        "container_formats_add": {
            "type": "array",
            "description": "Container formats that Glance has to accept beside those it does.",
            "items": {"type": "string", "pattern": "^[a-z0-9_-]+$"},
            "default": ["docker"],
        },
        "api_accepts": {
            "type": "boolean",
            "description": "Whether Glance's API takes them already: then a Glance that this step "
            "cannot change is left as it is.",
            "default": False,
        },
    },
}

DROP_IN = "/etc/glance/glance-api.conf.d/90-novadocker.conf"
CONFIGURATION = "/etc/glance/glance-api.conf"
HEADER = "# Written by novadocker; `undo` of the step configure_glance removes it.\n"
START_TIMEOUT_S = 120
# What a Python says that is not the one that Glance runs in.
NO_GLANCE = "No module named 'glance"
OUTDONE = (
    f"{DROP_IN} does not take effect for {{unit}}: {{by}} wins, which its command line or "
    "environment names; add the formats there, under [image_format] container_formats"
)
# What Glance's own process says is written by root, so it has to be what it should be.
FORMAT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


def converge(step: Step) -> None:
    """Add what is missing, see that it takes effect, and restart Glance then only."""
    step.facts["disturbs"] = False
    service = find_service(step, GLANCE_UNITS)
    wanted = step.settings["container_formats_add"]
    if service is None or not service.python:
        leave_to_others(step, service, wanted)
        return
    try:
        now = formats(step, service)
    except StepFailed as err:
        if NO_GLANCE not in str(err):
            raise
        leave_to_others(step, service, wanted)
        return
    missing = [name for name in wanted if name not in now]
    step.facts.update(unit=service.unit, container_formats=[*now, *missing])
    if not missing:
        return
    text = f"{HEADER}[image_format]\ncontainer_formats = {','.join([*now, *missing])}\n"
    if service.active:
        step.disturb(f"{service.unit} is restarted")
    step.write_file(DROP_IN, text)
    if not step.will(f"restart {service.unit}"):
        foresee(step, service)
        return
    restarted = None
    try:
        if set(wanted) - set(formats(step, service)):
            raise StepFailed(OUTDONE.format(unit=service.unit, by="something that comes after it"))
        restarted = service
        restart_service(step, service, START_TIMEOUT_S)
    except StepFailed:
        put_back(step, restarted)
        raise


def leave_to_others(step: Step, service: Service | None, wanted: list[str]) -> None:
    """Leave a Glance alone that this step cannot change, as it takes the formats already.

    :raises StepFailed: with what to do, where it does not
    """
    if step.settings.get("api_accepts"):
        step.note("Glance's API takes docker images already, so this Glance is left as it is")
        return
    told = formats_in_files(step)
    if set(wanted) - set(told):
        by_tool = glance_by_deployer(step)
        raise StepFailed(by_other_means(service, wanted) + (f"; {by_tool}" if by_tool else ""))
    step.facts["container_formats"] = told


def foresee(step: Step, service: Service) -> None:
    """Find out whether the drop-in would take effect.

    :raises StepFailed: when a file is read after it, or its directory is not
    """
    read = asked(step, service)
    place, set_by = Path(DROP_IN).parent, Path(str(read["set_by"] or "/"))
    directories = [Path(name) for name in read["directories"]]
    named = any(word.startswith("--config-dir") for word in service.program)
    if place not in directories and (named or (directories and place.is_dir())):
        raise StepFailed(OUTDONE.format(unit=service.unit, by=f"the directory {directories[-1]}"))
    of_others = set_by.parent == place and set_by.name > Path(DROP_IN).name
    on_command_line = str(set_by) in " ".join(service.program)
    if read["set_by"] and (of_others or on_command_line or not set_by.is_absolute()):
        raise StepFailed(OUTDONE.format(unit=service.unit, by=read["set_by"]))


def by_other_means(service: Service | None, wanted: list[str]) -> str:
    """Return what to do where this step cannot change Glance."""
    setting = f"{','.join(wanted)} to container_formats under [image_format]"
    by_tool = (
        f"add {setting} of its configuration with the tool that deployed it, and have that restart "
        f"it; then repeat (this host's own {CONFIGURATION} is read)"
    )
    if service is None:
        units = ", ".join(GLANCE_UNITS)
        return f"no Glance API unit on this host (looked for {units}), as in containers: {by_tool}"
    if not service.active:
        return f"{service.unit} is {service.state}: start it, then repeat"
    program = Path(service.command[0]).name if service.command else "an unknown program"
    return f"{service.unit} runs {program}, whose Python cannot be told: {by_tool}"


def formats_in_files(step: Step) -> list[str]:
    """Return the formats that this host's files of Glance name, none where they name none."""
    place = step.path(CONFIGURATION)
    names: list[str] = []
    for path in (place, *sorted(place.with_name(f"{place.name}.d").glob("*.conf"))):
        parser = configparser.RawConfigParser(strict=False, allow_no_value=True)
        try:
            parser.read_string(path.read_text() if path.exists() else "")
        except (configparser.Error, ValueError):
            continue
        value = parser.get("image_format", "container_formats", fallback=None)
        names = [name.strip() for name in value.split(",")] if value else names
    return [name for name in names if FORMAT.fullmatch(name)]


def formats(step: Step, service: Service) -> list[Any]:
    """Return the container formats that Glance would accept with the files as they are."""
    accepted = asked(step, service)["formats"]
    strange = [item for item in accepted if not FORMAT.fullmatch(str(item))]
    if strange:
        raise StepFailed(
            f"{service.unit} has a container format that is no plain word ({strange[0]!r}): mend "
            "container_formats under [image_format] in its configuration, then repeat"
        )
    return list(accepted)


def asked(step: Step, service: Service) -> dict[str, Any]:
    """Return what Glance's own Python says of its formats."""
    program = service.program
    name = Path(program[0]).name if program else ""
    arguments = program[1:] if name == "glance-api" else []
    return dict(in_service_python(step, service, glance_formats, name, *arguments))


def undo(step: Step) -> None:
    """Restore the file, and restart Glance when that changed it."""
    step.adopt_files((DROP_IN,), HEADER)
    if not step.to_undo.get("files") and not step.owes("restart"):
        return
    service, owed = find_service(step, GLANCE_UNITS), step.owe("restart")
    due = step.restore_files() or owed
    if due and service is not None and step.will(f"restart {service.unit}"):
        restart_service(step, service, START_TIMEOUT_S)


if __name__ == "__main__":
    run_step("configure_glance", SETTINGS, converge, undo)
