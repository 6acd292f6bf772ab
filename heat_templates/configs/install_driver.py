# SPDX-License-Identifier: Apache-2.0
"""Install the Docker driver into Nova's own Python environment, changing no other package in it."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from typing import Any

from library.faults import StepFailed
from library.instances import refuse_if_instances
from library.outcome import run_step
from library.probes import inventory
from library.services import Service, in_service_python, nova_service, restart_service
from library.step import Step

SETTINGS = {
    "type": "object",
    "description": "The driver's distribution in Nova's environment.",
    "additionalProperties": False,
    "properties": {
        "requirement": {
            "type": "string",
            "description": "What pip is asked for, from the index that the host is set up for.",
            "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*( ?(===?|~=|!=|<=?|>=?) ?[A-Za-z0-9.*+!-]+,?)*$",
            "default": "nova-docker",
        },
        "upgrade": {
            "type": "boolean",
            "description": "Whether to go to the newest version where one is installed.",
            "default": False,
        },
    },
}

#: A version as PEP 440 has it.
VERSION = re.compile(
    r"v?(?:\d+!)?\d+(?:\.\d+)*(?:[-_.]?(?:alpha|a|beta|b|preview|pre|c|rc)[-_.]?\d*)?"
    r"(?:-\d+|[-_.]?(?:post|rev|r)[-_.]?\d*)?(?:[-_.]?dev[-_.]?\d*)?"
    r"(?:\+[a-z0-9]+(?:[-_.][a-z0-9]+)*)?",
    re.IGNORECASE,
)


def converge(step: Step) -> None:
    """Make the environment satisfy the requirement."""
    step.facts["disturbs"] = False
    service = nova_service(step)
    environment = in_service_python(step, service, inventory)
    before = environment["packages"]
    name = re.sub(r"[-_.]+", "-", re.split(r"[ <>=~!]", step.settings["requirement"])[0]).lower()
    step.facts.update(python=service.python, virtual_environment=environment["virtual"])
    bare = step.settings["requirement"].lower().replace("_", "-") == name
    if name in before and bare and not step.settings["upgrade"]:
        step.facts["driver_version"] = before[name]
        return
    pip = pip_command(step, service, environment)
    wanted = plan(step, pip, name, before)
    shown = ", ".join(f"{item} {version}" for item, version in sorted(wanted.items()))
    if name in before and name in wanted and service.active:
        step.disturb(f"{service.unit} may have the driver loaded that is replaced")
    if wanted and step.will(f"install {shown} into the environment of {service.python}"):
        record(step, name, wanted, before, service.python)
        install(step, pip, name, wanted, before)
        after = in_service_python(step, service, inventory)["packages"]
        refuse_differences(before, after, {*wanted})
        step.facts["driver_version"] = after.get(name)
    else:
        step.facts["driver_version"] = wanted.get(name, before.get(name))


def pip_command(step: Step, service: Service, environment: dict[str, Any]) -> list[str]:
    """Return the pip to use for Nova's Python: its own, else another one told to work for it."""
    own = [service.python, "-m", "pip"]
    others = [[sys.executable, "-m", "pip"], ["/usr/bin/python3", "-m", "pip"]]
    for command in (own, *others):
        try:
            text = step.run([*command, "--version"], ok=(0,)).stdout
        except StepFailed:
            continue
        told = re.match(r"pip (\d+)\.(\d+)", text)
        version = (int(told.group(1)), int(told.group(2))) if told else (0, 0)
        if version < (22, 3):
            continue
        chosen = command if command == own else [*command, "--python", service.python]
        pip = [*chosen, "--disable-pip-version-check", "--no-input"]
        step.facts["pip"] = " ".join(command)
        return [
            *pip,
            "install",
            *(["--break-system-packages"] if managed(environment, version) else []),
        ]
    raise StepFailed(
        f"no pip of at least 22.3 works for {service.python}: install one on the host "
        "(python3-pip, or `python -m ensurepip` in Nova's environment), then repeat"
    )


def managed(environment: dict[str, Any], version: tuple[int, int]) -> bool:
    """Tell whether a distribution's Python has to be told that additions are meant.

    They go below /usr/local, beside the distribution's own packages, and never replace one.
    """
    return bool(environment["managed"]) and not environment["virtual"] and version >= (23, 0)


