# SPDX-License-Identifier: Apache-2.0
"""Facts about this host that become known when nova-compute starts."""

from __future__ import annotations

import dataclasses

from novadocker.virt.docker.host.cpus import UNDIVIDED, Processors


@dataclasses.dataclass
class HostFacts:
    """Facts that the parts of the driver share; ``init_host`` completes them.

    :ivar name: what nova-compute calls this host
    :ivar disk_quota: whether root disks are limited to the flavor's size
    :ivar has_cdi: whether the engine gives devices to containers by their names in CDI
    :ivar processors: which of the host's processors are for whom
    """

    name: str
    disk_quota: bool = False
    has_cdi: bool = False
    processors: Processors = UNDIVIDED
