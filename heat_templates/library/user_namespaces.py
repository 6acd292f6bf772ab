# SPDX-License-Identifier: Apache-2.0
"""The user whose ranges the engine takes for its user namespaces, where it makes one itself."""

from __future__ import annotations

import pwd
from typing import Any

from library.engine_unit import engine_command, engine_flag, engine_flags
from library.step import ANY_CODE, Step

REMAP = "userns-remap"
# Made for "default", with ranges of users and groups for the engine's containers.
REMAP_USER = "dockremap"


def remember_remap_user(step: Step, changed: dict[str, Any]) -> None:
    """Record, before the engine makes its user, whether it was there."""
    if REMAP in changed:
        step.remember("remap_user_was_there", remap_user_exists())


def remove_remap_user(step: Step, settings: dict[str, Any]) -> None:
    """Remove the engine's user and its ranges, unless it was there before or is used by now.

    :param settings: what the engine's configuration file holds now
    """
    if step.to_undo.get("remap_user_was_there", True) or not remap_user_exists():
        return
    if REMAP in settings or engine_flag(engine_flags(engine_command(step)), REMAP):
        step.note(f"the user {REMAP_USER} stays, as the engine is set to use it")
    elif step.will(f"remove the user {REMAP_USER}"):
        # It takes the user's group and ranges along, where the host's login.defs says so.
        step.run(["userdel", REMAP_USER])
        step.run(["groupdel", REMAP_USER], ok=ANY_CODE)


def remap_user_exists() -> bool:
    """Return whether there is the user that the engine makes."""
    try:
        pwd.getpwnam(REMAP_USER)
    except KeyError:
        return False
    return True
