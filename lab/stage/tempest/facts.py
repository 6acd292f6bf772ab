# SPDX-License-Identifier: Apache-2.0
"""The cloud that Tempest runs on: what it says of itself, and the images that are made for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from openstack.connection import Connection

from lab.errors import LabError
from lab.hosts.access import Host
from lab.stage.tempest import guest
from lab.stage.tempest.conf import CloudFacts
from novadocker_client.connection import Cloud
from novadocker_client.runs import SUCCESS, Runs

BASE_IMAGE = "busybox"
DEPLOY_TIMEOUT_S = 900


def convert(cloud: Connection) -> None:
    """Run novadocker.deploy; on a cloud that is converted it changes nothing.

    :raises LabError: with its message when it did not end well
    """
    runs = Runs(Cloud(cloud))
    run = runs.wait(runs.start("deploy").id, timeout_s=DEPLOY_TIMEOUT_S)
    if run.state != SUCCESS:
        raise LabError(f"novadocker.deploy ended as {run.outcome}: {run.message}")


def find_facts(
    cloud: Connection, env: Mapping[str, str], controller: Host, *, routers: bool
) -> CloudFacts:
    """Return what Tempest has to know of the cloud; make the images that it boots from.

    They have an SSH server where Tempest can reach them: where there is an external network.

    :param env: the admin's variables, as the controller has them
    :param controller: where the SSH server comes from
    :param routers: whether the tests take a router for each network that they make
    """
    hypervisors = list(cloud.compute.hypervisors(details=True))
    docker = [row for row in hypervisors if row.hypervisor_type == "docker"]
    external = next(iter(cloud.network.networks(is_router_external=True)), None)
    shared = next(iter(cloud.network.networks(is_shared=True)), None)
    extensions = tuple(sorted(row.alias for row in cloud.network.extensions()))

    def image(name: str) -> str:
        return guest_image(cloud, name, controller) if external else container_image(cloud, name)

    return CloudFacts(
        identity_url=env["OS_AUTH_URL"],
        region=env.get("OS_REGION_NAME", "RegionOne"),
        admin=(env["OS_USERNAME"], env["OS_PASSWORD"], env["OS_PROJECT_NAME"]),
        image_ids=(image("tempest"), image("tempest-alt")),
        flavor_ids=_flavor_ids(cloud),
        max_microversion=_max_microversion(cloud),
        docker_hosts=tuple(sorted(row.service_details["host"] for row in docker)),
        other_hosts=tuple(row.name for row in hypervisors if row.hypervisor_type != "docker"),
        network_extensions=extensions,
        public_network=(external.id, external.name) if external else None,
        shared_network=shared.name if shared else None,
        own_networks="router" in extensions or not routers,
    )


def container_image(cloud: Connection, name: str) -> str:
    """Return the ID of a public image whose containers stay up; make it where it is missing.

    :raises LabError: when there is no docker image to make it from
    """
    return _image(cloud, name, guest.IDLE_COMMAND, guest.IDLE_SCRIPTS, dict)


def guest_image(cloud: Connection, name: str, controller: Host) -> str:
    """Return the ID of a public image whose containers Tempest can log in to, by SSH.

    :param controller: where the SSH server comes from
    :raises LabError: when there is no docker image to make it from, or no SSH server
    """
    return _image(cloud, name, guest.COMMAND, guest.SCRIPTS, lambda: guest.server(controller))


def _image(
    cloud: Connection,
    name: str,
    command: str,
    scripts: Mapping[str, str],
    programs: Callable[[], dict[str, bytes]],
) -> str:
    contents = guest.digest(command, scripts)
    image = cloud.image.find_image(name)
    if image:
        if image.status == "active" and (image.properties or {}).get("lab_contents") == contents:
            return str(image.id)
        cloud.image.delete_image(image.id)
    base = cloud.image.download_image(_base_image_id(cloud)).content
    files = programs() | {path: text.encode() for path, text in scripts.items()}
    made = cloud.image.create_image(
        name,
        data=guest.with_layer(base, files, guest.DIRECTORIES),
        container_format="docker",
        disk_format="raw",
        visibility="public",
        img_hv_type="docker",
        os_command_line=command,
        wait=True,
        lab_contents=contents,
    )
    return str(made.id)


def _flavor_ids(cloud: Connection) -> tuple[str, str]:
    flavors = sorted(cloud.compute.flavors(), key=lambda flavor: (flavor.ram, flavor.disk))
    smallest = flavors[0] if flavors else None
    larger = (row for row in flavors if smallest and row.ram > smallest.ram)
    alternative = next(larger, None)
    if smallest is None or alternative is None:
        raise LabError("Tempest needs two flavors of different memory: make another one")
    return str(smallest.id), str(alternative.id)


def _max_microversion(cloud: Connection) -> str:
    data = cloud.compute.get_endpoint_data()
    if data is None or data.max_microversion is None:
        raise LabError("the compute API does not tell its versions")
    major, minor = data.max_microversion
    return f"{major}.{minor}"


def _base_image_id(cloud: Connection) -> str:
    for image in cloud.image.images(container_format="docker", status="active"):
        if image.name.partition(":")[0].rpartition("/")[2] == BASE_IMAGE:
            return str(image.id)
    raise LabError(
        f"Glance has no docker image named {BASE_IMAGE}: run novadocker.deploy or"
        " novadocker.preload_images first"
    )
