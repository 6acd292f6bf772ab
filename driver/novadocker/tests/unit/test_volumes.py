# SPDX-License-Identifier: Apache-2.0
"""Volumes, on a host in memory: what is mounted where, and what Nova is told."""

import contextlib
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from nova import exception, objects
from nova.compute import task_states
from oslo_privsep.daemon import FailedToDropPrivileges

from novadocker import exceptions
from novadocker.privsep import mounts
from novadocker.tests import make
from novadocker.virt.docker import driver
from novadocker.virt.docker.engine import containers
from novadocker.virt.docker.volumes import mounted

EXT4 = {"TYPE": "ext4", "USAGE": "filesystem"}
XFS = {"TYPE": "xfs", "USAGE": "filesystem"}
ALLOWED = ("ext4", "xfs")


class Host:
    """Devices, what is on them, and what is mounted.

    :ivar busy: places and devices that are in use
    :ivar blind: whether containers see nothing of it
    """

    def __init__(self) -> None:
        self.tags: dict[str, dict[str, str]] = {}
        self.blank: dict[str, bool] = {}
        self.mounted: dict[str, mounts.Mount] = {}
        self.connected: list[str] = []
        self.done: list[tuple[Any, ...]] = []
        self.busy: set[str] = set()
        self.failing: dict[str, Exception] = {}
        self.blind = False

    def _do(self, *what: Any) -> None:
        self.done.append(what)
        if what[0] in self.failing:
            raise self.failing[what[0]]

    def share(self, directory: str) -> None:
        self._do("share", directory)

    def table(self, pid: int | str = "self") -> dict[str, mounts.Mount]:
        if pid == "self":
            return dict(self.mounted)
        if self.blind:
            return {}
        return {f"/volumes/{Path(at).name}": one for at, one in self.mounted.items()}

    def look(self, device: str) -> dict[str, Any]:
        self._do("look", device)
        return {"tags": self.tags.get(device, {}), "blank": self.blank.get(device, True)}

    def make(self, device: str, file_system: str, owner: list[int] | None) -> None:
        self._do("make", device, file_system, owner)
        self.tags[device] = {"TYPE": file_system, "USAGE": "filesystem"}

    def mount(self, device: str, target: str, file_system: str, read_only: bool) -> None:
        self._do("mount", device, target)
        assert Path(target).is_dir()
        self.mounted[target] = mounts.Mount(
            self.number(device), device, file_system, read_only, True
        )

    mount_again = mount

    def unmount(self, target: str) -> None:
        self._do("unmount", target)
        if target in self.busy:
            raise exceptions.VolumeBusy(f"{target} is busy")
        del self.mounted[target]

    def release(self, device: str) -> bool:
        self._do("release", device)
        return device not in self.busy

    def grow(self, source: str, target: str, file_system: str) -> None:
        self._do("grow", source, file_system)

    def number(self, device: str) -> str:
        return f"7:{device.rpartition('loop')[2]}"

    def verbs(self) -> list[str]:
        return [what[0] for what in self.done]

    # Of os-brick

    def properties(self) -> dict[str, Any]:
        return {"host": "unit-host"}

    def connect(self, info: dict[str, Any]) -> str:
        self._do("connect", info["data"]["path"])
        self.connected.append(info["data"]["path"])
        info["data"]["device_path"] = info["data"]["path"]
        return str(info["data"]["path"])

    def disconnect(self, info: dict[str, Any]) -> None:
        self._do("disconnect", info["data"]["path"])
        with contextlib.suppress(ValueError):
            self.connected.remove(info["data"]["path"])

    def extend(self, info: dict[str, Any]) -> None:
        self._do("extend", info["data"]["path"])


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    fake = Host()
    for name in (
        "share",
        "table",
        "look",
        "make",
        "mount",
        "mount_again",
        "unmount",
        "release",
        "grow",
    ):
        monkeypatch.setattr(mounts, name, getattr(fake, name))
    monkeypatch.setattr(mounted, "_number", fake.number)
    return fake


