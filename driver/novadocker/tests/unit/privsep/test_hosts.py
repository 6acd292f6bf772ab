# SPDX-License-Identifier: Apache-2.0
"""Hosts files of instances, which instances write as well."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from oslo_privsep import capabilities

from novadocker import privsep
from novadocker.privsep import hosts

ENGINES = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n"


@pytest.fixture(autouse=True)
def _here() -> Iterator[None]:
    privsep.ctx.set_client_mode(False)
    yield
    privsep.ctx.set_client_mode(True)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "containers" / ("a" * 64) / "hosts"
    made.parent.mkdir(parents=True)
    made.write_text(f"{ENGINES}198.51.100.5\tweb\n2001:db8::5\tweb\n10.0.0.9 db\n")
    return made


def test_the_helper_may_write_into_files_of_another_user_s() -> None:
    # With user namespaces they are of who is root in containers. In a process where no test has
    # set its options back to what they are by themselves.
    ask = "from novadocker import privsep; print(*privsep.ctx.conf.capabilities)"
    told = subprocess.run([sys.executable, "-c", ask], check=True, capture_output=True, text=True)
    assert str(capabilities.CAP_DAC_OVERRIDE) in told.stdout.split()


def test_addresses_are_replaced_where_they_stood(file: Path) -> None:
    inode = file.stat().st_ino
    assert hosts.set_own_addresses(str(file), "web", ["192.0.2.7"])
    assert file.read_text() == f"{ENGINES}192.0.2.7\tweb\n10.0.0.9 db\n"
    # It is mounted: another file of that name would not be seen.
    assert file.stat().st_ino == inode
    assert not hosts.set_own_addresses(str(file), "web", ["192.0.2.7"])


def test_lines_of_the_instance_s_own_stay(file: Path) -> None:
    own = "10.0.0.8 web db\n#198.51.100.5 web\n\xff\n"
    file.write_bytes(own.encode("latin-1"))
    hosts.set_own_addresses(str(file), "web", ["192.0.2.7", "2001:db8::7"])
    assert file.read_bytes().decode("latin-1") == f"{own}192.0.2.7\tweb\n2001:db8::7\tweb\n"


def test_what_an_instance_has_blown_up_is_left_alone(file: Path) -> None:
    os.truncate(file, 1 << 40)
    with pytest.raises(OSError, match="it has more than 65536 bytes"):
        hosts.set_own_addresses(str(file), "web", ["192.0.2.7"])


def test_no_more_is_read_than_that_whatever_the_instance_adds_meanwhile(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.fstat

    def then_grows(descriptor: int) -> os.stat_result:
        status = before(descriptor)
        with monkeypatch.context() as patched:
            patched.setattr(os, "fstat", before)
            os.truncate(file, 1 << 20)
        return status

    monkeypatch.setattr(os, "fstat", then_grows)
    with pytest.raises(OSError, match="it has more than 65536 bytes"):
        hosts.set_own_addresses(str(file), "web", ["192.0.2.7"])
    assert file.stat().st_size == 1 << 20


@pytest.mark.parametrize(
    "path",
    ["/etc/hosts", "/containers/../../etc/hosts", f"/var/containers/{'a' * 64}/hostname", "hosts"],
)
def test_nothing_else_is_written_to(path: str) -> None:
    with pytest.raises(OSError, match="no hosts file of a container"):
        hosts.set_own_addresses(path, "web", ["192.0.2.7"])


def test_no_link_is_followed_and_no_pipe_waited_for(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "shadow"
    target.write_text("kept")
    file.unlink()
    file.symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"):
        hosts.set_own_addresses(str(file), "web", ["192.0.2.7"])
    assert target.read_text() == "kept"
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(OSError, match="no ordinary file"):
        hosts.set_own_addresses(str(file), "web", ["192.0.2.7"])
    file.unlink()
    file.mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        hosts.set_own_addresses(str(file), "web", ["192.0.2.7"])
