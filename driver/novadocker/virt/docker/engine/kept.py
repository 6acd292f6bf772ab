# SPDX-License-Identifier: Apache-2.0
"""Images that containers of instances are made anew from, of the instances' own files.

Each time that an instance is made anew it has one layer more, and the engine has a limit: its files
become a single layer long before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oslo_log import log as logging

from novadocker import exceptions
from novadocker.virt.docker.engine import client, names
from novadocker.virt.docker.engine.containers import Containers

LOG = logging.getLogger(__name__)

# The tag is the instance's UUID.
REPOSITORY = "nova-docker/instance"
# What an image tells of its containers, as arguments of the engine.
_FROM_CONFIG = {
    "command": "Cmd",
    "entrypoint": "Entrypoint",
    "environment": "Env",
    "user": "User",
    "working_dir": "WorkingDir",
    "stop_signal": "StopSignal",
    "labels": "Labels",
}


class Kept:
    """Makes, finds and removes these images.

    :param flatten_layers: number of layers of a container's image from which on they become one
    """

    def __init__(self, engine: client.Engine, workloads: Containers, flatten_layers: int) -> None:
        self._engine = engine
        self._workloads = workloads
        self._flatten_layers = flatten_layers

    def keep(self, name: str, uuid: str) -> str:
        """Make the image that a container of an instance is recreated from.

        :return: id of the image
        :raises ImageRefused: there is no space for it
        """
        # An image that a crash has left unused would lose its name, and stay.
        self.forget(uuid)
        details = self._workloads.inspect(name)
        layers = self._engine.call("inspect_image", details["Image"])["RootFS"].get("Layers") or []
        if len(layers) >= self._flatten_layers:
            return self._flattened(name, uuid, details["Config"])
        # The instance may be nowhere else: it is not refused for the reserve.
        return self._workloads.commit(name, REPOSITORY, uuid, reserve_bytes=0)

    def find(self, uuid: str) -> str:
        """Return the id of the image that an instance was last recreated from.

        :raises NotFound: the instance never was recreated
        """
        return str(self._engine.call("inspect_image", f"{REPOSITORY}:{uuid}")["Id"])

    def forget(self, uuid: str) -> None:
        """Remove the images that an instance was recreated from, if there are any.

        The engine refuses to remove an image that a container uses. Where an instance was recreated
        several times, only the last image has the name; the others are found by their label, which
        an image of a tenant's may have as well: those have names of their own.
        """
        ours = f"{REPOSITORY}:{uuid}"
        # It may have come from Glance, without labels.
        self._remove(ours)
        for image in self._engine.call("images", filters={"label": f"{names.LABEL}uuid={uuid}"}):
            tags = [tag for tag in image.get("RepoTags") or [] if tag != "<none>:<none>"]
            if not tags:
                self._remove(image["Id"])
            for tag in tags:
                if tag.startswith(ours):
                    self._remove(tag)

    def _flattened(self, name: str, uuid: str, config: Mapping[str, Any]) -> str:
        """Make an image of one layer, and one above it that tells what the container's does."""
        LOG.info("Making one layer of all layers of %s", name)
        flat, helper = f"{uuid}-flat", f"{name}-flat"
        label = f"LABEL {names.LABEL}uuid={uuid}"
        with (
            self._workloads.frozen(name),
            self._workloads.room.reserve(name, whole=True, reserve_bytes=0),
        ):
            self._engine.call(
                "import_image_from_data",
                self._workloads.export(name),
                repository=REPOSITORY,
                tag=flat,
                changes=[label],
                patient=True,
            )
        arguments = {key: config[field] for key, field in _FROM_CONFIG.items() if config.get(field)}
        self._workloads.remove(helper)
        self._engine.call(
            "create_container",
            f"{REPOSITORY}:{flat}",
            name=helper,
            volumes=list(config.get("Volumes") or ()),
            **arguments,
        )
        try:
            made = self._engine.call("commit", helper, repository=REPOSITORY, tag=uuid)
        finally:
            self._workloads.remove(helper)
        self._remove(f"{REPOSITORY}:{flat}")
        return str(made["Id"])

    def _remove(self, image: str) -> None:
        try:
            self._engine.call("remove_image", image)
        except exceptions.NotFound:
            return
        except exceptions.Conflict as err:
            LOG.debug("The image %s stays: %s", image, err)
