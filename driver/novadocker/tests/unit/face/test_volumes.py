# SPDX-License-Identifier: Apache-2.0
"""Volumes, as Nova asks for them, on a host in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from nova import exception, objects
from nova.compute import task_states
from oslo_privsep.daemon import FailedToDropPrivileges

from novadocker import exceptions
from novadocker.tests import make
from novadocker.tests.fake_host import FakeHost, info
from novadocker.virt.docker import driver
from novadocker.virt.docker.engine import containers


@pytest.fixture
def docker_driver(host: FakeHost, new_driver: Any) -> driver.DockerDriver:
    return new_driver(connections=host)


@pytest.fixture
def allowing(
    host: FakeHost, docker_driver: driver.DockerDriver, option: Any, new_driver: Any
) -> driver.DockerDriver:
    """A driver that was started after volumes were allowed; the other one was before."""
    option("volume_file_systems", ["ext4"])
    made = new_driver(connections=host)
    made.parts.sandboxes.ensure_image()
    return made


def bdi(*numbers: int, **more: Any) -> dict[str, Any]:
    return {
        "block_device_mapping": [
            {"connection_info": info(number), "mount_device": f"/dev/vd{chr(97 + number)}", **more}
            for number in numbers
        ]
    }


@pytest.fixture
def instance(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = make.instance()
    monkeypatch.setattr(objects.Instance, "get_bdms", lambda _self: [])
    return made


def spawn(allowing: Any, instance: Any, *numbers: int, **more: Any) -> None:
    allowing.spawn(
        None, instance, make.image_meta(), [], None, {}, [], block_device_info=bdi(*numbers), **more
    )


@pytest.fixture(autouse=True)
def _pids(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine in memory has no processes."""

    def pid(self: Any, name: str) -> int:
        return 77 if self.state(name) is containers.State.RUNNING else 0

    monkeypatch.setattr(containers.Containers, "pid", pid)


