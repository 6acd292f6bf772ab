# SPDX-License-Identifier: Apache-2.0
"""lxcfs, by what the kernel says of mounts; the real one is mounted in the functional tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nova import exception

from novadocker import exceptions
from novadocker.cmd import check
from novadocker.tests import make
from novadocker.tests.make import HOST
from novadocker.virt.docker.engine import isolation, lxcfs


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A directory as lxcfs makes it, without one of its files."""
    (tmp_path / "lxcfs" / "proc").mkdir(parents=True)
    for name in (*lxcfs.FILES[1:], "slabinfo"):
        (tmp_path / "lxcfs" / "proc" / name).touch()
    return str(tmp_path / "lxcfs")


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def mount(*lines: str) -> None:
        (tmp_path / "mounts").write_text("".join(f"{line} 0 0\n" for line in lines))
        monkeypatch.setattr(lxcfs, "MOUNTS", str(tmp_path / "mounts"))

    return mount


def test_lxcfs_is_found_where_it_is_mounted(path: str, mounted: Any) -> None:
    mounted("proc /proc proc rw", f"lxcfs {path} fuse.lxcfs rw")
    assert lxcfs.fault(path) is None
    assert lxcfs.fault(f"{path}/") is None


def test_a_directory_alone_is_no_lxcfs(path: str, mounted: Any) -> None:
    mounted(f"lxcfs {path} fuse.lxcfs rw", f"tmpfs {path} tmpfs rw")
    assert "not mounted" in str(lxcfs.fault(path))
    assert "not mounted" in str(lxcfs.fault("/var/lib/other"))


def test_one_that_has_died_does_not_answer(tmp_path: Path, mounted: Any) -> None:
    mounted(f"lxcfs {tmp_path} fuse.lxcfs rw")
    assert "does not answer" in str(lxcfs.fault(str(tmp_path)))


def test_nova_compute_does_not_start_without_what_is_asked_for(
    docker_driver: Any, option: Any, path: str, mounted: Any
) -> None:
    option("lxcfs_path", path)
    mounted()
    with pytest.raises(exception.InvalidConfiguration, match=r"lxcfs_path.*start lxcfs"):
        docker_driver.init_host(HOST)
    mounted(f"lxcfs {path} fuse.lxcfs rw")
    docker_driver.init_host(HOST)
    docker_driver.cleanup_host(HOST)


def test_the_check_tells_of_it(conf: Any, option: Any, path: str, mounted: Any) -> None:
    mounted(f"lxcfs {path} fuse.lxcfs rw")
    assert check.lxcfs(conf) == []
    option("lxcfs_path", path)
    assert [finding.state for finding in check.lxcfs(conf)] == ["ok"]
    mounted()
    assert [finding.state for finding in check.lxcfs(conf)] == ["error"]


def test_workloads_and_no_sandboxes_get_its_files(
    new_driver: Any, engine: Any, image_meta: Any, option: Any, path: str
) -> None:
    option("lxcfs_path", path)
    instance = make.instance()
    new_driver().spawn(None, instance, image_meta, [], None, {}, [])
    made = engine.call("inspect_container", f"nova-{instance.uuid}")["HostConfig"]["Mounts"]
    assert {mount["Target"]: mount["Source"] for mount in made} == {
        f"/proc/{name}": f"{path}/proc/{name}" for name in lxcfs.FILES[1:]
    }
    assert all(mount["ReadOnly"] and mount["Type"] == "bind" for mount in made)
    sandbox = engine.call("inspect_container", f"nova-sandbox-{instance.uuid}")
    assert "Mounts" not in sandbox["HostConfig"]


def test_an_instance_is_not_made_with_the_hosts_files_instead(tmp_path: Path) -> None:
    with pytest.raises(exceptions.DriverError, match="is it stopped"):
        isolation.arguments(isolation.Isolation((), lxcfs_path=str(tmp_path)), {})