@pytest.fixture
def owner() -> mock.Mock:
    return mock.Mock(return_value=None)


@pytest.fixture
def ours(host: Host, owner: mock.Mock, tmp_path: Path) -> mounted.Volumes:
    return mounted.Volumes(str(tmp_path), ALLOWED, host, owner)  # type: ignore[arg-type]


def info(number: int = 1, **data: Any) -> dict[str, Any]:
    return {"driver_volume_type": "local", "data": {"path": f"/dev/loop{number}", **data}}


class TestChoice:
    @pytest.mark.parametrize(
        ("tags", "blank", "read_only", "expected"),
        [
            ({}, True, False, "ext4"),
            (EXT4, False, False, "ext4"),
            (XFS, False, True, "xfs"),
        ],
    )
    def test_accepted(self, tags: Any, blank: bool, read_only: bool, expected: str) -> None:
        assert mounted.chosen(tags, blank, ALLOWED, read_only) == expected

    @pytest.mark.parametrize(
        ("tags", "blank", "read_only", "reason"),
        [
            ({}, False, False, "neither blank"),
            ({}, True, True, "may only be read"),
            ({"AMBIVALENT": "yes"}, False, False, "several things"),
            ({"PTTYPE": "gpt"}, False, False, "partition table"),
            ({**EXT4, "PTTYPE": "dos"}, False, False, "partition table"),
            ({**EXT4, "EXT_JOURNAL": "uuid"}, False, False, "journal on another"),
            ({"TYPE": "crypto_LUKS", "USAGE": "crypto"}, False, False, "crypto_LUKS"),
            ({"TYPE": "LVM2_member", "USAGE": "raid"}, False, False, "LVM2_member"),
            ({"TYPE": "btrfs", "USAGE": "filesystem"}, False, False, "btrfs"),
            ({"TYPE": "ext4", "USAGE": "other"}, False, False, "ext4 is on"),
            ({"USAGE": "filesystem"}, False, False, "something unknown"),
        ],
    )
    def test_refused(self, tags: Any, blank: bool, read_only: bool, reason: str) -> None:
        with pytest.raises(exceptions.VolumeRefused, match=reason):
            mounted.chosen(tags, blank, ALLOWED, read_only)

    def test_one_that_is_not_allowed_here_is_refused(self) -> None:
        with pytest.raises(exceptions.VolumeRefused, match="xfs is on the volume"):
            mounted.chosen(XFS, False, ("ext4",), False)


class TestRemappedRoot:
    @pytest.mark.parametrize(
        ("options", "root", "expected"),
        [
            (["name=seccomp"], "/var/lib/docker", None),
            (None, "/var/lib/docker/1.2", None),
            (["name=userns"], "/var/lib/docker/165536.165537/", (165536, 165537)),
        ],
    )
    def test_it_is_in_the_name_of_the_engines_directory(
        self, options: Any, root: str, expected: Any
    ) -> None:
        found = mounted.remapped_root({"SecurityOptions": options, "DockerRootDir": root})
        assert found == expected

    def test_one_that_is_not_told_is_a_fault(self) -> None:
        with pytest.raises(exceptions.VolumeError, match="who is root"):
            mounted.remapped_root({"SecurityOptions": ["name=userns"], "DockerRootDir": "/x"})