class TestDriver:
    def workload(self, engine: Any, instance: Any) -> Any:
        return engine.call("inspect_container", f"nova-{instance.uuid}")

    def test_options_say_whether_there_are_volumes(
        self, allowing: Any, docker_driver: Any, instance: Any
    ) -> None:
        assert allowing.capabilities["supports_extend_volume"]
        assert not docker_driver.capabilities["supports_extend_volume"]
        assert allowing.get_volume_connector(instance) == {"host": "unit-host"}
        with pytest.raises(exception.InvalidVolume, match="volume_file_systems"):
            docker_driver.get_volume_connector(instance)
        with pytest.raises(NotImplementedError):
            docker_driver.attach_volume(None, info(), instance, "/dev/vdb")

    def test_booting_from_one_is_refused_before_anything_is_made(
        self, allowing: Any, host: FakeHost, engine: Any, instance: Any
    ) -> None:
        with pytest.raises(exception.InvalidVolume, match="do not boot"):
            allowing.get_volume_connector(make.instance(image_ref=""))
        before = engine.names()
        with pytest.raises(exception.InvalidBDMFormat, match="do not boot"):
            allowing.spawn(
                None,
                instance,
                make.image_meta(),
                [],
                None,
                {},
                block_device_info=bdi(1, boot_index=0),
            )
        assert (engine.names(), host.done) == (before, [])

    def test_volumes_at_boot_are_mounted_and_shown(
        self, allowing: Any, host: FakeHost, engine: Any, instance: Any
    ) -> None:
        spawn(allowing, instance, 1, 2)
        assert len(host.mounted) == 2
        (bound,) = self.workload(engine, instance)["HostConfig"]["Mounts"]
        assert bound["Target"] == "/volumes"
        allowing.destroy(None, instance, [], bdi(1, 2))
        assert (host.mounted, host.connected) == ({}, [])

    def test_a_build_that_fails_leaves_none(
        self, allowing: Any, host: FakeHost, engine: Any, instance: Any
    ) -> None:
        engine.failing["start"] = exceptions.EngineError("unable to find user nosuch: no", 500)
        with pytest.raises(exception.ImageUnacceptable):
            spawn(allowing, instance, 1)
        assert (host.mounted, host.connected) == ({}, [])

    def test_a_refused_volume_refuses_the_server(
        self, allowing: Any, host: FakeHost, engine: Any, instance: Any
    ) -> None:
        host.blank["/dev/loop2"] = False
        # InvalidInput: Nova tries no other host.
        with pytest.raises(exception.InvalidInput, match="neither blank"):
            spawn(allowing, instance, 1, 2)
        assert (host.mounted, host.connected) == ({}, [])

    def test_attached_and_detached_while_it_runs(
        self, allowing: Any, host: FakeHost, instance: Any, tmp_path: Path
    ) -> None:
        spawn(allowing, instance)
        volume = info()
        allowing.attach_volume(None, volume, instance, "/dev/vdb")
        (place,) = host.mounted
        host.busy.add(place)
        with pytest.raises(exception.DeviceDetachFailed, match="busy"):
            allowing.detach_volume(None, volume, instance, "/dev/vdb")
        host.busy.clear()
        allowing.detach_volume(None, volume, instance, "/dev/vdb")
        assert (host.mounted, host.connected) == ({}, [])

    def test_encrypted_ones_and_swaps_are_refused(
        self, allowing: Any, host: FakeHost, instance: Any
    ) -> None:
        with pytest.raises(exception.InvalidVolume, match="encrypted"):
            allowing.attach_volume(None, info(), instance, "/dev/vdb", encryption={"a": 1})
        with pytest.raises(NotImplementedError):
            allowing.swap_volume(None, info(), info(2), instance, "/dev/vdb", 1)
        assert host.done == []

    def test_what_the_container_does_not_see_is_taken_back(
        self, allowing: Any, host: FakeHost, instance: Any
    ) -> None:
        spawn(allowing, instance)
        host.blind = True
        with pytest.raises(exception.InvalidVolume, match="made before"):
            allowing.attach_volume(None, info(), instance, "/dev/vdb")
        assert (host.mounted, host.connected) == ({}, [])

    def test_what_cannot_be_taken_back_is_told(
        self, allowing: Any, host: FakeHost, instance: Any, caplog: Any
    ) -> None:
        spawn(allowing, instance)
        host.blind = True
        host.failing["unmount"] = exceptions.VolumeBusy("busy")
        with pytest.raises(exception.InvalidVolume, match="made before"):
            allowing.attach_volume(None, info(), instance, "/dev/vdb")
        assert "stays attached" in caplog.text

    def test_an_instance_that_is_not_here_needs_not_see_it(
        self, allowing: Any, host: FakeHost, instance: Any
    ) -> None:
        allowing.attach_volume(None, info(), instance, "/dev/vdb")
        assert len(host.mounted) == 1

    @pytest.mark.parametrize("start", ["power_on", "reboot", "resume", "restore", "unrescue"])
    def test_they_are_mounted_before_it_starts(
        self,
        start: str,
        allowing: Any,
        host: FakeHost,
        instance: Any,
        engine: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        spawn(allowing, instance, 1)
        allowing.power_off(instance)
        host.mounted.clear()
        # Those which Nova does not hand over are asked for.
        known = {"block_device_mapping": [*bdi(1)["block_device_mapping"], {"connection_info": {}}]}
        monkeypatch.setattr(
            "novadocker.virt.docker.face.block_devices.driver.get_block_device_info",
            lambda _instance, _bdms: known,
        )
        monkeypatch.setattr(instance, "get_network_info", list, raising=False)
        started = engine._start
        seen = []

        def starting(name: str) -> None:
            seen.append(len(host.mounted))
            started(name)

        monkeypatch.setattr(engine, "_start", starting)
        {
            "power_on": lambda: allowing.power_on(None, instance, [], bdi(1)),
            "reboot": lambda: allowing.reboot(None, instance, [], "HARD", bdi(1)),
            "resume": lambda: allowing.resume_state_on_host_boot(None, instance, [], [], bdi(1)),
            "restore": lambda: allowing.restore(instance),
            "unrescue": lambda: allowing.unrescue(None, instance),
        }[start]()
        assert seen == [1]

    def test_they_leave_with_the_instance_and_arrive_with_it(
        self, allowing: Any, host: FakeHost, instance: Any, migrations: Any
    ) -> None:
        spawn(allowing, instance, 1)
        left = allowing.migrate_disk_and_power_off(
            None, instance, "unit-host", make.flavor(), [], bdi(1)
        )
        assert (host.mounted, host.connected) == ({}, [])
        allowing.finish_migration(
            None, None, instance, left, [], None, True, {}, block_device_info=bdi(1)
        )
        assert len(host.mounted) == 1
        instance.task_state = task_states.RESIZE_REVERTING
        allowing.destroy(None, instance, [], bdi(1))
        assert (host.mounted, host.connected) == ({}, [])
        allowing.finish_revert_migration(None, instance, [], None, bdi(1))
        assert len(host.mounted) == 1
        allowing.cleanup(None, instance, [], bdi(1))
        assert host.mounted == {}

    @pytest.mark.parametrize("moves", [False, True])
    def test_one_that_cannot_be_detached_keeps_its_instance_where_it_is(
        self, moves: bool, allowing: Any, host: FakeHost, engine: Any, instance: Any
    ) -> None:
        spawn(allowing, instance, 1, 2)
        before = engine.names()
        host.failing["unmount"] = exceptions.VolumeBusy("busy")
        if moves:
            make.other_options(allowing)
        with pytest.raises(exception.InstanceFaultRollback):
            allowing.migrate_disk_and_power_off(
                None, instance, "unit-host", make.flavor(vcpus=1), [], bdi(1, 2)
            )
        assert engine.names() == before
        assert self.workload(engine, instance)["State"]["Running"]
        assert len(host.mounted) == 2

    def test_one_that_stays_is_told_after_all_else_is_gone(
        self, allowing: Any, host: FakeHost, engine: Any, instance: Any
    ) -> None:
        spawn(allowing, instance, 1)
        host.failing["unmount"] = exceptions.VolumeBusy("busy")
        with pytest.raises(exception.DeviceDetachFailed):
            allowing.destroy(None, instance, [], bdi(1))
        assert engine.names() == set()

    def test_a_rescue_copies_nothing_of_them(
        self, allowing: Any, host: FakeHost, engine: Any, instance: Any, monkeypatch: Any
    ) -> None:
        spawn(allowing, instance, 1)
        copied = engine._get_archive
        seen = []

        def copying(name: str, path: str) -> Any:
            seen.append((len(host.mounted), self.workload(engine, instance)["State"]["Status"]))
            return copied(name, path)

        monkeypatch.setattr(engine, "_get_archive", copying)
        allowing.rescue(None, instance, [], make.image_meta(), "", bdi(1))
        assert seen == [(0, "exited")]
        assert len(host.mounted) == 1

    def test_extending(self, allowing: Any, host: FakeHost, instance: Any) -> None:
        spawn(allowing, instance, 1)
        allowing.extend_volume(None, info(), instance, 2 << 30)
        assert host.verbs()[-2:] == ["extend", "grow"]
        host.failing["grow"] = exceptions.VolumeError("Permission denied")
        with pytest.raises(exception.InvalidVolume, match="Permission denied"):
            allowing.extend_volume(None, info(), instance, 2 << 30)

    @pytest.mark.parametrize("fault", [exceptions.VolumeError("no"), OSError("no")])
    def test_a_host_that_cannot_does_not_start(
        self, fault: Exception, allowing: Any, host: FakeHost
    ) -> None:
        host.failing["share"] = fault
        with pytest.raises(exception.InvalidConfiguration, match="volume_file_systems"):
            allowing.init_host("unit-host")
        host.failing["share"] = FailedToDropPrivileges("no sudo")
        with pytest.raises(exception.InvalidConfiguration, match="no sudo"):
            allowing.init_host("unit-host")

    def test_without_the_option_volumes_are_refused_and_still_detached(
        self, allowing: Any, docker_driver: Any, host: FakeHost, instance: Any
    ) -> None:
        spawn(allowing, instance, 1)
        with pytest.raises(exception.InvalidBDMFormat, match="volume_file_systems"):
            docker_driver.power_on(None, instance, [], bdi(1))
