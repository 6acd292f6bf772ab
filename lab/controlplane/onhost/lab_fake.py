# SPDX-License-Identifier: Apache-2.0
"""Nova's fake driver as the stand-in for the hypervisor of a host that is still to be converted.

It is put beside Nova's own drivers, since ``compute_driver`` is looked for in ``nova.virt`` only.
"""

from __future__ import annotations

from typing import Any

from nova.compute import power_state
from nova.virt import driver, fake
from oslo_concurrency import processutils


class LabFakeDriver(fake.MediumFakeDriver):
    """A fake hypervisor that may be restarted and replaced.

    Nova's own makes node ids up at each start and writes no ``compute_id``; Nova then refuses to
    start a second time, or with another driver, under the same host name.
    """

    def get_available_resource(self, nodename: str) -> dict[str, Any]:
        """Return the resources without an id: Nova fills in the one that is kept on disk."""
        resources: dict[str, Any] = super().get_available_resource(nodename)
        resources.pop("uuid", None)
        return resources

    def get_nodenames_by_uuid(self, refresh: bool = False) -> dict[str, str]:
        """Return the node by the id that is kept on disk."""
        nodes: dict[str, str] = driver.ComputeDriver.get_nodenames_by_uuid(self, refresh)
        return nodes

    def get_host_uptime(self) -> str:
        """Return what uptime(1) says; without it each look at the hypervisor logs a traceback."""
        out, _ = processutils.execute("uptime")
        return str(out)

    def resume_state_on_host_boot(self, _context: Any, instance: Any, *_: Any, **__: Any) -> None:
        """Know an instance of an earlier process again."""
        self.instances[instance.uuid] = fake.FakeInstance(
            instance.name, power_state.RUNNING, instance.uuid
        )