def constraints(before: dict[str, str], name: str) -> str:
    """Return pip constraints that hold every package but the driver where it is.

    A distribution's own packages may have versions that pip does not take for one: it would refuse
    all of the constraints. That these stay as they are is seen by what pip plans, and afterwards.
    """
    return "".join(
        f"{item}=={version}\n"
        for item, version in sorted(before.items())
        if item != name and VERSION.fullmatch(version)
    )


def run_pip(step: Step, pip: list[str], held: str, arguments: list[str]) -> str:
    """Run pip under constraints and return what it printed.

    :raises StepFailed: with what pip said, naming the likely remedy
    """
    with tempfile.NamedTemporaryFile("w", prefix="novadocker-", suffix=".txt") as file:
        file.write(held)
        file.flush()
        try:
            return step.run([*pip, "--constraint", file.name, *arguments]).stdout
        except StepFailed as err:
            raise StepFailed(
                f"{err} (the environment's own packages are held where they are; the host's pip "
                "configuration decides where packages come from)"
            ) from err


def plan(step: Step, pip: list[str], name: str, before: dict[str, str]) -> dict[str, str]:
    """Return which packages pip would put in, at which versions.

    :raises StepFailed: when one that is there would change
    """
    arguments = ["--dry-run", "--quiet", "--report", "-", step.settings["requirement"]]
    if step.mode == "check":
        arguments.append("--no-cache-dir")
    if step.settings["upgrade"]:
        arguments.append("--upgrade")
    text = run_pip(step, pip, constraints(before, name), arguments)
    report = json.loads(text[text.index("{") :])
    wanted = {
        re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower(): item["metadata"]["version"]
        for item in report["install"]
    }
    refuse_differences(before, {**before, **wanted}, {name} | (set(wanted) - set(before)))
    return wanted


def refuse_differences(before: dict[str, str], after: dict[str, str], allowed: set[str]) -> None:
    """Raise when a package that is not allowed to differs."""
    changed = [
        f"{name} {before.get(name, 'absent')} -> {after.get(name, 'absent')}"
        for name in sorted({*before, *after} - allowed)
        if before.get(name) != after.get(name)
    ]
    if changed:
        raise StepFailed(
            "the driver would change other packages of Nova's environment "
            f"({'; '.join(changed[:8])}): choose a driver version that fits this release"
        )


def record(
    step: Step, name: str, wanted: dict[str, str], before: dict[str, str], python: str
) -> None:
    """Record what is new, and which version of the driver was there first."""
    for level in (step.record, step.journal):
        new = level.setdefault("installed", [])
        new.extend(item for item in sorted(wanted) if item not in before and item not in new)
        if name in before and name not in new:
            level.setdefault("replaced", {}).setdefault(name, before[name])
    step.remember("python", python)


def install(
    step: Step, pip: list[str], name: str, wanted: dict[str, str], before: dict[str, str]
) -> None:
    """Install exactly what was planned."""
    exact = [f"{item}=={version}" for item, version in sorted(wanted.items())]
    run_pip(step, pip, constraints(before, name), ["--quiet", "--no-deps", *exact])


def undo(step: Step) -> None:
    """Take out what was put in; put the version back that was there before."""
    step.require_record()
    installed = step.to_undo.get("installed", [])
    replaced = step.to_undo.get("replaced", {})
    if not installed and not replaced:
        return
    if installed and not replaced:
        # Another version of the driver, without what this one brought, manages them as well.
        refuse_if_instances(step)
    service = nova_service(step)
    environment = in_service_python(step, service, inventory)
    there = [item for item in installed if item in environment["packages"]]
    pip = pip_command(step, service, environment)
    if there and step.will(
        f"uninstall {', '.join(there)} from the environment of {service.python}"
    ):
        position = pip.index("install")
        step.run([*pip[:position], "uninstall", "--yes", *pip[position + 1 :], *there])
    for name, version in replaced.items():
        if environment["packages"].get(name) != version and step.will(f"put back {name} {version}"):
            run_pip(step, pip, "", ["--quiet", "--no-deps", f"{name}=={version}"])
            reload_driver(step, service)


def reload_driver(step: Step, service: Service) -> None:
    """Restart nova-compute where it runs: it may have loaded the version that is gone now."""
    if step.mode == "roll_back" and service.active and step.will(f"restart {service.unit}"):
        restart_service(step, service)


if __name__ == "__main__":
    run_step("install_driver", SETTINGS, converge, undo)
