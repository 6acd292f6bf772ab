# SPDX-License-Identifier: Apache-2.0
"""Resize and cold migration, on one host and between hosts.

A resize on one host changes the limits of the container that there is, which is stopped meanwhile:
it keeps its files, its sandbox and its ports, nothing is copied, and a revert changes the limits
back. Nova's flavor is all that there is to remember: wherever a crash cuts it short, the next start
gives the container the limits of the flavor that the instance has.

Otherwise, and where the container has to be another one (a root disk of another size, privileges,
options that have changed), the old container is kept, stopped and renamed, until the user confirms.
The new one is made from its file system: directly by the engine on the same host, through a
temporary image in Glance on another one.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

from nova import exception
from oslo_log import log as logging

from novadocker import exceptions
from novadocker.types import Context, Flavor, Instance, NetworkInfo
from novadocker.virt.docker.engine import containers, names
from novadocker.virt.docker.engine.containers import Containers
from novadocker.virt.docker.engine.kept import REPOSITORY as KEPT
from novadocker.virt.docker.engine.kept import Kept
from novadocker.virt.docker.images.snapshots import Snapshots, glance_meta
from novadocker.virt.docker.images.store import EngineImage, Images
from novadocker.virt.docker.instances import guest
from novadocker.virt.docker.instances.contents import Content
from novadocker.virt.docker.instances.life import Instances
from novadocker.virt.docker.instances.networks import Networks
from novadocker.virt.docker.network.waiting import PortsWait

LOG = logging.getLogger(__name__)


class Migrations:
    """Resizes and migrates instances.

    :param glance: Nova's client of Glance
    :param is_here: returns whether an address or a name is this host's
    """

    def __init__(
        self,
        instances: Instances,
        networks: Networks,
        workloads: Containers,
        kept: Kept,
        snapshots: Snapshots,
        images: Images,
        glance: Any,
        is_here: Callable[[str], bool],
    ) -> None:
        self._instances = instances
        self._networks = networks
        self._workloads = workloads
        self._kept = kept
        self._snapshots = snapshots
        self._images = images
        self._glance = glance
        self._is_here = is_here

    def leave(
        self,
        context: Context,
        instance: Instance,
        dest: str,
        flavor: Flavor,
        network_info: NetworkInfo,
        timeout_s: int,
        volumes: contextlib.AbstractContextManager[None],
    ) -> str:
        """Stop an instance, and put its container aside unless that stays.

        :param dest: name or address of the host that it goes to
        :param flavor: flavor that it is to have
        :param timeout_s: seconds that the workload has to end by itself
        :param volumes: takes its volumes out, and puts them back where it does not leave
        :return: what :meth:`arrive` needs to know, as JSON
        :raises NotMoved: the instance could not leave, and runs on if it ran
        :raises HostUnfit: it is to stay on this host, which cannot do what the flavor asks for
        """
        name, kept = (
            names.workload_name(instance.uuid),
            names.resized_name(instance.uuid),
        )
        if self._is_here(dest):
            self._workloads.throttling.check(flavor)
        details = self._workloads.inspect(name)
        was = containers.state_of(details["State"]["Status"])
        image_id = None
        try:
            if self._workloads.remove(kept):
                LOG.warning("Removed the left-over container %s", kept, instance=instance)
            stays = self._is_here(dest) and self._instances.can_become(instance, flavor)
            self._instances.stop(instance, timeout_s)
            with volumes:
                if not stays:
                    # Before it is put aside: there is no way back from where it does not fit.
                    self._workloads.room.require(name)
                    if not self._is_here(dest):
                        image_id = self._upload(context, instance, name)
                    self._workloads.rename(name, kept)
                    self._networks.remove(instance, network_info, quiet=True)
        except Exception as err:
            self._stay(instance, network_info, was)
            raise exceptions.NotMoved(str(err)) from err
        environment = names.environment_label(details)
        devices = names.devices_label(details)
        left = {"image_id": image_id, "stays": stays, "environment": environment}
        return json.dumps({**left, "devices": devices})

    def _stay(self, instance: Instance, network_info: NetworkInfo, was: containers.State) -> None:
        """Start an instance again that could not leave, if it ran."""
        try:
            if was is not containers.State.STOPPED:
                self._instances.start(instance, network_info)
        except exceptions.DriverError as err:
            LOG.error("It stays, and is stopped: %s", err, instance=instance)

    def arrive(
        self,
        context: Context,
        instance: Instance,
        disk_info: str,
        network_info: NetworkInfo,
        wait: PortsWait,
        power_on: bool,
    ) -> None:
        """Make an instance that has left another host, or this one with another flavor.

        :param disk_info: what :meth:`leave` returned
        :raises DriverError: the instance could not be made; nothing is left of it here, but what it
            was before a resize on this host
        """
        left = json.loads(disk_info)
        image_id = left["image_id"]
        # Another release's nova-compute has said nothing of it.
        if left.get("stays"):
            self._instances.become(instance, network_info, power_on)
            return
        if image_id is None:
            kept = names.resized_name(instance.uuid)
            self._instances.adopt(instance, kept, network_info, wait, power_on)
            return
        image = self._fetch(context, instance, image_id)
        # Command and environment are in the image.
        content = Content(
            image=image.id,
            image_id=instance.image_ref or "",
            environment=guest.taken_back(left.get("devices", "")),
            own_environment=left.get("environment", ""),
            health_check=image.config.get("Healthcheck"),
        )
        self._instances.build(instance, lambda: content, network_info, wait, power_on)
        self._forget(context, instance, image_id)

    def mend(self, context: Context, instance: Instance) -> None:
        """Complete a migration that a crash cut short, before the instance is rebooted.

        Where nothing of an arriving instance is left, its temporary image is fetched, from which
        the reboot then makes the instance. The image is deleted from Glance.
        """
        for image_id in self._left(context, instance):
            if not self._is_there(instance):
                LOG.warning("Fetching the image that it was to arrive by", instance=instance)
                self._fetch(context, instance, image_id)
            self._forget(context, instance, image_id)

    def forget_left(self, context: Context, instance: Instance) -> None:
        """Delete the temporary image of a failed migration from Glance."""
        if instance.obj_attr_is_set("system_metadata"):
            for image_id in self._left(context, instance):
                self._forget(context, instance, image_id)

    def _is_there(self, instance: Instance) -> bool:
        wanted = {names.workload_name(instance.uuid), *names.aside_names(instance.uuid)}
        if wanted & self._workloads.names_of(instance.uuid):
            return True
        try:
            self._kept.find(instance.uuid)
        except exceptions.NotFound:
            return False
        return True

    def _fetch(self, context: Context, instance: Instance, image_id: str) -> EngineImage:
        # Named after the instance, so that it is removed with the instance.
        return self._images.ensure_for_one(
            context, self._glance.get(context, image_id), f"{KEPT}:{instance.uuid}"
        )

    def confirm(self, instance: Instance) -> None:
        """Remove what a revert would need; where the instance has left this host, everything."""
        self._workloads.remove(names.resized_name(instance.uuid))
        if not self._workloads.exists(names.workload_name(instance.uuid)):
            self._kept.forget(instance.uuid)

    def go_back(
        self, instance: Instance, network_info: NetworkInfo, wait: PortsWait, power_on: bool
    ) -> None:
        """Make the former instance again; the new one is destroyed already, unless it stayed.

        Nova calls this also when nova-compute starts after it was killed while an instance left. An
        instance that was not put aside has its former limits again, and is started.
        """
        kept = names.resized_name(instance.uuid)
        if self._workloads.exists(kept):
            self._instances.adopt(instance, kept, network_info, wait, power_on)
            self._workloads.remove(kept)
        else:
            self._instances.become(instance, network_info, power_on)

    def is_put_aside(self, instance: Instance) -> bool:
        """Return whether there is a container here that an instance goes back to."""
        return self._workloads.exists(names.resized_name(instance.uuid))

    def _upload(self, context: Context, instance: Instance, name: str) -> str:
        self.forget_left(context, instance)
        meta = {
            **glance_meta(instance),
            "name": _temporary_name(instance),
            "visibility": "private",
        }
        with self._snapshots.open(name, f"migration-{instance.uuid}", {}) as data:
            created = self._glance.create(context, meta)
            try:
                self._glance.update(context, created["id"], {}, data, purge_props=False)
            except Exception:
                with contextlib.suppress(exception.NovaException):
                    self._glance.delete(context, created["id"])
                raise
        return str(created["id"])

    def _left(self, context: Context, instance: Instance) -> list[str]:
        """Return the ids of an instance's temporary images in Glance.

        Anybody may give an image such a name: images of other projects are ignored.
        """
        if "old_vm_state" not in instance.system_metadata:
            # For Nova, the instance is not being migrated.
            return []
        try:
            named = list(self._glance.get_all(context, filters={"name": _temporary_name(instance)}))
        except Exception as err:  # noqa: BLE001 - of Nova, of Glance's and Keystone's clients
            LOG.warning("Glance was not asked for what a move has left: %s", err, instance=instance)
            return []
        owners = {instance.project_id, context.project_id}
        return [image["id"] for image in named if image.get("owner") in owners]

    def _forget(self, context: Context, instance: Instance, image_id: str) -> None:
        try:
            self._glance.delete(context, image_id)
        except exception.NovaException as err:
            LOG.warning(
                "The temporary image %s of a migration is left: %s",
                image_id,
                err,
                instance=instance,
            )


def _temporary_name(instance: Instance) -> str:
    return f"{instance.uuid}-migration"
