# SPDX-License-Identifier: Apache-2.0
"""The cloud that Tempest runs on: what it says of itself, and the images that are made for it."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping

from openstack.connection import Connection

from lab import workflows
from lab.errors import LabError
from lab.tempest.conf import CloudFacts

BASE_IMAGE = "busybox"
# A container lives as long as its command, and Tempest wants some lines in the console log.
COMMAND = (
    'sh -c \'trap "exit 0" TERM; for line in 1 2 3 4 5 6; do echo tempest container, line $line;'
    " done; while :; do sleep 1; done'"
)
# chpasswd(8), by which the driver sets a password, of what Debian's busybox has instead of it.
CHPASSWD = """#!/bin/sh
while IFS=: read -r user password; do
    hash=$(mkpasswd -m sha512 "$password") || exit 1
    sed -i "s|^$user:[^:]*:|$user:$hash:|" /etc/passwd || exit 1
done
"""
DEPLOY_TIMEOUT_S = 900


def convert(cloud: Connection) -> None:
    """Run novadocker.deploy; on a cloud that is converted it changes nothing.

    :raises LabError: with its message when it did not end well
    """
    execution = workflows.start(cloud, "novadocker.deploy")
    execution = workflows.wait(cloud, execution.id, timeout_s=DEPLOY_TIMEOUT_S)
    if execution.state != "SUCCESS":
        raise LabError(f"novadocker.deploy ended in {execution.state}: {execution.message}")


def find_facts(cloud: Connection, env: Mapping[str, str], *, routers: bool) -> CloudFacts:
    """Ask the cloud for what Tempest has to know; make the images that it boots from.

    :param env: the admin's variables, as the controller has them
    :param routers: whether the tests take a router for each network that they make
    """
    hypervisors = list(cloud.compute.hypervisors(details=True))
    docker = [row for row in hypervisors if row.hypervisor_type == "docker"]
    external = next(iter(cloud.network.networks(is_router_external=True)), None)
    shared = next(iter(cloud.network.networks(is_shared=True)), None)
    extensions = tuple(sorted(row.alias for row in cloud.network.extensions()))
    return CloudFacts(
        identity_url=env["OS_AUTH_URL"],
        region=env.get("OS_REGION_NAME", "RegionOne"),
        admin=(env["OS_USERNAME"], env["OS_PASSWORD"], env["OS_PROJECT_NAME"]),
        image_ids=(container_image(cloud, "tempest"), container_image(cloud, "tempest-alt")),
        flavor_ids=_flavor_ids(cloud),
        max_microversion=_max_microversion(cloud),
        docker_hypervisors=len(docker),
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
    found = cloud.image.find_image(name)
    if found and found.status == "active":
        return str(found.id)
    content = cloud.image.download_image(_base_image_id(cloud)).content
    made = cloud.image.create_image(
        name,
        data=with_program(content, "bin/chpasswd", CHPASSWD.encode()),
        container_format="docker",
        disk_format="raw",
        visibility="public",
        img_hv_type="docker",
        os_command_line=COMMAND,
        wait=True,
    )
    return str(made.id)


def with_program(archive: bytes, path: str, program: bytes) -> bytes:
    """Return a docker archive with one more layer, which has a program.

    :param archive: an image, as `docker save` writes it
    :param path: of the program in the image
    """
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:

        def read(name: str) -> bytes:
            member = tar.extractfile(name)
            if member is None:
                raise LabError(f"{name} in the archive of an image is not a file")
            return member.read()

        manifest = json.loads(read("manifest.json"))[0]
        config = json.loads(read(manifest["Config"]))
        layers = [read(name) for name in manifest["Layers"]]
    layers.append(_tar({path: program}, mode=0o755))
    config["rootfs"]["diff_ids"].append(f"sha256:{hashlib.sha256(layers[-1]).hexdigest()}")
    config.pop("history", None)
    text = json.dumps(config).encode()
    members = {f"{hashlib.sha256(text).hexdigest()}.json": text}
    members |= {f"{number}/layer.tar": layer for number, layer in enumerate(layers)}
    config_name, *layer_names = members
    record = {"Config": config_name, "RepoTags": None, "Layers": layer_names}
    return _tar({**members, "manifest.json": json.dumps([record]).encode()}, mode=0o644)


def _tar(members: Mapping[str, bytes], mode: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), mode
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


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
