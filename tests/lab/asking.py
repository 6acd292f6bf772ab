# SPDX-License-Identifier: Apache-2.0
"""What containers of tests run that are to show whether the network is there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from openstack.compute.v2.server import Server
from openstack.connection import Connection

from lab.stage.demo import FLAVOR, NETWORK, address
from lab.stage.tempest import facts as tempest_cloud

# Asks its peer for ever, and says what came of it.
ASK = (
    'sh -c "trap exit TERM; while :; do'
    ' test -n \\"$PEER\\" && ping -c 1 -W 1 $PEER >/dev/null && echo answered || echo silent;'
    ' sleep 1; done"'
)
TIMEOUT_S = 240


@contextlib.contextmanager
def pair(cloud: Connection, asked: str, asking: str) -> Iterator[tuple[Server, Server]]:
    """Have a server on one host, and one on another that asks it for ever; both go afterwards.

    :param asked: host of the first
    :param asking: host of the second, whose console tells what came of it
    """
    compute = cloud.compute
    image = cloud.image.update_image(
        tempest_cloud.container_image(cloud, "asking"), os_command_line=ASK
    )
    flavor = compute.find_flavor(FLAVOR, ignore_missing=False)
    network = cloud.network.find_network(NETWORK, ignore_missing=False)
    servers: list[Server] = []
    for host in (asked, asking):
        server = compute.create_server(
            name=f"on-{host}",
            image_id=image.id,
            flavor_id=flavor.id,
            networks=[{"uuid": network.id}],
            availability_zone=f"nova:{host}",
            metadata={"PEER": address(servers[0])} if servers else {},
        )
        servers.append(compute.wait_for_server(server, interval=0.5, wait=TIMEOUT_S))
    yield servers[0], servers[1]
    for server in servers:
        compute.delete_server(server)
        compute.wait_for_delete(server, interval=0.5, wait=TIMEOUT_S)
    cloud.image.delete_image(image)
