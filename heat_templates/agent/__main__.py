#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The package of host steps as a program: `novadocker-host.pyz STEP`, with the step's inputs.

Inputs come as environment variables (``mode``, ``settings``, ``timeout_s``, ``run_id``), as the
hook ``script`` of heat-agents gives them; outputs go to files named ``$heat_outputs_path.<name>``.
"""

import runpy
import sys


def main(argv: list[str]) -> int:
    """Run the step that the first argument names; return the exit code."""
    runpy.run_module(f"configs.{argv[1]}", run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
