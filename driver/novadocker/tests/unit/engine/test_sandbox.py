# SPDX-License-Identifier: Apache-2.0
"""The container that owns an instance's network namespace."""

from __future__ import annotations

import platform
import stat
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from novadocker import exceptions
from novadocker.tests.fake_engine import FakeEngine
from novadocker.virt.docker.engine import sandbox


class TestSandbox:
    @pytest.mark.parametrize(("machine", "number"), [("x86_64", 62), ("aarch64", 183)])
    def test_program_is_a_tiny_executable(self, machine: str, number: int) -> None:
        elf = sandbox.program(machine)
        assert len(elf) < 200
        assert elf[:4] == b"\x7fELF"
        kind, machine_number, _version, entry = struct.unpack_from("<HHIQ", elf, 16)
        size = struct.unpack_from("<Q", elf, 64 + 32)[0]
        assert (kind, machine_number, entry - 0x400000, size) == (2, number, 120, len(elf))

    def test_other_machines_are_refused(self) -> None:
        with pytest.raises(exceptions.EngineError, match="m68k"):
            sandbox.program("m68k")

    def test_program_waits_until_it_is_killed(self, tmp_path: Path) -> None:
        program = tmp_path / "pause"
        program.write_bytes(sandbox.program(platform.machine()))
        program.chmod(stat.S_IRWXU)
        process = subprocess.Popen([str(program)])
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.2)
        process.kill()
        assert process.wait(5) == -9

    @pytest.mark.field_case("K9.6")
    def test_an_image_that_was_pruned_is_made_again(self) -> None:
        engine = FakeEngine()
        boxes = sandbox.Sandboxes(engine)
        boxes.create("box", {}, "host", [], [])
        boxes.ensure_image()
        assert engine.calls.count("import_image_from_data") == 1

    def test_the_sandbox_can_do_nothing(self) -> None:
        engine = FakeEngine()
        boxes = sandbox.Sandboxes(engine)
        boxes.create("box", {}, "host", ["192.0.2.53"], ["192.0.2.5", "2001:db8::5"])
        asked = engine._find("box")
        config = asked["HostConfig"]
        assert config["NetworkMode"] == "none"
        assert config["CapDrop"] == ["ALL"]
        assert config["ReadonlyRootfs"]
        assert config["Dns"] == ["192.0.2.53"]
        # Given, so that the host's are not taken.
        assert config["DnsSearch"] == ["."]
        assert config["DnsOptions"]
        assert config["ExtraHosts"] == ["host:192.0.2.5", "host:2001:db8::5"]
        assert asked["asked"]["hostname"] == "host"

    @pytest.mark.field_case("K9.3")
    @pytest.mark.parametrize(("heard", "value"), [(True, "1"), (False, "0")])
    def test_a_router_that_announces_itself_gives_routes_and_no_addresses(
        self, heard: bool, value: str, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr(sandbox.os.path, "exists", lambda path: True)
        engine = FakeEngine()
        sandbox.Sandboxes(engine).create("box", {}, "host", [], [], heard)
        sysctls = engine._find("box")["HostConfig"]["Sysctls"]
        assert sysctls["net.ipv6.conf.default.accept_ra"] == value
        assert sysctls["net.ipv6.conf.default.autoconf"] == "0"

    @pytest.mark.parametrize(
        ("name", "given"),
        [
            (None, None),
            ("web.example.org", "web.example.org"),
            ("x" * 64, "x" * 64),
            ("x" * 62 + "-y" + "z", "x" * 62 + "-y"),
            ("x" * 63 + "-y", "x" * 63),
            ("web." + "x" * 61, "web"),
        ],
    )
    def test_a_host_name_is_one_that_the_kernel_takes(
        self, name: str | None, given: str | None
    ) -> None:
        engine = FakeEngine()
        sandbox.Sandboxes(engine).create("box", {}, name, [], [])
        assert engine._find("box")["asked"]["hostname"] == given

    def test_ipv6_is_left_alone_where_the_host_has_none(self, monkeypatch: Any) -> None:
        monkeypatch.setattr(sandbox.os.path, "exists", lambda _path: False)
        engine = FakeEngine()
        sandbox.Sandboxes(engine).create("box", {}, "host", [], [])
        assert not engine._find("box")["HostConfig"].get("Sysctls")

    def test_a_dead_engine_is_not_taken_for_one_without_quotas(self) -> None:
        engine = FakeEngine()
        engine.failing["create_container"] = exceptions.EngineUnreachable("dead")
        with pytest.raises(exceptions.EngineUnreachable):
            sandbox.Sandboxes(engine).limits_file_systems()

    @pytest.mark.field_case("K8.4")
    @pytest.mark.parametrize(("taken", "holds"), [(True, True), (True, False), (False, False)])
    def test_a_limit_of_file_systems_is_believed_when_it_has_held(
        self, taken: bool, holds: bool
    ) -> None:
        engine = FakeEngine()
        engine.quota, engine.quota_holds = taken, holds
        sandboxes = sandbox.Sandboxes(engine)
        sandboxes.ensure_image()
        assert sandboxes.limits_file_systems() is holds
        assert engine.containers == {}

    def test_a_probe_that_a_crash_has_left_is_removed(self) -> None:
        engine = FakeEngine()
        engine.quota = True
        sandboxes = sandbox.Sandboxes(engine)
        sandboxes.ensure_image()
        engine.failing["put_archive"] = exceptions.EngineUnreachable("dead")
        remove = engine._remove_container
        engine._remove_container = lambda *_args, **_asked: None
        with pytest.raises(exceptions.EngineUnreachable):
            sandboxes.limits_file_systems()
        assert len(engine.containers) == 1
        engine.failing.clear()
        engine._remove_container = remove
        assert sandboxes.limits_file_systems()
        assert engine.containers == {}

    @pytest.mark.field_case("K8.4")
    def test_containerds_image_store_limits_no_file_system(self) -> None:
        engine = FakeEngine()
        engine.quota = True
        engine.driver_status = [["driver-type", "io.containerd.snapshotter.v1"]]
        sandboxes = sandbox.Sandboxes(engine)
        sandboxes.ensure_image()
        assert not sandboxes.limits_file_systems()
        assert "create_container" not in engine.calls

    def test_a_probe_that_fails_otherwise_is_no_limit_and_is_removed(self) -> None:
        engine = FakeEngine()
        engine.quota = True
        engine.failing["put_archive"] = exceptions.EngineError("input/output error", 500)
        sandboxes = sandbox.Sandboxes(engine)
        sandboxes.ensure_image()
        with pytest.raises(exceptions.EngineError, match="input/output"):
            sandboxes.limits_file_systems()
        assert engine.containers == {}
