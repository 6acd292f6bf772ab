#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The package of host steps as a program.

* ``STEP`` runs one step, with its inputs as environment variables (``mode``, ``settings``,
  ``timeout_s``, ``run_id``), as the hook ``script`` of heat-agents gives them; its outputs go to
  files named ``$heat_outputs_path.<name>``.
* ``message`` is the hook ``novadocker`` of heat-agents: a signed message, which names steps.
* ``refuse``, ``notify CONFIG``, ``hook NAME`` and ``settle`` are what is around the hooks.
* ``progress FILE`` tells Heat how far a message has come, with what that file says.
* ``digest`` tells which package this is, after all of it was read by this host's Python.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

from agent import outcomes, progress
from library import inbox, package

FOLDERS = ("agent", "configs", "library")
AGENT = ("refuse", "notify", "hook", "settle")


def main(argv: list[str]) -> int:
    """Do what the first argument says; return the exit code."""
    verbs: dict[str, Callable[[], int]] = {"message": message, "digest": digest}
    verb = argv[1]
    if verb in verbs:
        return verbs[verb]()
    if verb == "progress":
        return progress.main(Path(argv[2]))
    if verb in AGENT:
        return outcomes.main(argv)
    runpy.run_module(f"configs.{verb}", run_name="__main__")
    return 0


def message() -> int:
    """Answer a config of Heat, as a hook of heat-agents does."""
    root = Path(os.environ.get("NOVADOCKER_ROOT", "/"))
    outputs = inbox.answer(json.load(sys.stdin), package.own_package(), root)
    reason = json.loads(outputs["report"]).get("reason") or ""
    ok = outputs["deploy_result"] == "ok"
    told = {"deploy_stdout": "", "deploy_stderr": reason, "deploy_status_code": 0 if ok else 1}
    print(json.dumps({**outputs, **told}))
    return 0


def digest() -> int:
    """Import every module, and print the digest of this package."""
    for folder in map(importlib.import_module, FOLDERS):
        for module in pkgutil.iter_modules(folder.__path__, f"{folder.__name__}."):
            importlib.import_module(module.name)
    print(package.digest_of(package.own_package()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
