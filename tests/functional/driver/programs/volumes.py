# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: I001 - Nova's test package sets up the process, and is imported first
"""Volumes in Nova's in-process cloud, on a real Docker Engine: loop devices, by os-brick."""

from __future__ import annotations

import nova.tests.unit  # noqa: F401

import contextlib
import copy
import hashlib
import os
import subprocess
import time
import unittest
import uuid
from pathlib import Path
from typing import Any

import fixtures
from nova.tests import fixtures as nova_fixtures

from tests.functional.driver import loop_devices
from tests.functional.driver.programs import cloud

setUpModule = cloud.setUpModule
# What a test has left is removed by the name of its host.
cloud.HOSTS = ("novadocker-test-volumes-1", "novadocker-test-volumes-2")
MIB = 1 << 20


class Cinder(nova_fixtures.CinderFixture):
    """Cinder, whose volumes are devices of this host."""

    VOLUME_CONNECTION_INFO = copy.deepcopy(nova_fixtures.CinderFixture.VOLUME_CONNECTION_INFO)

    def add(self, device: str, **data: Any) -> str:
        """Have a volume on a device."""
        identity = str(uuid.uuid4())
        self.VOLUME_CONNECTION_INFO[identity] = {
            "driver_volume_type": "local",
            "data": {"device_path": device, **data},
        }
        self.volumes[identity] = {
            "id": identity,
            "display_name": "data",
            "size": 1,
            "multiattach": False,
            "availability_zone": "nova",
            "status": "available",
            "attach_status": "detached",
        }
        return identity


def unmount(bases: list[Path]) -> None:
    """Unmount what a test has left."""
    for base in bases:
        for target in reversed(loop_devices.mounted_below(base)):
            subprocess.run(["umount", target], check=True)


