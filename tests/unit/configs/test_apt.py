# SPDX-License-Identifier: Apache-2.0
"""What an installation would do, by the real apt in a root of its own: no package is touched."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from library import apt, faults

from .conftest import Make, Programs

pytestmark = pytest.mark.skipif(
    not shutil.which("apt-get") or not pathlib.Path("/usr/lib/apt/methods").is_dir(),
    reason="needs apt",
)

ENGINE = ["docker.io", "iptables"]
CONTAINERD_IO = {"Conflicts": "containerd, runc", "Provides": "containerd, runc"}


def stanza(name: str, version: str = "1.0", **more: str) -> str:
    fields = {
        "Package": name,
        "Version": version,
        "Architecture": "all",
        "Maintainer": "Nobody <nobody@example.org>",
        "Description": "nothing",
        **more,
    }
    return "".join(f"{key}: {value}\n" for key, value in fields.items()) + "\n"


AVAILABLE = (
    stanza("docker.io", "20.10", Depends="containerd (>= 1.2.6), runc")
    + stanza("containerd", "1.6", Depends="runc")
    + stanza("runc")
    + stanza("iptables")
)


@pytest.fixture
def host(tmp_path: pathlib.Path, programs: Programs) -> Callable[..., None]:
    """Return a function that says what is installed on a host, and whether it knows its index."""
    place = tmp_path / "apt"
    for name in ("etc/apt", "lists/partial", "cache/archives/partial", "dpkg", "repository"):
        (place / name).mkdir(parents=True)
    (place / "etc/apt/sources.list").write_text(f"deb [trusted=yes] file:{place}/repository ./\n")
    files = "".join(
        part + "\nFilename: ./x.deb\nSize: 1\nMD5sum: " + "0" * 32 + "\n\n"
        for part in AVAILABLE.strip().split("\n\n")
    )
    (place / "repository/Packages").write_text(files)
    options = {
        "Dir::Etc": f"{place}/etc/apt",
        "Dir::State": str(place),
        "Dir::State::lists": f"{place}/lists",
        "Dir::State::status": f"{place}/dpkg/status",
        "Dir::Cache": f"{place}/cache",
        "APT::Sandbox::User": "root",
        "Debug::NoLocking": "1",
    }
    words = " ".join(f"-o {name}={value}" for name, value in options.items())
    programs("apt-get", f'exec /usr/bin/apt-get {words} "$@"')
    programs("dpkg-query", f'exec /usr/bin/dpkg-query --admindir={place}/dpkg "$@"')

    def put(*installed: str) -> None:
        (place / "dpkg/status").write_text("".join(installed))

    put()
    return put


def installed(name: str, version: str = "1.0", want: str = "install", **more: str) -> str:
    return stanza(name, version, Status=f"{want} ok installed", **more)


def planned(make_step: Make, mode: str = "check") -> Any:
    return apt.Apt(make_step("install_docker", mode)).planned(ENGINE)


def listing(place: pathlib.Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.lstat().st_mtime_ns) for path in place.rglob("*"))


def test_a_check_on_a_host_without_an_index_tells_the_plan_and_leaves_none(
    make_step: Make, host: Callable[..., None], tmp_path: pathlib.Path
) -> None:
    before = listing(tmp_path / "apt")
    assert sorted(planned(make_step)) == ["containerd", "docker.io", "iptables", "runc"]
    assert listing(tmp_path / "apt") == before


@pytest.mark.field_case("K4.2")
def test_an_engine_of_docker_s_own_repository_is_in_conflict_and_the_way_is_told(
    make_step: Make, host: Callable[..., None]
) -> None:
    host(installed("containerd.io", "1.7", **CONTAINERD_IO))
    with pytest.raises(faults.StepFailed) as caught:
        planned(make_step)
    assert "would remove containerd.io, in conflict" in str(caught.value)
    assert "install docker-ce from there" in str(caught.value)
    assert "up to date" not in str(caught.value)


@pytest.mark.field_case("K1.3")
def test_a_package_that_is_held_is_named_with_apt_s_own_words(
    make_step: Make, host: Callable[..., None]
) -> None:
    host(installed("containerd", want="hold"), installed("iptables", want="hold"))
    with pytest.raises(faults.StepFailed) as caught:
        planned(make_step)
    assert "Depends: containerd (>= 1.2.6) but 1.0 is to be installed" in str(caught.value)
    assert "(containerd is held: `apt-mark unhold containerd`" in str(caught.value)


def test_a_package_that_would_be_upgraded_is_named(
    make_step: Make, host: Callable[..., None]
) -> None:
    host(installed("containerd"))
    with pytest.raises(faults.StepFailed, match=r"upgrade .*\(containerd\): bring them up to date"):
        planned(make_step)


def test_a_dpkg_that_was_interrupted_is_told_as_apt_would_before_it_changes_anything(
    make_step: Make, host: Callable[..., None], root: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    host(stanza("tzdata", Status="install ok unpacked"))
    place = tmp_path / "apt/dpkg"
    (root / "var/lib/dpkg").symlink_to(place)
    (place / "updates").mkdir()
    assert "docker.io" in planned(make_step)
    (place / "updates/0001").touch()
    (place / "lock").touch()
    for mode in ("check", "apply"):
        with pytest.raises(faults.StepFailed, match=r"of tzdata .*dpkg --configure -a`, then"):
            planned(make_step, mode)
    # A dpkg that is at work has such files, too.
    code = f"import fcntl, sys; held = open('{place}/lock', 'r+'); fcntl.lockf(held, fcntl.LOCK_EX)"
    command = [sys.executable, "-c", f"{code}; print(flush=True); sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        other.stdout.readline()
        assert "docker.io" in planned(make_step)