class TestVolumes:
    def test_a_blank_one_is_made_and_mounted_once(
        self, ours: Any, host: Host, owner: Any, tmp_path: Path
    ) -> None:
        owner.return_value = (1000, 1001)
        assert ours.attach("u", info(), "/dev/vdb")
        assert ("make", "/dev/loop1", "ext4", [1000, 1001]) in host.done
        assert list(host.mounted) == [str(tmp_path / "u" / "vdb")]
        assert not ours.attach("u", info(), "/dev/vdb")
        assert host.verbs().count("mount") == 1

    def test_one_with_a_file_system_is_not_made(self, ours: Any, host: Host) -> None:
        host.tags["/dev/loop1"] = XFS
        ours.attach("u", info(access_mode="ro"), "vdb")
        assert "make" not in host.verbs()
        (there,) = host.mounted.values()
        assert there.read_only
        assert there.file_system == "xfs"

    @pytest.mark.parametrize(
        ("volume", "name"),
        [
            (info(encrypted=True), "/dev/vdb"),
            (info(access_mode="rx"), "/dev/vdb"),
            ({**info(), "multiattach": True}, "/dev/vdb"),
            (info(), "/dev/.."),
            (info(), "/dev/"),
            (info(), None),
            (info(), "vd b"),
        ],
    )
    def test_what_is_refused_is_not_even_connected(
        self, volume: Any, name: Any, ours: Any, host: Host
    ) -> None:
        with pytest.raises(exceptions.VolumeRefused):
            ours.attach("u", volume, name)
        assert host.done == []

    def test_the_connection_of_a_refused_one_is_taken_back(self, ours: Any, host: Host) -> None:
        host.blank["/dev/loop1"] = False
        with pytest.raises(exceptions.VolumeRefused):
            ours.attach("u", info(), "vdb")
        assert host.connected == []
        assert host.verbs() == ["connect", "look", "release", "disconnect"]

    def test_one_that_cannot_be_mounted_is_refused(self, ours: Any, host: Host) -> None:
        host.failing["mount"] = exceptions.VolumeError("bad superblock")
        with pytest.raises(exceptions.VolumeRefused, match="cannot be mounted: bad superblock"):
            ours.attach("u", info(), "vdb")
        assert host.connected == []

    def test_what_others_use_stays_connected(self, ours: Any, host: Host, caplog: Any) -> None:
        host.failing["look"] = exceptions.VolumeError("in use")
        host.busy.add("/dev/loop1")
        with pytest.raises(exceptions.VolumeError, match="in use"):
            ours.attach("u", info(), "vdb")
        assert "disconnect" not in host.verbs()
        assert "left alone" in caplog.text

    def test_a_connection_that_cannot_be_taken_back_is_told(
        self, ours: Any, host: Host, caplog: Any
    ) -> None:
        host.failing.update(look=exceptions.VolumeError("x"), disconnect=OSError("no"))
        with pytest.raises(exceptions.VolumeError, match="x"):
            ours.attach("u", info(), "vdb")
        assert "may be left connected" in caplog.text

    def test_one_place_is_for_one_volume(self, ours: Any, host: Host) -> None:
        ours.attach("u", info(1), "vdb")
        with pytest.raises(exceptions.VolumeError, match="another volume"):
            ours.attach("u", info(2), "vdb")
        assert host.connected == ["/dev/loop1"]

    def test_detached_once(self, ours: Any, host: Host, tmp_path: Path) -> None:
        volume = info()
        ours.attach("u", volume, "vdb")
        ours.detach("u", volume, "vdb")
        assert (host.mounted, host.connected) == ({}, [])
        assert not (tmp_path / "u" / "vdb").exists()
        # A crash may have come in between.
        ours.detach("u", volume, "vdb")
        host.done.clear()
        ours.detach("u", info(), "vdb")
        assert host.done == []

    def test_a_busy_one_stays(self, ours: Any, host: Host, tmp_path: Path) -> None:
        ours.attach("u", info(), "vdb")
        host.busy.add(str(tmp_path / "u" / "vdb"))
        with pytest.raises(exceptions.VolumeBusy):
            ours.detach("u", info(), "vdb")
        assert host.connected == ["/dev/loop1"]

    def test_one_that_is_mounted_elsewhere_too_is_mounted_again(
        self, ours: Any, host: Host
    ) -> None:
        ours.attach("u", info(), "vdb")
        host.busy.add("/dev/loop1")
        with pytest.raises(exceptions.VolumeBusy, match="elsewhere"):
            ours.detach("u", info(), "vdb")
        assert len(host.mounted) == 1
        assert host.connected == ["/dev/loop1"]

    def test_all_but_a_busy_one_go(self, ours: Any, host: Host, tmp_path: Path) -> None:
        attached = [(info(1), "vdb"), (info(2), "vdc")]
        for one in attached:
            ours.attach("u", *one)
        place = str(tmp_path / "u" / "vdb")
        host.busy.add(place)
        with pytest.raises(exceptions.VolumeBusy):
            ours.detach_all("u", attached, forget=True)
        assert host.connected == ["/dev/loop1"]
        host.busy.clear()
        # One that Nova has forgotten.
        ours.detach_all("u", [], forget=True)
        assert host.mounted == {}
        assert not (tmp_path / "u").exists()
        ours.detach_all("u", [], forget=True)

    def test_volumes_are_set_aside(self, ours: Any, host: Host) -> None:
        ours.attach("u", info(), "vdb")
        ours.attach("other", info(2), "vdb")
        with pytest.raises(ValueError, match="inside"), ours.aside("u"):
            assert len(host.mounted) == 1
            assert not ours.any("u")
            raise ValueError("inside")
        assert len(host.mounted) == 2

    def test_growing(self, ours: Any, host: Host) -> None:
        with pytest.raises(exceptions.VolumeError, match="not mounted"):
            ours.grow("u", info())
        ours.attach("u", info(), "vdb")
        ours.grow("u", info())
        assert host.done[-1] == ("grow", "/dev/loop1", "ext4")
        host.tags["/dev/loop2"] = EXT4
        ours.attach("u", info(2, access_mode="ro"), "vdc")
        with pytest.raises(exceptions.VolumeError, match="only be read"):
            ours.grow("u", info(2))

    def test_preparation(self, ours: Any, host: Host, owner: Any, tmp_path: Path) -> None:
        off = mounted.Volumes(str(tmp_path / "x"), (), host, owner)  # type: ignore[arg-type]
        off.prepare()
        assert host.done == []
        assert off.bound("u") == []
        ours.prepare()
        assert host.done == [("share", str(tmp_path))]
        (bind,) = ours.bound("u")
        assert bind["ReadOnly"]
        assert bind["BindOptions"] == {"Propagation": "rslave", "ReadOnlyNonRecursive": True}
        assert Path(bind["Source"]).stat().st_mode & 0o777 == 0o755


