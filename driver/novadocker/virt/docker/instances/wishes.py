# SPDX-License-Identifier: Apache-2.0
"""What a flavor asks for an instance by an extra spec, or else its image by a property."""

from __future__ import annotations

from novadocker.types import Instance

CONSOLE = "docker:console"
CONSOLES = ("shell", "workload", "none")


def wish(instance: Instance, name: str) -> str | None:
    """Return what is asked for by a name; the flavor has precedence.

    :return: None where neither asks for anything
    """
    specs = instance.flavor.get("extra_specs", {}) or {}
    if name in specs:
        return str(specs[name])
    # Nova keeps the properties of the image there.
    of_image = (instance.system_metadata or {}).get(f"image_{name}")
    return None if of_image is None else str(of_image)


def console(instance: Instance, has_terminal: bool) -> str:
    """Return which console an instance has, one of :data:`CONSOLES`.

    What nobody knows is none: whoever asked may have meant to close it.

    :param has_terminal: whether its workload has a terminal
    """
    asked = wish(instance, CONSOLE)
    if asked is None:
        return "workload" if has_terminal else "shell"
    if asked not in CONSOLES:
        return "none"
    return "shell" if asked == "workload" and not has_terminal else asked
