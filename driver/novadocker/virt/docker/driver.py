# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: ARG002 - the arguments are those of Nova
"""The compute driver: Nova's arguments, states and exceptions here, the work elsewhere."""

import contextlib
import os
import platform
import time
from collections.abc import Iterator
from typing import Any

from nova import exception
from nova.compute import power_state, task_states, vm_states
from nova.image import glance
from nova.virt import driver, hardware
from nova.virt import event as virtevent
from oslo_log import log as logging
from oslo_utils import units

from novadocker import conf, exceptions
from novadocker.virt.docker import (
    attachments,
    client,
    connections,
    containers,
    contents,
    diagnostics,
    events,
    guest,
    imagecache,
    images,
    instances,
    isolation,
    migrations,
    network,
    readiness,
    refusals,
    reports,
    rescues,
    resources,
    sandbox,
    snapshots,
    spool,
    tags,
    volumes,
    waiting,
)

LOG = logging.getLogger(__name__)
CONF = conf.load()
IMAGE_API = glance.API()

MAX_CONSOLE_BYTES = 100 * units.Ki
_POWER_STATES = {
    containers.State.RUNNING: power_state.RUNNING,
    containers.State.PAUSED: power_state.PAUSED,
    containers.State.STOPPED: power_state.SHUTDOWN,
}
_MANAGED_TRAITS = {resources.TRAIT_DOCKER, resources.TRAIT_QUOTA}


