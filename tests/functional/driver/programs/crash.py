# SPDX-License-Identifier: Apache-2.0
"""Crashes of nova-compute, Docker and the host. Run it in its own network namespace."""

from __future__ import annotations

import contextlib
import functools
import gc
import itertools
import json
import os
import shutil
import signal
import tempfile
import time
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.functional.driver import nova_process  # isort: skip - before anything of Nova's

import os_vif
from nova import context
from nova.network import model
from nova.virt import fake
from pyroute2 import IPRoute
from vif_plug_ovs import privsep as ovs_privsep

from novadocker import privsep
from novadocker.tests import archives
from novadocker.virt.docker import driver
from novadocker.virt.docker.parts import Parts
from tests.functional.driver import busybox, openvswitch, own_engine
from tests.functional.driver.killing import at_step, die, in_child
from tests.functional.driver.programs import network

HOST = "novadocker-test-crash"
MOVING = "99999999-2222-4333-8444-555555555555"
CONTEXT = context.get_admin_context()
STEPS: dict[str, int] = {}
switch: openvswitch.Switch
engine: own_engine.OwnEngine


def setUpModule() -> None:
    global switch, engine  # noqa: PLW0603
    # Here, and not in each process that is to be killed.
    assert driver
    unittest.addModuleCleanup(
        lambda: print(f"figures: {', '.join(f'{what} at {n} steps' for what, n in STEPS.items())}")
    )
    entered = contextlib.ExitStack()
    unittest.addModuleCleanup(entered.close)
    switch = entered.enter_context(openvswitch.running("br-int"))
    engine = entered.enter_context(own_engine.running())
    nova_process.set_up(HOST, host_url=engine.url, stop_timeout_cap=0)
    os_vif.initialize()
    for privileges in (privsep.ctx, privsep.volumes_ctx, ovs_privsep.vif_plug):
        # Each step is a process of its own that ends soon: helpers would only cost time.
        privileges.set_client_mode(False)
    nova_process.serve_image(busybox.image())
    # Whatever a collection touches each child would have to copy.
    gc.collect()
    gc.freeze()


class CrashTestCase(unittest.TestCase):
    """An instance, and what could be left of it."""

    def setUp(self) -> None:
        self.instance = nova_process.instance()
        self.info = model.NetworkInfo([network.port(1, network.v4(11))])
        self.addCleanup(in_child, self._clean)
        self.assertEqual(0, in_child(lambda: self.started().init_host(HOST)))
        self.before = self.left()

    def started(self) -> Any:
        """Start nova-compute's driver."""
        return nova_process.load_driver()

    def left(self) -> Any:
        """List all that could be left of an instance."""
        docker = engine.client()
        with IPRoute() as ipr:
            links = sorted(link.get_attr("IFLA_IFNAME") for link in ipr.get_links())
        images = sorted(
            str(image.tags)
            for image in docker.images.list()
            if not any(tag.startswith("nova-glance/") for tag in image.tags)
        )
        return {
            "containers": sorted(container.name for container in docker.containers.list(all=True)),
            "links": links,
            "ports": switch.ports("br-int"),
            "namespaces": engine.namespaces(),
            "images": images,
        }

    def spawn(self, driver: Any) -> None:
        driver.spawn(
            CONTEXT, self.instance, nova_process.image_meta(), [("/x", b"x")], None, {}, self.info
        )

    def _clean(self) -> None:
        self.started().destroy(CONTEXT, self.instance, self.info)

    def recover(self) -> None:
        """Do what Nova does with an instance when it starts again, and the user deletes it."""
        driver = self.started()
        driver.init_host(HOST)
        driver.plug_vifs(self.instance, self.info)
        driver.destroy(CONTEXT, self.instance, self.info)
        driver.cleanup_host(HOST)

    def heal(self, action: Callable[[Any], None]) -> None:
        """Do what Nova does when it starts again, then something; the instance is whole."""
        driver = self.started()
        driver.init_host(HOST)
        driver.plug_vifs(self.instance, self.info)
        action(driver)
        assert driver.get_info(self.instance).state == 1
        driver.cleanup_host(HOST)
        box = engine.client().containers.get(f"nova-{self.instance.uuid}")
        told = box.exec_run(["sh", "-c", "cat /x; ip -4 addr"]).output
        assert told.startswith(b"x"), told
        assert b"198.51.100.11/24" in told, told

    def at_every_step(
        self,
        what: str,
        prepare: Callable[[], None],
        work: Callable[[Any], None],
        heal: Callable[[Any], None] | None = None,
        docker: bool = False,
    ) -> None:
        """Kill nova-compute at each step of a work; after a new start, nothing is left of it.

        :param heal: what brings the instance back to what it was before the work
        :param docker: kill the engine, and not nova-compute
        """
        for step in itertools.count(1):
            self.assertLess(step, 100)
            with self.subTest(step=step):
                self.assertEqual(0, in_child(prepare))

                def until_killed(step: int = step) -> None:
                    driver = self.started()
                    at_step(step, engine.kill if docker else die, only_engine=docker)
                    work(driver)

                ended = in_child(until_killed)
                if docker:
                    engine.kill()
                    engine.start()
                else:
                    self.assertIn(ended, (0, -signal.SIGKILL))
                    # What the engine was asked for it does, whoever is dead.
                    time.sleep(0.3)
                if heal is not None:
                    self.assertEqual(0, in_child(functools.partial(self.heal, heal)))
                self.assertEqual(0, in_child(self.recover))
                self.assertEqual(self.before, self.left())
            if ended == 0:
                self.assertGreater(step, 4)
                STEPS[what] = step - 1
                return

    def spawned(self) -> None:
        self.spawn(self.started())

    def destroy(self, driver: Any) -> None:
        driver.destroy(CONTEXT, self.instance, self.info)

    def leave_anew(self, driver: Any) -> str:
        """Leave to be made anew: the options are others than when it was made."""
        nova_process.CONF.set_override("log_max_files", 7, group="docker")
        return self.leave(self.started())

    def leave(self, driver: Any) -> str:
        left: str = driver.migrate_disk_and_power_off(
            CONTEXT, self.instance, HOST, self.instance.flavor, self.info
        )
        return left

    def reboot(self, driver: Any) -> None:
        driver.reboot(CONTEXT, self.instance, self.info, "HARD")

    def rescue(self, driver: Any) -> None:
        driver.rescue(
            CONTEXT, self.instance, self.info, nova_process.image_meta(), "secret", None, None
        )


