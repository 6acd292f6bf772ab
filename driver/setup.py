# SPDX-License-Identifier: Apache-2.0
"""What pyproject.toml cannot say: a ``.pth`` file goes to the top of the wheel.

At the start of every interpreter of Nova's environment it makes the driver known under the name
that Nova looks for (see ``novadocker/_alias.py``).
"""

from __future__ import annotations

import os

from setuptools import setup
from setuptools.command.build_py import build_py

PTH = "novadocker.pth"


class BuildWithPth(build_py):
    """Build the package with the ``.pth`` file beside it."""

    def run(self) -> None:
        """Build the package, and put the file beside it."""
        super().run()
        self.copy_file(PTH, os.path.join(self.build_lib, PTH), preserve_mode=False)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Return all files that are built."""
        return [*super().get_outputs(include_bytecode), os.path.join(self.build_lib, PTH)]


setup(cmdclass={"build_py": BuildWithPth})
