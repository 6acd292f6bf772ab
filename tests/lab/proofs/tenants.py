# SPDX-License-Identifier: Apache-2.0
"""Tenants of the lab's cloud: a project of their own, virtual machines, containers, snapshots."""

from __future__ import annotations

from collections.abc import Mapping

from openstack.compute.v2.server import Server
from openstack.connection import Connection

from lab.hosts.access import Host
from lab.stage.demo import FLAVOR

PROJECT = "tenants"
CONTAINER_COMMAND = 'sh -c "trap exit TERM; while :; do sleep 1; done"'
# What makes an image one for containers, as this bundle publishes them.
MARKS = ("docker_reference", "docker_digest", "img_hv_type")
INSTANCE_LABEL = "org.openstack.nova.uuid"
TIMEOUT_S = 180


class Tenants:
    """A project whose servers stand on hosts that a test names.

    :param admin: a connection as the cloud's administrator, who works in this project too
    """

    def __init__(self, admin: Connection) -> None:
        identity = admin.identity
        project = identity.find_project(PROJECT) or identity.create_project(name=PROJECT)
        user = admin.current_user_id
        for name in ("admin", "member"):
            role = identity.find_role(name, ignore_missing=False)
            identity.assign_project_role_to_user(project, user, role)
        self.cloud: Connection = admin.connect_as_project(project)
        self.project_id = str(project.id)
        self.flavor_id = self.cloud.compute.find_flavor(FLAVOR, ignore_missing=False).id

    def vm_image(self) -> str:
        """Return the id of an image that is for no container."""
        name = "tenants-machine"
        image = self.cloud.image.find_image(name) or self.cloud.image.create_image(
            name, data=b"\0" * 1024, container_format="bare", disk_format="raw", wait=True
        )
        return str(image.id)

    def boot(self, name: str, host: str, image_id: str, *, wait: bool = True) -> Server:
        """Boot a server on a host; return it when it is ACTIVE.

        :param wait: whether to wait for that
        """
        server = self.cloud.compute.create_server(
            name=name,
            image_id=image_id,
            flavor_id=self.flavor_id,
            networks="none",
            availability_zone=f"nova:{host}",
        )
        return self.active(server) if wait else server

    def active(self, server: Server, status: str = "ACTIVE") -> Server:
        """Return a server when it is of a status."""
        return self.cloud.compute.wait_for_server(
            server, status=status, interval=0.5, wait=TIMEOUT_S
        )

    def now(self, server: Server) -> tuple[str, str]:
        """Return a server's status and host, as Nova tells them now."""
        shown = self.cloud.compute.get_server(server.id)
        return str(shown.status), str(shown.compute_host)

    def delete(self, *servers: Server) -> None:
        """Delete servers, and wait until they are gone."""
        for server in servers:
            self.cloud.compute.delete_server(server)
        for server in servers:
            self.cloud.compute.wait_for_delete(server, interval=0.5, wait=TIMEOUT_S)

    def forget(self) -> None:
        """Delete the servers and the images of the project."""
        self.delete(*self.cloud.compute.servers())
        for image in self.cloud.image.images(owner=self.project_id):
            self.cloud.image.delete_image(image)


def containers(host: Host, server_id: str = "") -> Mapping[str, str]:
    """Return when each container that runs on a host was started, by its id.

    Who restarts it, or makes another in its place, changes that.

    :param server_id: of one server, whose containers alone are wanted
    """
    of_server = f"--filter label={INSTANCE_LABEL}={server_id}" if server_id else ""
    script = (
        f"docker ps --quiet --no-trunc {of_server} |"
        " xargs --no-run-if-empty docker inspect --format '{{.Id}} {{.State.StartedAt}}'"
    )
    lines = host.run(["sh", "-c", script]).stdout.splitlines()
    return dict(line.split() for line in lines)
