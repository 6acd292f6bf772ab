# SPDX-License-Identifier: Apache-2.0
"""What an engine has on disk, which not all settings fit."""

from __future__ import annotations

from typing import Any

from library.faults import StepFailed
from library.instances import engine_directory, kept_containers
from library.step import Step
from library.user_namespaces import REMAP


def refuse_what_data_forbid(step: Step, settings: dict[str, Any], changed: dict[str, Any]) -> None:
    """Refuse settings that do not fit what the engine has on disk, which no trial shows."""
    refuse_remap(step, changed)
    place = engine_directory(step)
    if "data-root" in changed and changed["data-root"] != place:
        raise StepFailed(
            f"the engine of this host keeps its data in {place} already, and would lose sight of "
            "them: leave data-root out of the settings, then repeat"
        )
    if settings.get("live-restore") and step.path(f"{place}/swarm/docker-state.json").exists():
        raise StepFailed(
            "the engine of this host is a node of a Docker Swarm, which cannot have "
            '"live-restore": take it out (`docker swarm leave`), or leave the host out'
        )


def refuse_remap(step: Step, changed: dict[str, Any]) -> None:
    """Refuse to give an engine other user namespaces, or none, while it has containers.

    :param changed: the settings that would change
    :raises StepFailed: naming the containers
    """
    names = [kept.name for kept in kept_containers(step)] if REMAP in changed else []
    if names:
        raise StepFailed(
            f"{len(names)} containers are on this host ({', '.join(sorted(names)[:5])}), and the "
            f"engine would lose sight of them by a change of {REMAP}: move instances away, remove "
            f"what is left, or leave {REMAP} out of the settings, then repeat"
        )
    if REMAP in changed:
        step.note(
            f"{REMAP}: the engine takes another directory for its data; images are loaded anew, "
            "and those that it has stay on disk"
        )