class VolumeTestCase(cloud.CloudTestCase):
    """A cloud that has volumes."""

    file_systems = ("ext4",)

    def setUp(self) -> None:
        # Before the driver: it is asked for by its options when nova-compute starts.
        self.flags(volume_file_systems=list(self.file_systems), group="docker")
        # Cleaned up in the opposite order: containers, mounts, devices. Nova's test class deletes
        # attributes before that.
        self.loops = loop_devices.LoopDevices()
        self.addCleanup(self.loops.close)
        self.bases: list[Path] = []
        self.heard: set[str] = set()
        self.addCleanup(unmount, self.bases)
        super().setUp()
        # Nova's tests let nobody look for real host adapters and interfaces.
        for name in (
            "linuxfc.LinuxFibreChannel.get_fc_hbas",
            "connectors.lightos.LightOSConnector.get_ip_addresses",
        ):
            self.stub_out(f"os_brick.initiator.{name}", lambda *_: [])
        self.flags(lock_path=self.useFixture(fixtures.TempDir()).path, group="oslo_concurrency")
        self.cinder = self.useFixture(Cinder(self))

    def _start_compute(self, host: str) -> Any:
        started = super()._start_compute(host)
        self.bases.append(Path(started.manager.driver.parts.volumes.base))
        return started

    def volume(self, size_mib: int = 64, content: bytes = b"", **data: Any) -> str:
        self.device = self.loops.make(size_mib * MIB, content)
        return self.cinder.add(self.device, **data)

    def attach(self, server: Any, volume: str) -> None:
        self.api.post_server_volume(server["id"], {"volumeAttachment": {"volumeId": volume}})
        self.assertIsNone(self.told(server, "Success"))

    def detach(self, server: Any, volume: str) -> None:
        self.api.delete_server_volume(server["id"], volume)
        self._wait_for_volume_detach(server["id"], volume)

    def name(self, server: Any, volume: str) -> str:
        for attachment in self.api.get_server_volumes(server["id"]):
            if attachment["volumeId"] == volume:
                return os.path.basename(attachment["device"])
        raise AssertionError(f"{volume} is not attached")

    def told(self, server: Any, expected: str = "Error") -> str | None:
        """Wait for the end of an attachment that was asked for, and for what it has to say."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            # It may begin only after Nova has answered.
            for action in self.api.get_instance_actions(server["id"]):
                request = action["request_id"]
                where = f"/servers/{server['id']}/os-instance-actions/{request}"
                if action["action"] != "attach_volume" or request in self.heard:
                    continue
                for event in self.api.api_get(where).body["instanceAction"]["events"]:
                    # There is one more, for the name of the device.
                    if event["event"] == "compute_attach_volume" and event["result"]:
                        self.heard.add(request)
                        self.assertEqual(expected, event["result"], event)
                        return event["details"]  # type: ignore[no-any-return]
            time.sleep(0.1)
        raise AssertionError("the volume is not attached, and nothing is said")

    def mounts(self) -> list[str]:
        return [place for base in self.bases for place in loop_devices.mounted_below(base / "")]

    def nothing_mounted(self) -> None:
        self.assertEqual([], [place for place in self.mounts() if Path(place) not in self.bases])

    def boot_with(self, *volumes: str, **fields: Any) -> Any:
        mapping = [
            {
                "uuid": cloud.IMAGE_ID,
                "source_type": "image",
                "destination_type": "local",
                "boot_index": 0,
            },
            *(
                {
                    "uuid": volume,
                    "source_type": "volume",
                    "destination_type": "volume",
                    "boot_index": -1,
                }
                for volume in volumes
            ),
        ]
        return self.boot(block_device_mapping_v2=mapping, **fields)


class LifeTest(VolumeTestCase):
    """What volumes live through."""

    def test_a_blank_volume_goes_from_one_server_to_another(self) -> None:
        instance, other = self.boot(), self.boot()
        volume = self.volume()
        self.attach(instance, volume)
        at = f"/volumes/{self.name(instance, volume)}"
        self.assertIn(" ext4 ", self.sh(instance, f"grep {at} /proc/mounts"))
        self.sh(instance, f"echo mine > {at}/file")
        self.assertIn("Read-only", self.sh(instance, "touch /volumes/x 2>&1 || true"))
        self.sh(instance, f"sleep 1000 < {at}/file & echo $! > /busy")
        self.api.delete_server_volume(instance["id"], volume)
        self._wait_for_action_fail_completion(instance, "detach_volume", "compute_detach_volume")
        self.assertEqual("mine\n", self.sh(instance, f"cat {at}/file"))
        self.assertEqual("in-use", self.cinder.volumes[volume]["status"])
        self.sh(instance, "kill $(cat /busy)")
        self.detach(instance, volume)
        self.nothing_mounted()
        self.assertEqual("gone\n", self.sh(instance, f"test -e {at} || echo gone"))
        self.attach(other, volume)
        at = f"/volumes/{self.name(other, volume)}"
        self.assertEqual("mine\n", self.sh(other, f"cat {at}/file"))
        self.gone(other)
        self.gone(instance)
        self.nothing_mounted()
        self.assertFalse(any(any(base.iterdir()) for base in self.bases))

    def test_volumes_at_boot_live_through_all_that_servers_do(self) -> None:
        self.flags(shelved_offload_time=0)
        volume, second = self.volume(), self.volume()
        server = self.boot_with(volume, second)
        at = f"/volumes/{self.name(server, volume)}"
        self.sh(server, f"echo mine > {at}/file")
        self.sh(server, "echo own > /own")

        def seen(what: str, own: bool = True) -> None:
            with self.subTest(what):
                self.assertEqual("mine\n", self.sh(server, f"cat {at}/file"))
                self.assertEqual("2\n", self.sh(server, "grep -c ' /volumes/' /proc/mounts"))
                if own:
                    self.assertEqual("own\n", self.sh(server, "cat /own"))

        seen("boot")
        self.act(server, "os-stop", None, "SHUTOFF")
        self.act(server, "os-start", None, "ACTIVE")
        seen("stop and start")
        for kind in ("SOFT", "HARD"):
            self.act(server, "reboot", {"type": kind}, "ACTIVE")
            seen(f"{kind} reboot")
        self.act(server, "os-stop", None, "SHUTOFF")
        # As after a crash of the host.
        for target in [place for place in self.mounts() if Path(place) not in self.bases]:
            subprocess.run(["umount", target], check=True)
        self.act(server, "os-start", None, "ACTIVE")
        seen("crash of the host")
        bigger = self.api.get_flavors()[1]["id"]
        for ending in ("revertResize", "confirmResize"):
            self.act(server, "resize", {"flavorRef": bigger}, "VERIFY_RESIZE")
            seen("resize")
            self.act(server, ending, None, "ACTIVE")
            seen(ending)
        self.act(server, "rescue", {}, "RESCUE")
        seen("rescue", own=False)
        self.assertEqual("own\n", self.sh(server, "cat /mnt/rescue/own"))
        self.assertEqual("", self.sh(server, "ls /mnt/rescue/volumes 2>/dev/null || true"))
        self.act(server, "unrescue", None, "ACTIVE")
        seen("unrescue")
        self.act(server, "shelve", None, "SHELVED_OFFLOADED")
        self.nothing_mounted()
        self.act(server, "unshelve", None, "ACTIVE")
        seen("shelve")
        self.act(server, "rebuild", {"imageRef": cloud.IMAGE_ID}, "ACTIVE")
        seen("rebuild", own=False)
        self.api.post_server_action(server["id"], {"createImage": {"name": "snap"}})
        self._wait_for_server_parameter(server, {"OS-EXT-STS:task_state": None})
        snap = next(image for image in self.glance.images.values() if image.get("name") == "snap")
        other = self.boot(imageRef=snap["id"], flavorRef=bigger)
        self.assertEqual("", self.sh(other, "ls /volumes"))
        self.gone(other)
        self.gone(server)
        self.nothing_mounted()

    def test_a_volume_moves_to_another_host_and_back(self) -> None:
        volume = self.volume()
        server = self.boot_with(volume)
        at = f"/volumes/{self.name(server, volume)}"
        self.sh(server, f"echo mine > {at}/file")
        self.second_host()
        for ending, host in (("revertResize", cloud.HOSTS[0]), ("confirmResize", cloud.HOSTS[1])):
            self.act(server, "migrate", None, "VERIFY_RESIZE")
            self.assertEqual(cloud.HOSTS[1], self.host_of(server))
            self.assertEqual("mine\n", self.sh(server, f"cat {at}/file"))
            self.act(server, ending, None, "ACTIVE")
            self.assertEqual(host, self.host_of(server))
            self.assertEqual("mine\n", self.sh(server, f"cat {at}/file"))
            (mounted,) = [place for place in self.mounts() if Path(place) not in self.bases]
            self.assertIn(str(self.bases[cloud.HOSTS.index(host)]), mounted)
        self.gone(server)
        self.nothing_mounted()

    def test_what_is_to_be_read_only_is(self) -> None:
        server = self.boot()
        volume = self.volume(content=loop_devices.ext4(64 * MIB), access_mode="ro")
        before = self.loops.digest(self.device)
        self.attach(server, volume)
        at = f"/volumes/{self.name(server, volume)}"
        self.assertIn("Read-only", self.sh(server, f"touch {at}/x 2>&1 || true"))
        self.detach(server, volume)
        self.assertEqual(before, self.loops.digest(self.device))
        self.gone(server)

    def test_a_server_made_before_volumes_were_allowed_says_so(self) -> None:
        manager = self.computes[cloud.HOSTS[0]].manager
        allowed = manager.driver.parts.volumes.allowed
        manager.driver.parts.volumes.allowed = ()
        server = self.boot()
        manager.driver.parts.volumes.allowed = allowed
        volume = self.volume()
        self.api.post_server_volume(server["id"], {"volumeAttachment": {"volumeId": volume}})
        self.assertIn("made before", self.told(server) or "")
        self.nothing_mounted()
        self.act(server, "rebuild", {"imageRef": cloud.IMAGE_ID}, "ACTIVE")
        self.attach(server, volume)
        self.gone(server)

    def test_extended_volume(self) -> None:
        server = self.boot()
        volume = self.volume()
        self.attach(server, volume)
        at = f"/volumes/{self.name(server, volume)}"
        before = int(self.sh(server, f"stat -f -c %b {at}"))
        self.loops.extend(self.device, 128 * MIB)
        driver = self.computes[cloud.HOSTS[0]].manager.driver
        self.assertTrue(driver.capabilities["supports_extend_volume"])
        self.api.create_server_external_events(
            [{"name": "volume-extended", "server_uuid": server["id"], "tag": volume}]
        )
        if loop_devices.may_grow_ext4():
            self._wait_for_action_success_completion(
                server, "extend_volume", "compute_extend_volume"
            )
            self.assertGreater(int(self.sh(server, f"stat -f -c %b {at}")), before * 3 / 2)
        else:
            # This machine's root has no CAP_SYS_RESOURCE: refused, and the volume is what it was.
            self._wait_for_action_fail_completion(server, "extend_volume", "compute_extend_volume")
            self.assertEqual(before, int(self.sh(server, f"stat -f -c %b {at}")))
        self.sh(server, f"touch {at}/written")
        self.gone(server)


class RefusedTest(VolumeTestCase):
    """What is not mounted."""

    def test_hostile_volumes_are_refused_and_stay_what_they_are(self) -> None:
        server = self.boot()
        for what, content, reason in loop_devices.hostile(64 * MIB):
            with self.subTest(what):
                volume = self.volume(content=content)
                before = self.loops.digest(self.device)
                self.api.post_server_volume(
                    server["id"], {"volumeAttachment": {"volumeId": volume}}
                )
                self._wait_for_volume_detach(server["id"], volume)
                self.assertEqual(before, self.loops.digest(self.device))
                self.assertRegex(self.told(server) or "", reason)
                self.nothing_mounted()
                self.loops.release(self.device)
        self.sh(server, "true")
        self.gone(server)

    def test_a_server_is_not_built_with_a_hostile_volume(self) -> None:
        volume = self.volume(content=os.urandom(4096))
        before = self.loops.digest(self.device)
        server = self._build_server(
            image_uuid=cloud.IMAGE_ID, flavor_id=self.api.get_flavors()[0]["id"], networks="none"
        )
        server["block_device_mapping_v2"] = [
            {
                "uuid": cloud.IMAGE_ID,
                "source_type": "image",
                "destination_type": "local",
                "boot_index": 0,
            },
            {"uuid": volume, "source_type": "volume", "destination_type": "volume"},
        ]
        server = self._wait_for_state_change(self.api.post_server({"server": server}), "ERROR")
        self.assertIn("neither blank", server["fault"]["message"])
        self.gone(server)
        self.nothing_mounted()
        self.assertEqual(before, self.loops.digest(self.device))

    def test_booting_from_a_volume_is_refused(self) -> None:
        server = self._build_server(
            image_uuid="", flavor_id=self.api.get_flavors()[0]["id"], networks="none"
        )
        server["block_device_mapping_v2"] = [
            {
                "uuid": cloud.VOLUME,
                "source_type": "volume",
                "destination_type": "volume",
                "boot_index": 0,
            }
        ]
        server = self._wait_for_state_change(self.api.post_server({"server": server}), "ERROR")
        self.assertIn("do not boot from a volume", server["fault"]["message"])

    def test_encrypted_ones_are_refused(self) -> None:
        server = self.boot()
        volume = self.volume(encrypted=True)
        with contextlib.suppress(AssertionError):
            self.api.post_server_volume(server["id"], {"volumeAttachment": {"volumeId": volume}})
        self._wait_for_volume_detach(server["id"], volume)
        self.nothing_mounted()
        self.assertEqual(
            hashlib.sha256(bytes(64 * MIB)).hexdigest(), self.loops.digest(self.device)
        )
        self.gone(server)


def load_tests(loader: Any, tests: Any, pattern: Any) -> Any:
    """Take the tests of this module only, not those of the cloud's own."""
    return unittest.TestSuite(
        case(name)
        for case in (LifeTest, RefusedTest)
        for name in vars(case)
        if name.startswith("test_")
    )


if __name__ == "__main__":
    unittest.main(verbosity=2)
