# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: I001 - Nova's test package sets up the process, and is imported first
"""Nova's own suite of driver tests, against this driver and a real Docker Engine.

Nova's tests take NotImplementedError for an answer. Here a list says which methods may not give it.
"""

from __future__ import annotations

import nova.tests.unit  # noqa: F401

import functools
import unittest
import warnings
from typing import Any

import docker
import fixtures
from nova import exception, test
from nova.tests.unit.virt import test_virt_drivers

from novadocker import _alias, conf
from tests.functional.driver import busybox, openvswitch, own_engine, privileges

_alias.install()

HOST = "novadocker-test-generic"
IMAGE_ID = "cedef40a-ed67-4d10-800e-17455edce175"

# What Nova's support matrix asks of a complete driver, and this one claims to do.
STRICT = (
    "attach_interface",
    "cache_image",
    "cleanup",
    "confirm_migration",
    "destroy",
    "detach_interface",
    "finish_migration",
    "finish_revert_migration",
    "get_available_nodes",
    "get_available_resource",
    "get_console_output",
    "get_diagnostics",
    "get_host_cpu_stats",
    "get_host_ip_addr",
    "get_host_uptime",
    "get_info",
    "get_instance_diagnostics",
    "get_num_instances",
    "init_host",
    "instance_exists",
    "list_instance_uuids",
    "list_instances",
    "manage_image_cache",
    "migrate_disk_and_power_off",
    "pause",
    "plug_vifs",
    "power_off",
    "power_on",
    "reboot",
    "restore",
    "rescue",
    "resume_state_on_host_boot",
    "set_admin_password",
    "snapshot",
    "soft_delete",
    "spawn",
    "unpause",
    "unrescue",
    "unplug_vifs",
    "update_provider_tree",
)


def setUpModule() -> None:
    # The ports of Nova's test network go into a real switch, and privileges are those of this
    # process.
    entered = openvswitch.running("br0")
    entered.__enter__()
    unittest.addModuleCleanup(entered.__exit__, None, None, None)
    unittest.addModuleCleanup(print, f"figures: {len(STRICT)} methods that have to be there")


class DockerDriverTestCase(test_virt_drivers._VirtDriverTestCase, test.TestCase):
    """The suite."""

    REQUIRES_LOCKING = True
    archive: bytes

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.archive = busybox.image()

    def setUp(self) -> None:
        self.driver_module = "nova.virt.novadocker.virt.docker.DockerDriver"
        self.flags(host=HOST)
        conf.load()
        self.flags(host_url=own_engine.given_url(), group="docker")
        self.flags(state_path=self.useFixture(fixtures.TempDir()).path)
        self.addCleanup(self._remove_containers)
        super().setUp()
        # Nova's tests make errors of warnings; this one is between Nova and SQLAlchemy 2.1.
        warnings.filterwarnings("ignore", message="The noload")
        self.stub_out("oslo_privsep.daemon.RootwrapClientChannel", privileges.CHANNEL)
        for group, command in privileges.helper_commands().items():
            self.flags(helper_command=command, group=group)
        for image in self.image_service.images.values():
            image.update(container_format="docker", disk_format="raw", checksum="0" * 32)
        self.stub_out("nova.virt.images.fetch", self._fetch)
        self._be_strict()

    def _fetch(self, context: Any, image_href: str, path: str, trusted_certs: Any = None) -> None:
        with open(path, "wb") as out:
            out.write(self.archive)

    def _be_strict(self) -> None:
        for name in STRICT:
            setattr(self.connection, name, self._strict(getattr(self.connection, name)))

    def _strict(self, method: Any) -> Any:
        @functools.wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return method(*args, **kwargs)
            except NotImplementedError as err:
                raise AssertionError(f"{method.__name__} is not implemented") from err

        return call

    def _remove_containers(self) -> None:
        engine = docker.from_env()
        for container in engine.containers.list(
            all=True, filters={"label": f"org.openstack.nova.host={HOST}"}
        ):
            container.remove(force=True)

    def test_init_host(self) -> None:
        super().test_init_host()
        self.connection.cleanup_host(HOST)

    def test_set_admin_password(self) -> None:
        # The image has no chpasswd, and says so in the way that Nova knows.
        self.assertRaises(exception.SetAdminPasswdNotSupported, super().test_set_admin_password)

    def test_live_migration(self) -> None:
        # Refused, as containers are not migrated live.
        self.assertRaises(NotImplementedError, super().test_live_migration)

    def test_every_strict_method_is_the_drivers_own(self) -> None:
        base = test_virt_drivers.importutils.import_class("nova.virt.driver.ComputeDriver")
        ours = type(self.connection)
        inherited = [name for name in STRICT if getattr(ours, name) is getattr(base, name)]
        self.assertEqual([], inherited)


def load_tests(loader: Any, tests: Any, pattern: Any) -> Any:
    """Take the suite above only, not those of Nova's that are imported."""
    return loader.loadTestsFromTestCase(DockerDriverTestCase)


if __name__ == "__main__":
    unittest.main(verbosity=2)
