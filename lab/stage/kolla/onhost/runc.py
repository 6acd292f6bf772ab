#!/usr/bin/python3 -IS
# SPDX-License-Identifier: Apache-2.0
"""Give a privileged container what this host has, where the engine asks for all there is.

In front of the engine's own runc, in whose place it is found first. A host of the lab has neither
all capabilities nor any limit on open files, and containers that want these would not start.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RUNC = "/usr/sbin/runc"
# Written by the lab: the host's capabilities, a name a line.
GRANTED = Path("/usr/local/lib/ndlab/capabilities")


def trim(process: dict[str, Any], granted: frozenset[str]) -> None:
    """Take from a process what it cannot be given."""
    for kind, names in process.get("capabilities", {}).items():
        process["capabilities"][kind] = [name for name in names if name in granted]
    for limit in process.get("rlimits", ()):
        _, most = resource.getrlimit(getattr(resource, limit["type"]))
        if most != resource.RLIM_INFINITY:
            limit["hard"], limit["soft"] = min(limit["hard"], most), min(limit["soft"], most)


def described(arguments: Sequence[str]) -> Path | None:
    """Return the file that describes a process to be started, if one is."""
    for option, name in (("--bundle", "config.json"), ("--process", "")):
        if option in arguments:
            return Path(arguments[arguments.index(option) + 1], name)
    return None


def main(arguments: Sequence[str]) -> None:
    """Become runc."""
    path = described(arguments)
    if path is not None:
        record = json.loads(path.read_text())
        trim(record.get("process", record), frozenset(GRANTED.read_text().split()))
        path.write_text(json.dumps(record))
    os.execv(RUNC, [RUNC, *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