class LeakTest(CrashTestCase):
    """What is left after a crash and a new start."""

    def test_nova_compute_killed_while_it_spawns(self) -> None:
        self.at_every_step("spawn", lambda: None, self.spawn)

    def test_nova_compute_killed_while_it_destroys(self) -> None:
        self.at_every_step("destroy", self.spawned, self.destroy)

    def test_docker_killed_while_nova_compute_spawns(self) -> None:
        self.at_every_step("Docker in spawn", lambda: None, self.spawn, docker=True)

    def test_docker_killed_while_nova_compute_destroys(self) -> None:
        self.at_every_step("Docker in destroy", self.spawned, self.destroy, docker=True)

    def test_nova_compute_killed_while_it_resizes(self) -> None:
        def resize(driver: Any) -> None:
            left = self.leave(driver)
            driver.finish_migration(CONTEXT, None, self.instance, left, self.info, None, False, {})
            driver.confirm_migration(CONTEXT, None, self.instance, self.info)

        self.at_every_step("resize", self.spawned, resize)

    def test_nova_compute_killed_while_it_makes_a_resized_one_anew(self) -> None:
        def resize(driver: Any) -> None:
            left = self.leave_anew(driver)
            driver.finish_migration(CONTEXT, None, self.instance, left, self.info, None, False, {})
            driver.confirm_migration(CONTEXT, None, self.instance, self.info)

        self.at_every_step("resize anew", self.spawned, resize)

    def test_nova_compute_killed_while_it_destroys_a_resized_and_rescued_one(self) -> None:
        def prepare() -> None:
            driver = self.started()
            self.spawn(driver)
            left = self.leave(driver)
            driver.finish_migration(CONTEXT, None, self.instance, left, self.info, None, False, {})
            driver.confirm_migration(CONTEXT, None, self.instance, self.info)
            self.rescue(driver)

        self.at_every_step("destroy of a rescued one", prepare, self.destroy)

    def test_nova_compute_killed_while_it_takes_a_snapshot(self) -> None:
        def snapshot(driver: Any) -> None:
            with driver.parts.snapshots.open(f"nova-{self.instance.uuid}", "snap", set()) as data:
                while data.read(1 << 20):
                    pass
            driver.get_info(self.instance)

        self.at_every_step("snapshot", self.spawned, snapshot, lambda _driver: None)


