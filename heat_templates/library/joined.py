#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A host step: the modules of the library, and after them the step, joined into one text.

A host gets nothing but this text, so it uses the standard library of Python 3.9 alone. Inputs come
as environment variables from the hook ``script`` of heat-agents (``mode``, ``settings``,
``timeout_s``, ``run_id``); outputs go to files named ``$heat_outputs_path.<name>``.

All modules share one namespace here, in which no name is defined twice, and are found under their
names by whoever imports from them. Apart from each other, in tests, they are ordinary modules.
"""

from __future__ import annotations

import sys

#: The modules that follow, each after those that it imports.
MODULES = (
    "faults",
    "settings",
    "files",
    "records",
    "changes",
    "step",
    "probes",
    "services",
    "engine",
    "engine_unit",
    "instances",
    "daemon_settings",
    "engine_network",
    "scratch_engine",
    "apt_locks",
    "packages",
    "registry_accounts",
    "registries",
    "watchdog",
    "outcome",
)

if __name__ == "__main__":
    for _name in MODULES:
        sys.modules[f"library.{_name}"] = sys.modules[__name__]
