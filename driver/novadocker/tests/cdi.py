# SPDX-License-Identifier: Apache-2.0
"""CDI specifications for tests, of devices that do no harm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

KIND = "test.example/thing"
CLASS = "CUSTOM_CDI_TEST_EXAMPLE_THING"
# Each host has them.
ZERO, FULL, RANDOM = "/dev/zero", "/dev/full", "/dev/random"


def device(name: str, *nodes: str, **edits: Any) -> dict[str, Any]:
    """Make a device of a specification.

    :param nodes: paths of device nodes
    """
    told = {"deviceNodes": [{"path": path} for path in nodes], **edits}
    return {"name": name, "containerEdits": {key: edit for key, edit in told.items() if edit}}


def specification(*devices: Any, **more: Any) -> str:
    """Make a specification."""
    return json.dumps({"cdiVersion": "0.5.0", "kind": KIND, "devices": list(devices), **more})


def write(directory: Path, *devices: Any, name: str = "thing.json", **more: Any) -> Path:
    """Write a specification."""
    directory.mkdir(exist_ok=True)
    path = directory / name
    # Another file, and not another content of the same one.
    draft = directory / f"{name}.new"
    draft.write_text(specification(*devices, **more))
    draft.rename(path)
    return path
