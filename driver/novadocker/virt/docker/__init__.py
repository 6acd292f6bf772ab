# SPDX-License-Identifier: Apache-2.0
"""``compute_driver = novadocker.virt.docker.DockerDriver``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from novadocker.virt.docker.driver import DockerDriver

__all__ = ["DockerDriver"]


def __getattr__(name: str) -> Any:
    """Return the driver's class when Nova asks for it.

    What imports a single wing does not load the face, and Nova's exceptions, with it.
    """
    if name == "DockerDriver":
        from novadocker.virt.docker.driver import DockerDriver

        return DockerDriver
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