class Glance:
    """Holds the one image by which an instance moves, for all processes.

    :ivar path: is there as long as the image is
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="novadocker-glance-")) / "image"

    def get(self, _context: Any, image_id: str) -> dict[str, Any]:
        meta = {"container_format": "docker", "disk_format": "raw", "checksum": None, "size": 1}
        return {"id": image_id, "owner": None, **meta}

    def get_all(self, context: Any, filters: dict[str, str]) -> list[dict[str, Any]]:
        return [self.get(context, MOVING)] if self.path.exists() else []

    def delete(self, _context: Any, _image_id: str) -> None:
        self.path.unlink()


class ArrivalTest(CrashTestCase):
    """What becomes of an instance that was about to arrive at this host."""

    def setUp(self) -> None:
        self.glance = Glance()
        self.addCleanup(shutil.rmtree, self.glance.path.parent)
        # It had a file of its own where it came from.
        layers = [busybox.root_layer(), archives.tar(("x", b"x"))]
        config = {"config": {"Cmd": ["sh"], "Env": ["PATH=/bin"]}}
        nova_process.serve_image(archives.Parts(layers=layers, config=config).docker())
        super().setUp()
        self.instance.system_metadata = {"old_vm_state": "active"}

    def started(self) -> Any:
        virtapi = fake.FakeVirtAPI()
        parts = Parts.assemble(nova_process.CONF, virtapi, glance=self.glance)
        return driver.DockerDriver(virtapi, parts)

    def left(self) -> Any:
        tags = [tag for image in engine.client().images.list() for tag in image.tags]
        return {**super().left(), "moving": [tag for tag in tags if MOVING in tag]}

    def arrive(self, driver: Any) -> None:
        info = json.dumps({"image_id": MOVING})
        driver.finish_migration(CONTEXT, None, self.instance, info, self.info, None, False, {})

    def test_nothing_is_left_of_it_when_it_is_deleted(self) -> None:
        self.at_every_step("arrival", self.glance.path.touch, self.arrive)

    def test_a_reboot_completes_it(self) -> None:
        def reboot(driver: Any) -> None:
            driver.reboot(CONTEXT, self.instance, self.info, "HARD")
            assert not self.glance.path.exists()

        self.at_every_step("arrival", self.glance.path.touch, self.arrive, reboot)


class RescueTest(CrashTestCase):
    """What becomes of an instance that is repaired."""

    def test_an_instance_that_was_about_to_be_rescued_is_what_it_was(self) -> None:
        self.at_every_step("rescue", self.spawned, self.rescue, self.reboot)

    def test_an_instance_that_was_about_to_be_unrescued_is_what_it_was(self) -> None:
        def prepare() -> None:
            driver = self.started()
            self.spawn(driver)
            self.rescue(driver)

        self.at_every_step(
            "unrescue",
            prepare,
            lambda driver: driver.unrescue(CONTEXT, self.instance),
            self.reboot,
        )


class LossTest(CrashTestCase):
    """What becomes of an instance."""

    def test_an_instance_that_was_about_to_be_resized_is_what_it_was(self) -> None:
        self.at_every_step(
            "leaving",
            self.spawned,
            self.leave,
            # What Nova does when it starts and finds an instance that was leaving.
            lambda driver: driver.finish_revert_migration(
                CONTEXT, self.instance, self.info, None, None, True
            ),
        )

    def test_an_instance_that_was_about_to_be_made_anew_is_what_it_was(self) -> None:
        self.at_every_step(
            "leaving to be made anew",
            self.spawned,
            self.leave_anew,
            lambda driver: driver.finish_revert_migration(
                CONTEXT, self.instance, self.info, None, None, True
            ),
        )

    def test_an_instance_that_was_about_to_get_other_limits_has_them_after_a_reboot(self) -> None:
        self.instance.flavor = nova_process.make.flavor(vcpus=1, memory_mb=96, root_gb=0)

        def resize(driver: Any) -> None:
            left = self.leave(driver)
            driver.finish_migration(CONTEXT, None, self.instance, left, self.info, None, False, {})

        def reboot(driver: Any) -> None:
            self.reboot(driver)
            details = driver.parts.workloads.inspect(f"nova-{self.instance.uuid}")
            assert details["HostConfig"]["Memory"] == 96 << 20

        def spawned_small() -> None:
            large, self.instance.flavor = self.instance.flavor, nova_process.instance().flavor
            self.spawned()
            self.instance.flavor = large

        self.at_every_step("other limits", spawned_small, resize, reboot)

    def without_a_sandbox(self) -> None:
        self.spawned()
        engine.client().containers.get(f"nova-sandbox-{self.instance.uuid}").remove(force=True)

    def start(self, driver: Any) -> None:
        driver.power_on(CONTEXT, self.instance, self.info)

    def test_an_instance_that_was_about_to_get_a_new_sandbox_is_not_lost(self) -> None:
        self.at_every_step("new sandbox", self.without_a_sandbox, self.start, self.reboot)

    def test_an_instance_that_docker_was_about_to_give_a_new_sandbox_is_not_lost(self) -> None:
        self.at_every_step(
            "Docker in new sandbox", self.without_a_sandbox, self.start, self.reboot, docker=True
        )

    def test_an_instance_lives_on_without_nova_compute_and_docker(self) -> None:
        self.assertEqual(0, in_child(lambda: self.spawn(self.started())))
        box = f"nova-{self.instance.uuid}"
        before = engine.client().containers.get(box).attrs["State"]["StartedAt"]
        addresses = engine.client().containers.get(box).exec_run("ip -4 addr").output
        engine.kill()
        engine.start()

        def look() -> None:
            driver = self.started()
            driver.init_host(HOST)
            driver.plug_vifs(self.instance, self.info)
            assert driver.get_info(self.instance).state == 1

        self.assertEqual(0, in_child(look))
        self.assertEqual(before, engine.client().containers.get(box).attrs["State"]["StartedAt"])
        self.assertEqual(
            addresses, engine.client().containers.get(box).exec_run("ip -4 addr").output
        )
        self.assertEqual(0, in_child(self.recover))
        self.assertEqual(self.before, self.left())

    def test_what_ends_by_itself_is_started_again_where_nova_wants_it_to_run(self) -> None:
        self.instance.flavor.extra_specs = {"docker:restart": "on-failure"}
        box = f"nova-{self.instance.uuid}"

        def state() -> dict[str, Any]:
            told: dict[str, Any] = engine.client().containers.get(box).attrs["State"]
            return told

        self.assertEqual(0, in_child(self.spawned))
        before = state()["Pid"]
        os.kill(before, signal.SIGKILL)
        deadline = time.monotonic() + 30
        while state()["Pid"] in (0, before):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)
        self.assertEqual(0, in_child(lambda: self.started().power_off(self.instance)))
        # It was killed, which is a failure; an engine that starts looks for such ones.
        engine.kill()
        engine.start()
        self.assertEqual("exited", state()["Status"])
        self.assertEqual(0, in_child(lambda: self.start(self.started())))
        self.assertEqual("running", state()["Status"])
        addresses = engine.client().containers.get(box).exec_run("ip -4 addr").output
        self.assertIn(b"198.51.100.11/24", addresses)
        self.assertEqual(0, in_child(self.recover))
        self.assertEqual(self.before, self.left())

    def test_instances_come_back_with_the_host(self) -> None:
        other = nova_process.instance()
        other_info = model.NetworkInfo([network.port(2, network.v4(12))])

        def spawn_both() -> None:
            self.spawn(self.started())
            self.started().spawn(
                CONTEXT, other, nova_process.image_meta(), [], None, {}, other_info
            )

        self.assertEqual(0, in_child(spawn_both))
        engine.crash()
        engine.start()

        def resume() -> None:
            driver = self.started()
            driver.init_host(HOST)
            for instance, info in ((self.instance, self.info), (other, other_info)):
                assert driver.get_info(instance).state == 4
                driver.plug_vifs(instance, info)
                driver.resume_state_on_host_boot(CONTEXT, instance, info, None)

        self.assertEqual(0, in_child(resume))
        ping = (
            engine.client()
            .containers.get(f"nova-{self.instance.uuid}")
            .exec_run("ping -c 2 -W 3 198.51.100.12")
        )
        self.assertIn(b" 0% packet loss", ping.output)
        self.assertEqual(0, in_child(lambda: self.started().destroy(CONTEXT, other, other_info)))
        self.assertEqual(0, in_child(self.recover))
        self.assertEqual(self.before, self.left())


if __name__ == "__main__":
    unittest.main(verbosity=2)
