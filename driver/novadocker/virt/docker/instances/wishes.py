# SPDX-License-Identifier: Apache-2.0
"""What is asked for an instance: by its flavor or image, and by its own metadata."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from oslo_log import log as logging

from novadocker import exceptions
from novadocker.types import Instance
from novadocker.virt.docker.engine import restarts

LOG = logging.getLogger(__name__)

COMMAND = "docker:command"
ENTRY_POINT = "docker:entrypoint"
CONSOLE = "docker:console"
CONSOLES = ("shell", "workload", "none")
RESTART = "docker:restart"
SHARES = "docker:shares"
_SHARES = {"ro": True, "rw": False}


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


def words(server_metadata: Mapping[str, str], name: str) -> list[str] | None:
    """Return the words that a server's metadata has by a name: of a command or an entry point.

    :param server_metadata: the server's own, which its owner sets
    :param name: :data:`COMMAND` or :data:`ENTRY_POINT`
    :return: None where it has none by that name; one that is empty is an empty word
    :raises ImageRefused: it is neither words as a shell splits them nor a JSON list of texts
    """
    text = server_metadata.get(name)
    if text is None:
        return None
    try:
        split = json.loads(text) if text.lstrip().startswith("[") else shlex.split(text)
    except ValueError as err:
        raise exceptions.ImageRefused(
            f"the server's metadata {name} cannot be split into arguments: {err}"
        ) from err
    if not all(isinstance(word, str) and "\0" not in word for word in split):
        raise exceptions.ImageRefused(f"the server's metadata {name} is no list of texts")
    return split or [""]


def restart(instance: Instance) -> Mapping[str, Any]:
    """Return the engine's restart policy for an instance that is to run.

    What nobody knows is none: :func:`check` refuses it for new instances.
    """
    try:
        return restarts.policy(wish(instance, RESTART) or "no")
    except ValueError as err:
        LOG.warning("It is not started again when it ends: %s", err, instance=instance)
        return restarts.NO


def has_read_only_shares(instance: Instance) -> bool:
    """Return whether an instance may only read its shares.

    What nobody knows is so, too: whoever asked may have meant it.
    """
    return _SHARES.get(wish(instance, SHARES) or "rw", True)


def check(instance: Instance) -> None:
    """Check what is asked for a new instance.

    :raises FlavorRefused, ImageRefused: who asks for what there is not
    """
    try:
        restarts.policy(wish(instance, RESTART) or "no")
    except ValueError as err:
        if RESTART in (instance.flavor.get("extra_specs", {}) or {}):
            raise exceptions.FlavorRefused(f"{RESTART} of the flavor: {err}") from None
        raise exceptions.ImageRefused(f"its {RESTART}: {err}") from None
