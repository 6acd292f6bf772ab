# SPDX-License-Identifier: Apache-2.0
"""Shares, as Nova asks for them, on a host in memory."""

from __future__ import annotations

from typing import Any

import pytest
from nova import exception, objects

from novadocker.tests import make
from novadocker.tests.fake_engine import workload
from novadocker.tests.fake_host import FakeHost
from novadocker.virt.docker import driver
from novadocker.virt.docker.engine import containers

EXPORT = "192.0.2.9:/exports/one"
SHARE_ID = "e8debdc0-447a-4376-a10a-4cd9122d7986"


@pytest.fixture(autouse=True)
def _pids(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine in memory has no processes."""

    def pid(self: Any, name: str) -> int:
        return 77 if self.state(name) is containers.State.RUNNING else 0

    monkeypatch.setattr(containers.Containers, "pid", pid)


@pytest.fixture
def docker_driver(host: FakeHost, option: Any, new_driver: Any) -> driver.DockerDriver:
    option("share_protocols", ["NFS"])
    return new_driver()


def mapping(instance: Any, tag: str = "data", share_proto: str = "NFS") -> Any:
    """Make what Nova knows of a share of an instance."""
    return objects.ShareMapping(
        instance_uuid=instance.uuid,
        share_id=SHARE_ID,
        tag=tag,
        export_location=EXPORT,
        share_proto=share_proto,
    )


def test_options_say_whether_there_are_shares(
    docker_driver: Any, option: Any, new_driver: Any, spawned: Any
) -> None:
    # By these names, which are of virtual machines, Nova's API asks.
    needed = ("supports_virtio_fs", "supports_mem_backing_file")
    assert all(docker_driver.capabilities[name] for name in needed)
    option("share_protocols", [])
    off = new_driver()
    assert not any(off.capabilities[name] for name in needed)
    with pytest.raises(exception.ShareProtocolNotSupported):
        off.mount_share(None, spawned, mapping(spawned))


def test_another_protocol_is_refused(docker_driver: Any, host: FakeHost, spawned: Any) -> None:
    with pytest.raises(exception.ShareProtocolNotSupported):
        docker_driver.mount_share(None, spawned, mapping(spawned, share_proto="CEPHFS"))
    assert host.done == []


def test_mounted_before_a_start_and_seen(
    docker_driver: Any, host: FakeHost, spawned: Any, engine: Any
) -> None:
    targets = [mount["Target"] for mount in workload(engine, spawned)["HostConfig"]["Mounts"]]
    assert targets == ["/shares"]
    share = mapping(spawned)
    docker_driver.power_off(spawned)
    docker_driver.mount_share(None, spawned, share)
    docker_driver.power_on(None, spawned, [], share_info=[share])
    assert docker_driver.is_share_mounted(share)
    docker_driver.reboot(None, spawned, [], "HARD", share_info=[share])
    docker_driver.resume_state_on_host_boot(None, spawned, [], [share])
    docker_driver.power_off(spawned)
    assert docker_driver.umount_share(None, spawned, share) is False
    assert host.mounted == {}


def test_one_that_is_not_seen_is_a_fault(docker_driver: Any, host: FakeHost, spawned: Any) -> None:
    share = mapping(spawned)
    docker_driver.mount_share(None, spawned, share)
    host.blind = True
    with pytest.raises(exception.ShareMountError, match="hard reboot"):
        docker_driver.power_on(None, spawned, [], share_info=[share])


@pytest.mark.parametrize(("asked", "read_only"), [("ro", True), ("rw", False), ("r", True)])
def test_read_only_where_a_flavor_asks_for_it(
    asked: str, read_only: bool, docker_driver: Any, host: FakeHost, spawned: Any
) -> None:
    spawned.flavor = make.flavor(extra_specs={"docker:shares": asked})
    docker_driver.mount_share(None, spawned, mapping(spawned))
    (there,) = host.mounted.values()
    assert there.read_only is read_only


def test_faults_are_told_in_novas_words(docker_driver: Any, host: FakeHost, spawned: Any) -> None:
    share = mapping(spawned)
    docker_driver.mount_share(None, spawned, share)
    host.busy.update(host.mounted)
    with pytest.raises(exception.ShareUmountError, match="busy"):
        docker_driver.umount_share(None, spawned, share)
    share.export_location = "nowhere"
    with pytest.raises(exception.ShareMountError, match="no export"):
        docker_driver.mount_share(None, spawned, share)


def test_nothing_is_left_of_one_that_is_deleted(
    docker_driver: Any, host: FakeHost, spawned: Any
) -> None:
    share = mapping(spawned)
    docker_driver.mount_share(None, spawned, share)
    docker_driver.destroy(None, spawned, [])
    assert host.mounted == {}
    # Nova asks after it.
    assert docker_driver.umount_share(None, spawned, share) is False