def test_only_block_devices_have_a_number() -> None:
    with pytest.raises(exceptions.VolumeRefused, match="no block device"):
        mounted._number("/dev/null")
    with mock.patch.object(mounted.stat, "S_ISBLK", return_value=True):
        assert mounted._number("/dev/null") == "1:3"


@pytest.fixture
def docker_driver(host: Host, new_driver: Any) -> driver.DockerDriver:
    return new_driver(connections=host)


@pytest.fixture
def allowing(
    host: Host, docker_driver: driver.DockerDriver, option: Any, new_driver: Any
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
        self, allowing: Any, host: Host, engine: Any, instance: Any
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
        self, allowing: Any, host: Host, engine: Any, instance: Any
    ) -> None:
        spawn(allowing, instance, 1, 2)
        assert len(host.mounted) == 2
        (bound,) = self.workload(engine, instance)["HostConfig"]["Mounts"]
        assert bound["Target"] == "/volumes"
        allowing.destroy(None, instance, [], bdi(1, 2))
        assert (host.mounted, host.connected) == ({}, [])

    def test_a_build_that_fails_leaves_none(
        self, allowing: Any, host: Host, engine: Any, instance: Any
    ) -> None:
        engine.failing["start"] = exceptions.EngineError("OCI runtime: no", 400)
        with pytest.raises(exception.ImageUnacceptable):
            spawn(allowing, instance, 1)
        assert (host.mounted, host.connected) == ({}, [])

    def test_a_refused_volume_refuses_the_server(
        self, allowing: Any, host: Host, engine: Any, instance: Any
    ) -> None:
        host.blank["/dev/loop2"] = False
        # InvalidInput: Nova tries no other host.
        with pytest.raises(exception.InvalidInput, match="neither blank"):
            spawn(allowing, instance, 1, 2)
        assert (host.mounted, host.connected) == ({}, [])

    def test_attached_and_detached_while_it_runs(
        self, allowing: Any, host: Host, instance: Any, tmp_path: Path
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
        self, allowing: Any, host: Host, instance: Any
    ) -> None:
        with pytest.raises(exception.InvalidVolume, match="encrypted"):
            allowing.attach_volume(None, info(), instance, "/dev/vdb", encryption={"a": 1})
        with pytest.raises(NotImplementedError):
            allowing.swap_volume(None, info(), info(2), instance, "/dev/vdb", 1)
        assert host.done == []

    def test_what_the_container_does_not_see_is_taken_back(
        self, allowing: Any, host: Host, instance: Any
    ) -> None:
        spawn(allowing, instance)
        host.blind = True
        with pytest.raises(exception.InvalidVolume, match="made before"):
            allowing.attach_volume(None, info(), instance, "/dev/vdb")
        assert (host.mounted, host.connected) == ({}, [])

    def test_what_cannot_be_taken_back_is_told(
        self, allowing: Any, host: Host, instance: Any, caplog: Any
    ) -> None:
        spawn(allowing, instance)
        host.blind = True
        host.failing["unmount"] = exceptions.VolumeBusy("busy")
        with pytest.raises(exception.InvalidVolume, match="made before"):
            allowing.attach_volume(None, info(), instance, "/dev/vdb")
        assert "stays attached" in caplog.text

    def test_an_instance_that_is_not_here_needs_not_see_it(
        self, allowing: Any, host: Host, instance: Any
    ) -> None:
        allowing.attach_volume(None, info(), instance, "/dev/vdb")
        assert len(host.mounted) == 1

    @pytest.mark.parametrize("start", ["power_on", "reboot", "resume", "restore", "unrescue"])
    def test_they_are_mounted_before_it_starts(
        self,
        start: str,
        allowing: Any,
        host: Host,
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
        self, allowing: Any, host: Host, instance: Any
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

    def test_one_that_stays_is_told_after_all_else_is_gone(
        self, allowing: Any, host: Host, engine: Any, instance: Any
    ) -> None:
        spawn(allowing, instance, 1)
        host.failing["unmount"] = exceptions.VolumeBusy("busy")
        with pytest.raises(exception.DeviceDetachFailed):
            allowing.destroy(None, instance, [], bdi(1))
        assert engine.names() == set()

    def test_a_rescue_copies_nothing_of_them(
        self, allowing: Any, host: Host, engine: Any, instance: Any, monkeypatch: Any
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

    def test_extending(self, allowing: Any, host: Host, instance: Any) -> None:
        spawn(allowing, instance, 1)
        allowing.extend_volume(None, info(), instance, 2 << 30)
        assert host.verbs()[-2:] == ["extend", "grow"]
        host.failing["grow"] = exceptions.VolumeError("Permission denied")
        with pytest.raises(exception.InvalidVolume, match="Permission denied"):
            allowing.extend_volume(None, info(), instance, 2 << 30)

    @pytest.mark.parametrize("fault", [exceptions.VolumeError("no"), OSError("no")])
    def test_a_host_that_cannot_does_not_start(
        self, fault: Exception, allowing: Any, host: Host
    ) -> None:
        host.failing["share"] = fault
        with pytest.raises(exception.InvalidConfiguration, match="volume_file_systems"):
            allowing.init_host("unit-host")
        host.failing["share"] = FailedToDropPrivileges("no sudo")
        with pytest.raises(exception.InvalidConfiguration, match="no sudo"):
            allowing.init_host("unit-host")

    def test_without_the_option_volumes_are_refused_and_still_detached(
        self, allowing: Any, docker_driver: Any, host: Host, instance: Any
    ) -> None:
        spawn(allowing, instance, 1)
        with pytest.raises(exception.InvalidBDMFormat, match="volume_file_systems"):
            docker_driver.power_on(None, instance, [], bdi(1))
