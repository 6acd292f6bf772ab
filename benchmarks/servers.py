# SPDX-License-Identifier: Apache-2.0
"""Servers that are made to be measured, on the host that is asked for, and deleted again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from openstack.connection import Connection

from lab.errors import LabError
from lab.stage.tempest.facts import container_image

FLAVOR = "benchmark"
IMAGE = "benchmark-container"
NETWORK = "demo"
TIMEOUT_S = 600
POLL_S = 0.1
LOOK_FOR_ERRORS_S = 2.0
# Placement is asked for memory alone: a host has fewer processors and less disk to give away than
# fifty instances of the smallest flavor take, and it is not Placement that is measured.
EXTRA_SPECS = {"resources:VCPU": "0", "resources:DISK_GB": "0"}


class Servers:
    """Makes servers and waits for them.

    :param cloud: a connection as admin, whose project has no quota of instances
    """

    def __init__(self, cloud: Connection) -> None:
        self.cloud = cloud
        self.image_id = container_image(cloud, IMAGE)
        self.network_id = str(cloud.network.find_network(NETWORK, ignore_missing=False).id)
        self.flavor_id = self._flavor_id()

    @contextlib.contextmanager
    def running(
        self, host: str, count: int = 1, *, port: bool = True
    ) -> Iterator[tuple[list[str], float]]:
        """Create servers on a host by one request and wait until all are active.

        The host is forced, so that the scheduler does not look at the image: the fake driver gets
        the same request as Docker's.

        :param port: give each a port of the network; without one it has no network at all
        :return: their IDs, and the seconds from the request to the last one's ACTIVE
        :raises LabError: when one is in error, with its fault
        """
        name = f"bench-{time.monotonic_ns()}"
        began = time.monotonic()
        try:
            self.cloud.compute.create_server(
                name=name,
                image_id=self.image_id,
                flavor_id=self.flavor_id,
                networks=[{"uuid": self.network_id}] if port else "none",
                availability_zone=f"nova:{host}",
                min_count=count,
                max_count=count,
            )
            yield self._wait_active(name, count), time.monotonic() - began
        finally:
            self._delete(name)

    def _wait_active(self, name: str, count: int) -> list[str]:
        deadline = time.monotonic() + TIMEOUT_S
        look_for_errors = time.monotonic() + LOOK_FOR_ERRORS_S
        while time.monotonic() < deadline:
            active = self._listed(name, status="ACTIVE")
            if len(active) == count:
                return active
            if time.monotonic() > look_for_errors:
                self._refuse_errors(name, count)
                look_for_errors = time.monotonic() + LOOK_FOR_ERRORS_S
            time.sleep(POLL_S)
        raise LabError(f"only {len(active)} of {count} servers are ACTIVE after {TIMEOUT_S} s")

    def _refuse_errors(self, name: str, count: int) -> None:
        failed = self._listed(name, status="ERROR")
        if failed:
            server = self.cloud.compute.get_server(failed[0])
            message = (server.fault or {}).get("message")
            raise LabError(f"{len(failed)} of {count} servers are in ERROR, such as: {message}")

    def _listed(self, name: str, **query: str) -> list[str]:
        """List IDs in the cheapest way there is: Nova asks no other service for it."""
        answer = self.cloud.compute.get("/servers", params={"name": f"^{name}", **query})
        if answer.status_code >= 400:
            raise LabError(f"Nova does not list servers: {answer.text}")
        return [record["id"] for record in answer.json()["servers"]]

    def _delete(self, name: str) -> None:
        for server_id in self._listed(name):
            self.cloud.compute.delete_server(server_id)
        deadline = time.monotonic() + TIMEOUT_S
        while self._listed(name):
            if time.monotonic() > deadline:
                raise LabError(f"servers {name} are not deleted after {TIMEOUT_S} s")
            time.sleep(POLL_S * 2)

    def _flavor_id(self) -> str:
        compute: Any = self.cloud.compute
        if compute.find_flavor(FLAVOR) is None:
            compute.create_flavor(id=FLAVOR, name=FLAVOR, ram=64, vcpus=1, disk=1, is_public=False)
            compute.create_flavor_extra_specs(FLAVOR, EXTRA_SPECS)
        return FLAVOR
