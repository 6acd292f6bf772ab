# SPDX-License-Identifier: Apache-2.0
"""Keep wheels on this host that came beside the package of steps: the driver's, and what it needs.

The operator brings them over SSH. What is installed of them later is seen to be what the operator
has signed.
"""

from __future__ import annotations

from library import wheels
from library.faults import StepFailed
from library.outcome import run_step
from library.package import BROUGHT, own_package
from library.step import Step

SETTINGS = {
    "type": "object",
    "description": "The wheels, which lie in the folder brought beside the package of steps.",
    "additionalProperties": False,
    "required": ["wheels", "driver"],
    "properties": {
        "wheels": {
            "type": "object",
            "description": "SHA-256 by the name of the file.",
            "additionalProperties": {"type": "string"},
        },
        "driver": {
            "type": "string",
            "description": "SHA-256 of the one that is the driver.",
            "pattern": "^[0-9a-f]{64}$",
        },
    },
}


def converge(step: Step) -> None:
    """Have every wheel on this host, and the driver's be the one for all who name none."""
    source = own_package().parent / BROUGHT
    for name, sha256 in sorted(step.settings["wheels"].items()):
        if not wheels.FILE_NAME.fullmatch(name):
            raise StepFailed(f"wheels.{name}: is not the name of a wheel's file")
        path = wheels.folder_of(step.root, sha256) / name
        if path.exists() and wheels.is_content(path.read_bytes(), sha256):
            continue
        data = (source / name).read_bytes()
        wheels.require_content(data, sha256, name)
        if step.will(f"keep {name}, SHA-256 {sha256[:16]}"):
            wheels.put(step.root, name, data)
    driver = step.settings["driver"]
    if not wheels.is_current(step.root, driver) and step.will(f"have {driver[:16]} be the driver"):
        wheels.make_current(step.root, driver)


if __name__ == "__main__":
    run_step("bring_wheels", SETTINGS, converge)
