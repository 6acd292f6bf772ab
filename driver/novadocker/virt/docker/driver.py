# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: ARG002 - the arguments are those of Nova
"""The compute driver: Nova's arguments, states and exceptions here, the work elsewhere."""

import os
import platform
import time
from typing import Any

from nova import exception
from nova.compute import task_states
from nova.virt import driver
from nova.virt import event as virtevent
from oslo_log import log as logging
from oslo_utils import units

from novadocker import conf, exceptions
from novadocker.virt.docker.engine import client, containers, events, isolation, readiness, sandbox
from novadocker.virt.docker.face import faults, images, lookups, migration, ports, refusals, rescue
from novadocker.virt.docker.host import resources
from novadocker.virt.docker.images import cache, snapshots, spool, store
from novadocker.virt.docker.instances import contents, life, migrations, rescues
from novadocker.virt.docker.network import tags, waiting, wiring
from novadocker.virt.docker.volumes import brick, mounted

LOG = logging.getLogger(__name__)
CONF = conf.load()

_MANAGED_TRAITS = {resources.TRAIT_DOCKER, resources.TRAIT_QUOTA}


class DockerDriver(
    lookups.Lookups,
    ports.Interfaces,
    migration.Moves,
    rescue.Rescuing,
    images.Imaging,
    refusals.Refusals,
    driver.ComputeDriver,
):
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
        self._volumes = mounted.Volumes(
            mounted.base(CONF.state_path),
            CONF.docker.volume_file_systems,
            brick.Connections(CONF),
            lambda: mounted.remapped_root(self._engine.call("info")),
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
        self._wiring = wiring.Wiring(CONF.docker.tx_checksum)
        self._waiting = waiting.Waiting(virtapi)
        self._disk_quota = False
        self._spool = spool.Spool(
            CONF.docker.image_spool_dir or os.path.join(state, "spool"), self._host
        )
        max_bytes = CONF.docker.max_image_size_gb * units.Gi
        self._images = store.Images(
            self._engine, self._spool, CONF.docker.shared_directory, max_bytes
        )
        self._contents = contents.Contents(CONF.docker, self._images, self._workloads)
        self._cache = cache.ImageCache(self._engine, os.path.join(state, "images.json"))
        self._snapshots = snapshots.Snapshots(
            self._engine,
            self._workloads,
            self._spool,
            max_bytes,
            CONF.docker.snapshot_flatten_layers,
        )
        self._watcher: events.Watcher | None = None

    @property
    def _instances(self) -> life.Instances:
        settings = life.Settings(self._host, CONF.docker.tty, CONF.docker.init, self._disk_quota)
        return life.Instances(settings, self._workloads, self._sandboxes, self._wiring)

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

        def content() -> life.Content:
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
        with faults.translated(instance), self._mounted(instance, block_device_info):
            self._rescues.put_back(instance)
            self._migrations.mend(context, instance)
            self._instances.reboot(instance, network_info or [], timeout_s)

    def power_off(self, instance: Any, timeout: int = 0, retry_interval: int = 0) -> None:
        """Stop an instance."""
        with faults.translated(instance):
            self._instances.stop(instance, self._stop_timeout(timeout))

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
        with faults.translated(instance), self._mounted(instance, block_device_info):
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
        with faults.translated(instance):
            self._instances.pause(instance)

    def unpause(self, instance: Any) -> None:
        """Let an instance go on."""
        with faults.translated(instance):
            self._instances.unpause(instance)

    def soft_delete(self, instance: Any) -> None:
        """Stop an instance that may be restored."""
        self.power_off(instance)

    def restore(self, instance: Any) -> None:
        """Bring a soft-deleted instance back."""
        with faults.translated(instance), self._mounted(instance, self._known(instance)):
            self._instances.start(instance, instance.get_network_info() or [])
