# SPDX-License-Identifier: Apache-2.0
"""What an instance sees of its host with lxcfs, on a real Docker Engine."""

from __future__ import annotations

import unittest

from tests.functional.driver import nova_process  # isort: skip - before anything of Nova's

from nova import context

from novadocker.virt.docker.engine import lxcfs
from tests.functional.driver import busybox, own_engine
from tests.functional.driver import lxcfs as mounted

HOST = "novadocker-test-guest-view"
CONTEXT = context.get_admin_context()


def setUpModule() -> None:
    path = unittest.enterModuleContext(mounted.mounted())
    nova_process.set_up(HOST, lxcfs_path=path, stop_timeout_cap=0)
    nova_process.serve_image(busybox.image())


class GuestViewTest(unittest.TestCase):
    """An instance of a flavor with one processor and 64 MB."""

    def setUp(self) -> None:
        self.docker = own_engine.given()
        self.addCleanup(self._forget_image)
        self.driver = nova_process.load_driver()
        self.driver.init_host(HOST)
        self.addCleanup(self.driver.cleanup_host, HOST)
        self.instance = nova_process.instance()
        self.addCleanup(self.driver.destroy, CONTEXT, self.instance, [])
        self.driver.spawn(CONTEXT, self.instance, nova_process.image_meta(), [], None, {}, [])

    def _forget_image(self) -> None:
        for image in self.docker.images.list(f"nova-glance/{nova_process.IMAGE_ID}"):
            self.docker.images.remove(image.id, force=True)

    def sh(self, command: str) -> str:
        code, output = self.docker.containers.get(f"nova-{self.instance.uuid}").exec_run(
            ["sh", "-c", command]
        )
        self.assertEqual(0, code, output.decode())
        return str(output.decode())

    def uptime(self) -> float:
        return float(self.sh("cat /proc/uptime").split()[0])

    def test_it_sees_itself(self) -> None:
        self.assertIn(f"MemTotal:          {64 * 1024} kB", self.sh("cat /proc/meminfo"))
        self.assertEqual("1\n", self.sh("grep -c ^processor /proc/cpuinfo"))
        self.assertEqual("1\n", self.sh("grep -c ^cpu[0-9] /proc/stat"))
        self.assertIn("Filename", self.sh("cat /proc/swaps; cat /proc/loadavg /proc/diskstats"))
        self.assertIn("read-only", self.sh("(echo 1 > /proc/uptime) 2>&1 || true").lower())

    def test_its_uptime_begins_with_each_start(self) -> None:
        self.assertLess(self.uptime(), 10)
        self.sh("sleep 3")
        before = self.uptime()
        self.assertGreater(before, 2.5)
        self.driver.reboot(CONTEXT, self.instance, [], "HARD")
        self.assertLess(self.uptime(), before)

    def test_a_rescue_leaves_its_files_alone(self) -> None:
        self.sh("echo kept > /kept")
        self.driver.rescue(CONTEXT, self.instance, [], nova_process.image_meta(), "", None)
        self.assertEqual("kept\n", self.sh("cat /mnt/rescue/kept"))
        self.sh("echo mended > /mnt/rescue/kept")
        self.driver.unrescue(CONTEXT, self.instance)
        self.assertEqual("mended\n", self.sh("cat /kept"))
        self.assertLess(self.uptime(), 10)

    def test_one_that_ends_is_missed(self) -> None:
        with mounted.mounted() as path:
            self.assertIsNone(lxcfs.fault(path))
        self.assertIn("not mounted", str(lxcfs.fault(path)))


if __name__ == "__main__":
    unittest.main(verbosity=2)
