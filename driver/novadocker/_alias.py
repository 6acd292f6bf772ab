# SPDX-License-Identifier: Apache-2.0
"""Make this package importable as ``nova.virt.novadocker``.

Nova looks for a compute driver below ``nova.virt`` and nowhere else, since ``nova.virt`` stopped
being a namespace package (2025.1) and since full module paths stopped being tried (Newton).
``compute_driver = novadocker.virt.docker.DockerDriver`` is therefore imported as
``nova.virt.novadocker.virt.docker``. The finder below answers that name with the module of the real
name, the *same object*: the privsep daemon looks privileged functions up by their real name.

The wheel's ``novadocker.pth`` calls :func:`install` at the start of every interpreter, so that this
module may import only what every interpreter has imported already.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

ALIAS = "nova.virt.novadocker"
REAL = "novadocker"


class AliasFinder:
    """Finder and loader of ``nova.virt.novadocker`` and its submodules."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002 - the import protocol's
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """Return a spec for the alias and its submodules; None leaves a name to the next finder."""
        if fullname == ALIAS or fullname.startswith(ALIAS + "."):
            return ModuleSpec(fullname, self)  # type: ignore[arg-type]
        return None

    def create_module(self, spec: ModuleSpec) -> None:
        """Return None: the import system makes an empty module, which is replaced below."""

    def exec_module(self, module: ModuleType) -> None:
        """Put the real module in the place of the one being imported."""
        alias = module.__name__
        sys.modules[alias] = importlib.import_module(REAL + alias[len(ALIAS) :])


def install() -> None:
    """Add the finder before all others. Idempotent.

    ``nova.virt.novadocker`` in ``sys.modules`` *is* ``novadocker``: a path finder that comes first
    would load its submodules a second time, under a second name.
    """
    if not any(isinstance(finder, AliasFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, AliasFinder())


def installed() -> bool:
    """Return whether Nova can find the driver in this interpreter."""
    return any(isinstance(finder, AliasFinder) for finder in sys.meta_path)
