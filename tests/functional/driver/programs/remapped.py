# SPDX-License-Identifier: Apache-2.0
"""The life of an instance on an engine with user namespaces (``userns-remap``)."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import subprocess
import tarfile
import tempfile
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

from tests.functional.driver import nova_process  # isort: skip - before anything of Nova's

from nova import context, exception, objects
from nova.virt import fake

from novadocker.virt.docker import driver as docker_driver
from novadocker.virt.docker.face import block_devices, reports
from novadocker.virt.docker.parts import Parts
from tests.functional.driver import busybox, loop_devices, own_engine, remapping

CONTEXT = context.get_admin_context()
CONF = nova_process.CONF
HOST = "novadocker-test-remapped"
KEY = "ssh-ed25519 AAAA of-the-test"
SHELL = busybox.image(["sh", "-c", "echo begun; while :; do sleep 9999; done"])


class Glance:
    """Holds one snapshot."""

    data = b""

    def get(self, _context: Any, identity: str) -> dict[str, Any]:
        meta = {"container_format": "docker", "disk_format": "raw", "checksum": None, "size": 1}
        return {"id": identity, "owner": None, **meta}

    def update(self, _context: Any, _identity: str, _meta: Any, data: Any, **_more: Any) -> None:
        self.data = b"".join(iter(lambda: data.read(1 << 20), b""))


# What mounts by NFS, with as much of it as this kernel needs: a file system of that source.
MOUNT_NFS = """#!/bin/sh
case ",$4," in *,nosuid,nodev,*) ;; *) exit 1 ;; esac
exec mount -t tmpfs -o "mode=777,$(echo "$4" | grep -o 'r[ow]$')" "$1" "$2"
"""
EXPORT = "192.0.2.9:/exports/one"


def stand_in_for_nfs() -> None:
    """Have a program mount.nfs, in the mounts of this process alone."""
    place = Path(unittest.enterModuleContext(tempfile.TemporaryDirectory()))
    mount = ("mount", "-t")
    subprocess.run([*mount, "tmpfs", "tmpfs", str(place)], check=True)
    unittest.addModuleCleanup(unmount, place)
    (place / "new").mkdir()
    (place / "work").mkdir()
    program = place / "new/mount.nfs"
    program.write_text(MOUNT_NFS)
    program.chmod(0o755)
    options = f"lowerdir=/usr/sbin,upperdir={place}/new,workdir={place}/work"
    subprocess.run([*mount, "overlay", "overlay", "-o", options, "/usr/sbin"], check=True)
    unittest.addModuleCleanup(unmount, Path("/usr/sbin"))


def setUpModule() -> None:
    unittest.enterModuleContext(remapping.users())
    stand_in_for_nfs()
    engine = unittest.enterModuleContext(own_engine.running(remapping.OPTION))
    os.environ["DOCKER_HOST"] = engine.url
    RemappedTest.docker = engine.client()
    nova_process.set_up(
        HOST, stop_timeout_cap=0, volume_file_systems=["ext4"], share_protocols=["NFS"]
    )
    # As the directory of nova-compute is: whoever is root in containers passes through.
    Path(CONF.state_path).chmod(0o711)
    unittest.addModuleCleanup(unmount, Path(CONF.state_path))
    CONF.set_override("enabled", True, group="serial_console")
    CONF.set_override("port_range", "22000:22100", group="serial_console")
    # There is no database of Nova's.
    no_service = mock.Mock(side_effect=exception.ComputeHostNotFound(host="any"))
    for target, name, answer in (
        (objects.Instance, "get_by_uuid", lambda _context, uuid, **_more: RemappedTest.made[uuid]),
        (objects.Service, "get_by_compute_host", no_service),
        (block_devices, "known", lambda *_: {}),
        (reports, "ended", lambda *_: None),
    ):
        unittest.enterModuleContext(mock.patch.object(target, name, answer))


def unmount(place: Path) -> None:
    for target in reversed(loop_devices.mounted_below(place)):
        subprocess.run(["umount", "--lazy", target], check=False)


class RemappedTest(unittest.TestCase):
    """An instance whose root is nobody on the host."""

    docker: Any
    made: ClassVar[dict[str, Any]] = {}

    def setUp(self) -> None:
        nova_process.serve_image(SHELL)
        self.glance = Glance()
        virtapi = fake.FakeVirtAPI()
        parts = Parts.assemble(
            CONF, virtapi, glance=self.glance, connections=loop_devices.Connections()
        )
        self.driver = docker_driver.DockerDriver(virtapi, parts)
        self.driver.init_host(HOST)
        self.addCleanup(self.driver.cleanup_host, HOST)
        self.instance = self.spawn()

    def spawn(self, image: str = nova_process.IMAGE_ID) -> Any:
        made = nova_process.instance(image_ref=image, key_data=KEY)
        self.made[made.uuid] = made
        self.addCleanup(self.driver.destroy, CONTEXT, made, [])
        files = [("/etc/app.conf", b"mine")]
        self.driver.spawn(CONTEXT, made, nova_process.image_meta(image), files, None, {}, [])
        return made

    def box(self, instance: Any = None) -> Any:
        return self.docker.containers.get(f"nova-{(instance or self.instance).uuid}")

    def sh(self, command: str, instance: Any = None) -> str:
        # Old engines now and then lose what an exec has written as its last.
        code, _ = self.box(instance).exec_run(["sh", "-c", f"({command}) > /told 2>&1"])
        told = self.on_host("/told", instance).read_text()
        self.assertEqual(0, code, told)
        return told

    def on_host(self, path: str, instance: Any = None) -> Path:
        """Return where the host has a file of the instance."""
        return Path(f"/proc/{self.box(instance).attrs['State']['Pid']}/root{path}")

    @contextlib.contextmanager
    def console(self) -> Iterator[socket.socket]:
        where = self.driver.get_serial_console(CONTEXT, self.instance)
        with socket.create_connection((where.host, where.port), timeout=20) as viewer:
            yield viewer

    def test_files_of_the_instance_are_its_root_s_and_nobody_s_on_the_host(self) -> None:
        self.assertEqual("0\n", self.sh("id -u"))
        self.assertEqual("mine", self.sh("cat /etc/app.conf"))
        self.assertEqual(KEY, self.sh("cat /root/.ssh/authorized_keys").strip())
        for path in ("/etc/app.conf", "/root/.ssh/authorized_keys", "/bin/busybox", "/etc/hosts"):
            self.assertEqual("0 0\n", self.sh(f"stat -c '%u %g' {path}"))
            self.assertEqual(remapping.ROOT, self.on_host(path).stat().st_uid)
        process = Path(f"/proc/{self.box().attrs['State']['Pid']}")
        self.assertEqual(remapping.ROOT, process.stat().st_uid)
        self.assertIn("begun", self.driver.get_console_output(CONTEXT, self.instance))

    def test_a_console_is_typed_into(self) -> None:
        with self.console() as viewer:
            viewer.sendall(b"echo it-is-$(id -u)\n")
            shown = b""
            while b"it-is-0" not in shown:
                shown += viewer.recv(4096)

    def test_a_volume_is_written_by_its_root(self) -> None:
        with contextlib.closing(loop_devices.LoopDevices()) as loops:
            info = {"driver_volume_type": "local", "data": {"path": loops.make(16 << 20)}}
            self.driver.attach_volume(CONTEXT, info, self.instance, "/dev/vdb")
            self.sh("echo kept > /volumes/vdb/file")
            self.assertEqual(remapping.ROOT, self.on_host("/volumes/vdb/file").stat().st_uid)
            # It is there when the instance is made anew.
            with self.assertNoLogs("novadocker.virt.docker.instances.networks", "WARNING"):
                self.driver.reboot(CONTEXT, self.instance, [], "HARD")
            self.assertEqual("kept\n", self.sh("cat /volumes/vdb/file"))
            self.driver.detach_volume(CONTEXT, info, self.instance, "/dev/vdb")
            self.assertEqual("", self.sh("ls /volumes"))

    def test_a_share_comes_and_goes_while_it_runs(self) -> None:
        share = objects.ShareMapping(
            instance_uuid=self.instance.uuid,
            share_id="e8debdc0-447a-4376-a10a-4cd9122d7986",
            tag="data",
            export_location=EXPORT,
            share_proto="NFS",
        )
        self.driver.mount_share(CONTEXT, self.instance, share)
        self.driver.reboot(CONTEXT, self.instance, [], "HARD", share_info=[share])
        self.sh("echo kept > /shares/data/file")
        self.assertTrue(self.driver.is_share_mounted(share))
        # Nothing is written where nothing is mounted.
        self.sh("! touch /shares/file")
        self.assertFalse(self.driver.umount_share(CONTEXT, self.instance, share))
        self.assertEqual("", self.sh("ls /shares"))

    def test_a_snapshot_has_the_owners_that_its_users_see(self) -> None:
        self.sh("echo written > /written; chown 33:33 /written")
        self.driver.snapshot(CONTEXT, self.instance, "2" * 8, lambda **_states: None)
        owners = {}
        with tarfile.open(fileobj=io.BytesIO(self.glance.data)) as archive:
            for member in archive:
                if member.name.endswith("layer.tar"):
                    with tarfile.open(fileobj=archive.extractfile(member)) as layer:
                        owners |= {file.name: (file.uid, file.gid) for file in layer}
        self.assertEqual((33, 33), owners["written"])
        self.assertEqual((0, 0), owners["etc/app.conf"])
        nova_process.serve_image(self.glance.data)
        again = self.spawn("33333333-2222-4333-8444-555555555555")
        self.assertEqual("33 33\n", self.sh("stat -c '%u %g' /written", again))

    def test_rescue_reboot_and_a_pause(self) -> None:
        self.sh("echo kept > /kept")
        self.driver.rescue(CONTEXT, self.instance, [], nova_process.image_meta(), "", None)
        self.sh("echo mended > /mnt/rescue/kept")
        self.driver.unrescue(CONTEXT, self.instance)
        self.assertEqual("mended\n", self.sh("cat /kept"))
        self.driver.pause(self.instance)
        self.driver.unpause(self.instance)
        self.driver.power_off(self.instance)
        self.driver.power_on(CONTEXT, self.instance, [])
        self.assertEqual("mended\n", self.sh("cat /kept"))
        self.driver.destroy(CONTEXT, self.instance, [])
        self.assertEqual([], self.docker.containers.list(all=True))


if __name__ == "__main__":
    remapping.in_own_mounts("tests.functional.driver.programs.remapped")
    unittest.main(verbosity=2)
