# SPDX-License-Identifier: Apache-2.0
"""``compute_driver = novadocker.virt.docker.DockerDriver``."""

from novadocker.virt.docker.driver import DockerDriver

__all__ = ["DockerDriver"]