class DockerDriver(attachments.Attachments, refusals.Refusals, driver.ComputeDriver):
    """Runs each instance as a Docker container."""

    capabilities = {
        **driver.ComputeDriver.capabilities,
        "has_imagecache": True,
        "supports_evacuate": True,
        "supports_migrate_to_same_host": True,
        "supports_attach_interface": True,
        "supports_device_tagging": True,
        "supports_tagged_attach_interface": True,
        "supports_trusted_certs": True,
        "supports_image_type_raw": True,
    }

    def __init__(self, virtapi: Any) -> None:
        super().__init__(virtapi)
        # Nova's generic suite of driver tests reads it; there are no live migrations.
        self.active_migrations: dict[str, Any] = {}
        self._engine = client.Engine.from_conf(CONF)
        self._host = CONF.host
        state = os.path.join(CONF.state_path, "novadocker")
        self._volumes = volumes.Volumes(
            volumes.base(CONF.state_path),
            CONF.docker.volume_file_systems,
            connections.Connections(CONF),
            lambda: volumes.remapped_root(self._engine.call("info")),
        )
        if self._volumes.allowed:
            self.capabilities = {**self.capabilities, "supports_extend_volume": True}
        self._workloads = containers.Containers(
            self._engine,
            self._host,
            isolation.Isolation.from_section(CONF.docker),
            self._volumes.bound,
        )
        self._sandboxes = sandbox.Sandboxes(self._engine)
        self._wiring = network.Wiring(CONF.docker.tx_checksum)
        self._waiting = waiting.Waiting(virtapi)
        self._disk_quota = False
        self._spool = spool.Spool(
            CONF.docker.image_spool_dir or os.path.join(state, "spool"), self._host
        )
        max_bytes = CONF.docker.max_image_size_gb * units.Gi
        self._images = images.Images(
            self._engine, self._spool, CONF.docker.shared_directory, max_bytes
        )
        self._contents = contents.Contents(CONF.docker, self._images, self._workloads)
        self._cache = imagecache.ImageCache(self._engine, os.path.join(state, "images.json"))
        self._snapshots = snapshots.Snapshots(
            self._engine,
            self._workloads,
            self._spool,
            max_bytes,
            CONF.docker.snapshot_flatten_layers,
        )
        self._watcher: events.Watcher | None = None

    @property
    def _instances(self) -> instances.Instances:
        settings = instances.Settings(
            self._host, CONF.docker.tty, CONF.docker.init, self._disk_quota
        )
        return instances.Instances(settings, self._workloads, self._sandboxes, self._wiring)

    @property
    def _rescues(self) -> rescues.Rescues:
        return rescues.Rescues(self._instances, self._workloads)

    @property
    def _migrations(self) -> migrations.Migrations:
        here = {self._host, self.get_host_ip_addr()}
        return migrations.Migrations(
            self._instances,
            self._workloads,
            self._snapshots,
            self._images,
            here.__contains__,
        )

    # The host

    def init_host(self, host: str) -> None:
        """Wait for the engine, prepare it, and begin to follow its events."""
        self._host = self._workloads.host = host
        readiness.require_lxcfs(CONF.docker.lxcfs_path)
        readiness.await_engine(self._engine, host)
        readiness.require_runtime(self._engine.call("info"), CONF.docker.runtime)
        self._sandboxes.ensure_image()
        self._spool.clean()
        self._snapshots.clean()
        self._prepare_volumes()
        try:
            self._wiring.prepare()
        except exceptions.NetworkError as err:
            # Instances without ports work without it.
            LOG.error("Instances will get no network: %s", err)
        self._disk_quota = readiness.disk_quota(self._sandboxes, CONF.docker.disk_quota)
        self._watcher = events.Watcher(self._engine, self._host, self._workloads, self._emit)
        self._watcher.start()

    def cleanup_host(self, host: str) -> None:
        """Stop following events."""
        if self._watcher is not None:
            self._watcher.stop()

    def _emit(self, uuid: str, transition: int) -> None:
        self.emit_event(virtevent.LifecycleEvent(uuid, transition))

    def get_available_nodes(self, refresh: bool = False) -> list[str]:
        """Name the one node: the host, unless the operator says otherwise."""
        return [CONF.docker.node_name or self._host]

    def get_available_resource(self, nodename: str) -> dict[str, Any]:
        """Describe the host for the resource tracker."""
        info = self._engine.call("info")
        root = CONF.docker.root_directory or info["DockerRootDir"]
        return resources.available(info, nodename, root)

    def update_provider_tree(
        self, provider_tree: Any, nodename: str, allocations: Any = None
    ) -> None:
        """Describe the host for Placement; traits of others stay."""
        data = provider_tree.data(nodename)
        reserved = {
            "VCPU": CONF.reserved_host_cpus,
            "MEMORY_MB": CONF.reserved_host_memory_mb,
            "DISK_GB": self._get_reserved_host_disk_gb_from_config(),
        }
        provider_tree.update_inventory(
            nodename,
            resources.inventory(
                self.get_available_resource(nodename),
                self._get_allocation_ratios(data.inventory),
                reserved,
            ),
        )
        ours = resources.traits(self._disk_quota, platform.machine())
        provider_tree.update_traits(nodename, (set(data.traits) - _MANAGED_TRAITS) | ours)

    def get_host_ip_addr(self) -> str:
        """Tell the address of this host for migrations."""
        return str(CONF.my_ip)

    def get_host_uptime(self) -> str:
        """Tell how long the host has been up."""
        return resources.uptime()

    def get_host_cpu_stats(self) -> dict[str, int]:
        """Count what the host's processors did."""
        return resources.cpu_stats()

    # Looking

    def list_instances(self) -> list[str]:
        """List the names of this host's instances; other containers are none of our business."""
        return list(self._workloads.names_by_uuid().values())

    def list_instance_uuids(self) -> list[str]:
        """List the UUIDs of this host's instances."""
        return list(self._workloads.names_by_uuid())

    def get_num_instances(self) -> int:
        """Count this host's instances."""
        return len(self._workloads.names_by_uuid())

    def instance_exists(self, instance: Any) -> bool:
        """Tell whether an instance has a container here."""
        return self._workloads.exists(containers.workload_name(instance.uuid))

    def get_info(self, instance: Any, use_cache: bool = True) -> hardware.InstanceInfo:
        """Tell the power state of an instance."""
        with _translated(instance):
            details = self._workloads.inspect(containers.workload_name(instance.uuid))
        state = containers.state_of(details["State"]["Status"])
        return hardware.InstanceInfo(state=_POWER_STATES[state], internal_id=details["Id"])

    def get_console_output(self, context: Any, instance: Any) -> str:
        """Read the end of what the workload has written."""
        with _translated(instance):
            output = self._workloads.log_tail(
                containers.workload_name(instance.uuid),
                CONF.docker.console_lines,
                MAX_CONSOLE_BYTES,
            )
        return output.decode("utf-8", "replace")

    def get_diagnostics(self, instance: Any) -> dict[str, Any]:
        """Count what an instance used, in the form before microversion 2.48."""
        with _translated(instance):
            return diagnostics.flat(self._counters(instance))

    def get_instance_diagnostics(self, instance: Any) -> Any:
        """Count what an instance used."""
        with _translated(instance):
            return diagnostics.versioned(self._counters(instance), instance)

    def _counters(self, instance: Any) -> diagnostics.Counters:
        name = containers.workload_name(instance.uuid)
        return diagnostics.Counters(
            self._workloads.state(name),
            self._workloads.stats(name),
            self._wiring.devices(self._sandboxes.namespace(containers.sandbox_name(instance.uuid))),
        )

    # Life and death

    def spawn(
        self,
        context: Any,
        instance: Any,
        image_meta: Any,
        injected_files: Any,
        admin_password: str | None,
        allocations: Any,
        network_info: Any = None,
        block_device_info: Any = None,
        power_on: bool = True,
        accel_info: Any = None,
    ) -> None:
        """Make and start an instance."""
        self._refuse_boot(block_device_info)
        started = time.monotonic()
        image = self._contents.image_of_new(context, instance, image_meta)
        with_image = time.monotonic()
        # Not before: Nova waits here until Neutron has allocated the ports.
        ports = network_info or []
        allocated = time.monotonic()

        def content() -> instances.Content:
            # Before the metadata is written, which shows it.
            if ports:
                instance.device_metadata = tags.of_interfaces(context, instance)
            return self._contents.of_new(
                instance, image, image_meta, injected_files or [], admin_password, network_info
            )

        try:
            with self._mounted(instance, block_device_info):
                self._instances.build(
                    instance,
                    content,
                    ports,
                    self._waiting.for_ports(instance, ports, power_on),
                    power_on,
                )
        except exceptions.NetworkError as err:
            LOG.error("%s", err, instance=instance)
            raise exception.VirtualInterfaceCreateException() from err
        except exceptions.ImageRefused as err:
            raise exception.ImageUnacceptable(image_id=image_meta.id, reason=str(err)) from err
        except exceptions.FlavorRefused as err:
            # No other host is tried.
            raise exception.InvalidInput(reason=str(err)) from err
        except exceptions.EngineError as err:
            if err.status == 400 or "OCI runtime" in str(err):
                raise exception.ImageUnacceptable(
                    image_id=image_meta.id, reason=f"its command cannot be started: {err}"
                ) from err
            raise
        if power_on:
            self._inject_password(instance, admin_password)
        LOG.info(
            "Spawned: image %(image).3f s, ports allocated %(ports).3f s, the rest %(rest).3f s",
            {
                "image": with_image - started,
                "ports": allocated - with_image,
                "rest": time.monotonic() - allocated,
            },
            instance=instance,
        )

    def destroy(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        block_device_info: Any = None,
        destroy_disks: bool = True,
        destroy_secrets: bool = True,
    ) -> None:
        """Remove all there is of an instance."""
        try:
            self._instances.destroy(instance, network_info or [])
        finally:
            self._rescues.forget(instance)
            if instance.task_state != task_states.RESIZE_REVERTING:
                self._migrations.confirm(instance)
            self._migrations.forget_left(context, instance)
            self._detach_all(instance, block_device_info, forget=True)

    def cleanup(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        block_device_info: Any = None,
        destroy_disks: bool = True,
        migrate_data: Any = None,
        destroy_vifs: bool = True,
        destroy_secrets: bool = True,
    ) -> None:
        """Remove what is left of an instance that is destroyed."""
        self._instances.destroy(instance, network_info if destroy_vifs and network_info else [])
        self._detach_all(instance, block_device_info, forget=True)

    def reboot(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        reboot_type: str,
        block_device_info: Any = None,
        bad_volumes_callback: Any = None,
        accel_info: Any = None,
        share_info: Any = None,
    ) -> None:
        """Reboot an instance from whatever state, also from that of a crash in a long action."""
        timeout_s = CONF.docker.stop_timeout_cap if reboot_type == "SOFT" else 0
        with _translated(instance), self._mounted(instance, block_device_info):
            self._rescues.put_back(instance)
            self._migrations.mend(context, instance)
            self._instances.reboot(instance, network_info or [], timeout_s)

    def power_off(self, instance: Any, timeout: int = 0, retry_interval: int = 0) -> None:
        """Stop an instance."""
        with _translated(instance):
            self._instances.stop(instance, self._stop_timeout(timeout))

    def _stop_timeout(self, timeout_s: int) -> int:
        return min(timeout_s, int(CONF.docker.stop_timeout_cap))

    def power_on(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        block_device_info: Any = None,
        accel_info: Any = None,
        share_info: Any = None,
    ) -> None:
        """Start an instance."""
        with _translated(instance), self._mounted(instance, block_device_info):
            self._instances.start(instance, network_info or [])

    def resume_state_on_host_boot(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        share_info: Any,
        block_device_info: Any = None,
    ) -> None:
        """Start an instance again that ran when the host went down."""
        self.power_on(context, instance, network_info, block_device_info)

    def pause(self, instance: Any) -> None:
        """Freeze an instance."""
        with _translated(instance):
            self._instances.pause(instance)

    def unpause(self, instance: Any) -> None:
        """Let an instance go on."""
        with _translated(instance):
            self._instances.unpause(instance)

    def soft_delete(self, instance: Any) -> None:
        """Stop an instance that may be restored."""
        self.power_off(instance)

    def restore(self, instance: Any) -> None:
        """Bring a soft-deleted instance back."""
        with _translated(instance), self._mounted(instance, self._known(instance)):
            self._instances.start(instance, instance.get_network_info() or [])

    def rescue(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        image_meta: Any,
        rescue_password: str,
        block_device_info: Any,
        share_info: Any = None,
    ) -> None:
        """Run another image in the place of an instance, with its files below /mnt/rescue."""
        with (
            _translated(instance),
            self._mounted(instance, block_device_info),
            self._set_aside(instance),
        ):
            if not (
                image_meta.obj_attr_is_set("id")
                and self._rescued_by(context, instance, image_meta, network_info or [])
            ):
                content = self._contents.of_own_rescue(instance)
                self._rescues.begin(instance, content, network_info or [])
        self._inject_password(instance, rescue_password)

    def _rescued_by(self, context: Any, instance: Any, image_meta: Any, network_info: Any) -> bool:
        """Rescue an instance by an image, if that is possible.

        Nova would put the instance into ERROR, whatever the fault.
        """
        try:
            content = self._contents.of_rescue(context, instance, image_meta)
            self._rescues.begin(instance, content, network_info)
        except Exception as err:  # noqa: BLE001 - told to the user
            LOG.warning(
                "Image %s does not rescue, the instance's own one is taken: %s",
                image_meta.id,
                err,
                instance=instance,
            )
            fault = exception.ImageUnacceptable(
                image_id=image_meta.id,
                reason=f"the server is rescued by its own image. {err}",
            )
            fault.__cause__ = err
            reports.tell(context, instance, self._host, "compute_rescue_by_image", fault)
            return False
        return True

    def unrescue(self, context: Any, instance: Any) -> None:
        """Run an instance again, with what was mended in it."""
        with _translated(instance), self._mounted(instance, self._known(instance)):
            self._rescues.end(instance, instance.get_network_info() or [])

    def set_admin_password(self, instance: Any, new_pass: str) -> None:
        """Set root's password, where the image has what that takes."""
        argv, environment = guest.password_command(new_pass)
        with _translated(instance):
            code = self._workloads.run(containers.workload_name(instance.uuid), argv, environment)
        if code != 0:
            LOG.warning("chpasswd ended with %d", code, instance=instance)
            raise exception.SetAdminPasswdNotSupported()

    def _inject_password(self, instance: Any, password: str | None) -> None:
        """Set root's password where that is switched on; an image need not be able to."""
        if not password or not CONF.docker.inject_password:
            return
        try:
            self.set_admin_password(instance, password)
        except (exceptions.DriverError, exception.NovaException) as err:
            LOG.warning("The password is not set: %s", err, instance=instance)

    # The network

    def plug_vifs(self, instance: Any, network_info: Any) -> None:
        """Wire the ports of an instance; Nova calls it for each one when it starts."""
        try:
            self._instances.plug(instance, network_info or [])
        except exceptions.DriverError as err:
            # The one exception that does not keep nova-compute from starting.
            raise exception.VirtualInterfacePlugException(str(err)) from err

    def unplug_vifs(self, instance: Any, network_info: Any) -> None:
        """Take away the ports of an instance."""
        try:
            self._instances.unplug(instance, network_info or [])
        except exceptions.DriverError as err:
            raise exception.VirtualInterfaceUnplugException(reason=str(err)) from err

    def attach_interface(self, context: Any, instance: Any, image_meta: Any, vif: Any) -> None:
        """Wire one more port."""
        try:
            self._instances.attach(instance, vif)
            instance.device_metadata = tags.of_interfaces(context, instance)
            instance.save()
        except BaseException as err:
            # Nova forgets the port.
            LOG.error("Port %s is not attached: %s", vif["id"], err, instance=instance)
            self._instances.unplug_dead(instance, [vif])
            if not isinstance(err, Exception):
                raise
            raise exception.InterfaceAttachFailed(instance_uuid=instance.uuid) from err

    def detach_interface(self, context: Any, instance: Any, vif: Any) -> None:
        """Take one port away."""
        try:
            self._instances.unplug(instance, [vif])
        except exceptions.DriverError as err:
            LOG.error("%s", err, instance=instance)
            raise exception.InterfaceDetachFailed(instance_uuid=instance.uuid) from err

    # Moving

    def migrate_disk_and_power_off(
        self,
        context: Any,
        instance: Any,
        dest: str,
        flavor: Any,
        network_info: Any,
        block_device_info: Any = None,
        timeout: int = 0,
        retry_interval: int = 0,
    ) -> str:
        """Stop an instance and put it aside, as it is about to be resized or to move."""
        if self._disk_quota and flavor.root_gb < instance.flavor.root_gb:
            raise exception.InstanceFaultRollback(
                exception.ResizeError(reason="a root disk cannot be made smaller")
            )
        try:
            isolation.check(flavor)
        except exceptions.FlavorRefused as err:
            raise exception.InstanceFaultRollback(exception.ResizeError(reason=str(err))) from err
        with _translated(instance):
            left = self._migrations.leave(
                context, instance, dest, network_info or [], self._stop_timeout(timeout)
            )
        self._detach_all(instance, block_device_info)
        return left

    def finish_migration(
        self,
        context: Any,
        migration: Any,
        instance: Any,
        disk_info: str,
        network_info: Any,
        image_meta: Any,
        resize_instance: bool,
        allocations: Any,
        block_device_info: Any = None,
        power_on: bool = True,
        share_info: Any = None,
    ) -> None:
        """Make an instance that was resized, or has moved here."""
        with _translated(instance), self._mounted(instance, block_device_info):
            self._migrations.arrive(
                context,
                instance,
                disk_info,
                network_info or [],
                self._waiting.for_ports(instance, network_info, power_on),
                power_on,
            )

    def confirm_migration(
        self, context: Any, migration: Any, instance: Any, network_info: Any
    ) -> None:
        """Remove what an instance would have gone back to."""
        self._migrations.confirm(instance)

    def finish_revert_migration(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        migration: Any,
        block_device_info: Any = None,
        power_on: bool = True,
        share_info: Any = None,
    ) -> None:
        """Make an instance again what it was."""
        with _translated(instance), self._mounted(instance, block_device_info):
            self._migrations.go_back(
                instance,
                network_info or [],
                self._waiting.for_ports(instance, network_info, power_on),
                power_on,
            )

    # Images

    def snapshot(self, context: Any, instance: Any, image_id: str, update_task_state: Any) -> None:
        """Store an instance's file system as an image."""
        name = containers.workload_name(instance.uuid)
        if not self._workloads.exists(name):
            raise exception.InstanceNotRunning(instance_id=instance.uuid)
        update_task_state(task_state=task_states.IMAGE_PENDING_UPLOAD)
        # What is an instance's own, and secret: the next one gets another.
        without = set(guest.environment(instance.metadata or {}))
        drive = guest.CONFIG_DRIVE
        try:
            with self._snapshots.open(name, image_id, without, drive) as data:
                update_task_state(
                    task_state=task_states.IMAGE_UPLOADING,
                    expected_state=task_states.IMAGE_PENDING_UPLOAD,
                )
                IMAGE_API.update(
                    context, image_id, snapshots.glance_meta(instance), data, purge_props=False
                )
        except exceptions.ImageRefused as err:
            if shelved_from_active(instance):
                # Nova has stopped it, and does not start it again.
                self.restore(instance)
            raise exception.ImageUnacceptable(image_id=image_id, reason=str(err)) from err

    def cache_image(self, context: Any, image_id: str) -> bool:
        """Fetch an image before it is needed.

        :return: False when it was there already
        """
        _image, fetched = self._images.ensure(context, IMAGE_API.get(context, image_id))
        return fetched

    def manage_image_cache(self, context: Any, all_instances: Any) -> None:
        """Remove images that have been unused for long."""
        section = CONF.image_cache
        self._cache.update(
            all_instances,
            self._host,
            section.remove_unused_base_images,
            section.remove_unused_original_minimum_age_seconds,
        )


def shelved_from_active(instance: Any) -> bool:
    """Tell whether an instance ran when its user asked to shelve it."""
    shelving = instance.task_state == task_states.SHELVING_IMAGE_PENDING_UPLOAD
    return shelving and instance.vm_state == vm_states.ACTIVE


@contextlib.contextmanager
def _translated(instance: Any) -> Iterator[None]:
    """Turn this package's faults into those which Nova expects about an instance."""
    try:
        yield
    except exceptions.NotFound as err:
        raise exception.InstanceNotFound(instance_id=instance.uuid) from err
    except exceptions.NetworkError as err:
        raise exception.VirtualInterfacePlugException(str(err)) from err
