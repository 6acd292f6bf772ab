# SPDX-License-Identifier: Apache-2.0
"""What is around the agent's program on a host: the configs that Heat wants, and Heat's answers."""

from __future__ import annotations

import json
import pathlib
from typing import Any


def answer(
    folder: pathlib.Path, response: str = "Response <Response [200]>", code: int = 0
) -> None:
    """Make heat-config-notify log this answer of Heat's; what it got is in the file ``told``."""
    notify = folder / "home/bin/heat-config-notify"
    notify.write_text(f"#!/bin/sh\ncat >> {folder}/told\necho '{response}' >&2\nexit {code}\n")
    notify.chmod(0o755)


def want(folder: pathlib.Path, *configs: dict) -> None:
    (folder / "run").mkdir(exist_ok=True)
    (folder / "run/heat-config").write_text(json.dumps(configs))


def config(identity: str = "one", **more: Any) -> dict:
    inputs = [{"name": "mode", "type": "String", "value": "check"}]
    return {"id": identity, "group": "script", "inputs": inputs, **more}
