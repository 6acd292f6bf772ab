# SPDX-License-Identifier: Apache-2.0
"""Small parts: limits, isolation, commands, resources, the sandbox's program, what guests get."""

import io
import os
import platform
import stat
import struct
import subprocess
import tarfile
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from novadocker import exceptions
from novadocker.tests import make
from novadocker.tests.unit.fake_engine import FakeEngine
from novadocker.virt.docker.engine import containers, isolation, sandbox
from novadocker.virt.docker.host import resources
from novadocker.virt.docker.host.facts import HostFacts
from novadocker.virt.docker.instances import guest


class TestLimits:
    def test_flavor(self) -> None:
        found = isolation.limits(make.flavor(vcpus=3, memory_mb=512, swap=100))
        assert found == {
            "cpu_period": 100_000,
            "cpu_quota": 300_000,
            "mem_limit": "512m",
            "memswap_limit": "612m",
        }

    def test_extra_specs(self) -> None:
        specs = {"quota:cpu_period": "50000", "quota:cpu_quota": "20000", "quota:cpu_shares": "7"}
        found = isolation.limits(make.flavor(extra_specs=specs))
        assert (found["cpu_period"], found["cpu_quota"], found["cpu_shares"]) == (50000, 20000, 7)

    @pytest.mark.parametrize(
        ("specs", "named"),
        [
            ({"quota:cpu_period": "0"}, "quota:cpu_period=0 "),
            ({"quota:cpu_period": "999"}, "quota:cpu_period=999 "),
            ({"quota:cpu_period": "1000001"}, "quota:cpu_period=1000001 "),
            ({"quota:cpu_quota": "0"}, "quota:cpu_quota=0 "),
            ({"quota:cpu_quota": "500"}, "quota:cpu_quota=500 "),
        ],
    )
    def test_what_the_engine_would_take_for_no_limit_or_refuse_is_the_flavors_fault(
        self, specs: dict[str, str], named: str
    ) -> None:
        with pytest.raises(exceptions.FlavorRefused, match=named):
            isolation.limits(make.flavor(extra_specs=specs))

    def test_no_limit_of_cpu_time_has_to_be_asked_for(self) -> None:
        found = isolation.limits(make.flavor(extra_specs={"quota:cpu_quota": "-1"}))
        assert found["cpu_quota"] == -1

    def test_no_less_memory_than_the_engine_takes(self) -> None:
        assert isolation.limits(make.flavor(memory_mb=1))["mem_limit"] == "6m"


class TestIsolation:
    def test_options(self) -> None:
        options = isolation.Isolation(("KILL",), False, 0, "{}", "runsc")
        assert isolation.arguments(options, {}) == {
            "log_config": {
                "Type": "json-file",
                "Config": {"max-size": "10m", "max-file": "3"},
            },
            "cap_drop": ["ALL"],
            "cap_add": ["KILL"],
            "runtime": "runsc",
            "security_opt": ["seccomp={}"],
        }

    @pytest.mark.parametrize(
        ("option", "asked", "limit"),
        [(100, "50", 50), (100, "200", 100), (0, "50", 50), (0, "0", None)],
    )
    def test_a_flavor_can_only_lower_the_number_of_processes(
        self, option: int, asked: str, limit: int | None
    ) -> None:
        options = isolation.Isolation((), pids_limit=option)
        found = isolation.arguments(options, {"docker:pids_limit": asked})
        assert found.get("pids_limit") == limit

    @pytest.mark.parametrize("value", ["false", "", "0"])
    def test_privileged_is_asked_for_by_true_alone(self, value: str) -> None:
        options = isolation.Isolation((), allow_privileged=True)
        assert "privileged" not in isolation.arguments(options, {"docker:privileged": value})


class TestContainers:
    @pytest.fixture
    def engine(self) -> FakeEngine:
        fake = FakeEngine()
        fake._create_container(fake.add_image("image:x"), name="box")
        return fake

    @pytest.fixture
    def boxes(self, engine: FakeEngine) -> containers.Containers:
        return containers.Containers(engine, HostFacts("host"), isolation.Isolation(()))

    @pytest.mark.parametrize(
        ("line", "config", "expected"),
        [
            ("a 'b c'", {"Cmd": ["x"]}, ["a", "b c"]),
            (None, {"Cmd": ["x"]}, None),
            (None, {"Entrypoint": ["x"]}, None),
            ("", {}, ["sh"]),
        ],
    )
    def test_command(self, line: Any, config: Any, expected: Any) -> None:
        assert containers.command(line, config) == expected

    def test_a_removal_under_way_is_waited_for(
        self, boxes: Any, engine: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        engine.failing["remove_container"] = exceptions.Conflict("removal already in progress", 409)
        assert boxes.remove("box")
        assert engine.calls[-1] == "wait"
        engine.failing["remove_container"] = exceptions.Conflict("you cannot", 409)
        with pytest.raises(exceptions.Conflict):
            boxes.remove("box")

    def test_files_that_are_not_taken_are_a_fault(
        self, boxes: Any, engine: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(engine, "_put_archive", lambda *_args: False)
        with pytest.raises(exceptions.EngineError):
            boxes.put_archive("box", b"")

    @pytest.mark.parametrize(
        ("word", "state"),
        [
            ("running", "RUNNING"),
            ("restarting", "RUNNING"),
            ("paused", "PAUSED"),
            ("created", "STOPPED"),
            ("exited", "STOPPED"),
            ("dead", "STOPPED"),
        ],
    )
    def test_states(self, word: str, state: str) -> None:
        assert containers.state_of(word) is containers.State[state]


class TestSandbox:
    @pytest.mark.parametrize(("machine", "number"), [("x86_64", 62), ("aarch64", 183)])
    def test_program_is_a_tiny_executable(self, machine: str, number: int) -> None:
        elf = sandbox.program(machine)
        assert len(elf) < 200
        assert elf[:4] == b"\x7fELF"
        kind, found, _version, entry = struct.unpack_from("<HHIQ", elf, 16)
        size = struct.unpack_from("<Q", elf, 64 + 32)[0]
        assert (kind, found, entry - 0x400000, size) == (2, number, 120, len(elf))

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

    def test_an_image_that_was_pruned_is_made_again(self) -> None:
        engine = FakeEngine()
        boxes = sandbox.Sandboxes(engine)
        boxes.create("box", {}, "host", [])
        boxes.ensure_image()
        assert engine.calls.count("import_image_from_data") == 1

    def test_the_sandbox_can_do_nothing(self) -> None:
        engine = FakeEngine()
        boxes = sandbox.Sandboxes(engine)
        boxes.create("box", {}, "host", ["192.0.2.53"])
        asked = engine._find("box")
        config = asked["HostConfig"]
        assert config["NetworkMode"] == "none"
        assert config["CapDrop"] == ["ALL"]
        assert config["ReadonlyRootfs"]
        assert config["Dns"] == ["192.0.2.53"]
        assert asked["asked"]["hostname"] == "host"

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
        sandbox.Sandboxes(engine).create("box", {}, name, [])
        assert engine._find("box")["asked"]["hostname"] == given

    def test_ipv6_is_left_alone_where_the_host_has_none(self, monkeypatch: Any) -> None:
        monkeypatch.setattr(sandbox.os.path, "exists", lambda _path: False)
        engine = FakeEngine()
        sandbox.Sandboxes(engine).create("box", {}, "host", [])
        assert not engine._find("box")["HostConfig"].get("Sysctls")

    def test_a_dead_engine_is_not_taken_for_one_without_quotas(self) -> None:
        engine = FakeEngine()
        engine.failing["create_container"] = exceptions.EngineUnreachable("dead")
        with pytest.raises(exceptions.EngineUnreachable):
            sandbox.Sandboxes(engine).limits_file_systems()

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


class TestResources:
    @pytest.mark.parametrize(
        ("version", "number"),
        [
            ("20.10.24+dfsg1", 20010024),
            ("26.1.5~ds", 26001005),
            ("29.0-rc.1", 29000000),
            ("28", 28000000),
        ],
    )
    def test_version(self, version: str, number: int) -> None:
        assert resources.engine_version(version) == number

    def test_traits(self) -> None:
        assert resources.traits(True, "aarch64") == {
            "CUSTOM_HYPERVISOR_DOCKER",
            "CUSTOM_DOCKER_DISK_QUOTA",
            "HW_ARCH_AARCH64",
        }
        assert resources.traits(False, "x86_64") == {"CUSTOM_HYPERVISOR_DOCKER", "HW_ARCH_X86_64"}

    def test_disk_of_a_directory_that_is_hidden(self, tmp_path: Path) -> None:
        total, used, free = resources.disk(str(tmp_path / "not" / "there"))
        assert total >= used + free > 0

    def test_what_nova_is_told_of_the_host(self, monkeypatch: pytest.MonkeyPatch) -> None:
        giga, mega = 1 << 30, 1 << 20
        monkeypatch.setattr(resources, "disk", lambda _path: (9.5 * giga, 4.7 * giga, 3.2 * giga))
        monkeypatch.setattr(
            resources.psutil,
            "virtual_memory",
            lambda: mock.Mock(total=1000 * mega, available=400.5 * mega),
        )
        monkeypatch.setattr(resources.platform, "machine", lambda: "amd64")
        info = {"NCPU": 3, "MemTotal": 1000 * mega + 5, "ServerVersion": "26.1.5~ds.7"}
        assert resources.available(info, "node", "/") == {
            "vcpus": 3,
            "memory_mb": 1000,
            "local_gb": 9,
            "vcpus_used": 0,
            "memory_mb_used": 599,
            "local_gb_used": 4,
            "disk_available_least": 3,
            "hypervisor_type": "docker",
            "hypervisor_version": 26001005,
            "hypervisor_hostname": "node",
            "cpu_info": '{"arch": "x86_64", "topology": {"cores": 3}}',
            "supported_instances": [("x86_64", "docker", "exe")],
            "numa_topology": None,
        }

    def test_an_architecture_that_placement_does_not_know_has_no_trait(self) -> None:
        assert resources.traits(False, "armv7l") == {"CUSTOM_HYPERVISOR_DOCKER"}

    def test_inventory_leaves_out_what_there_is_none_of(self) -> None:
        amounts = {"VCPU": 0, "MEMORY_MB": 1, "DISK_GB": 0}
        ratios = {"VCPU": 4.0, "MEMORY_MB": 1.0, "DISK_GB": 1.0}
        found = resources.inventory({"vcpus": 2, "memory_mb": 1, "local_gb": 0}, ratios, amounts)
        assert set(found) == {"VCPU", "MEMORY_MB"}
        assert found["MEMORY_MB"]["reserved"] == 1
        assert found["VCPU"] == {
            "total": 2,
            "min_unit": 1,
            "max_unit": 2,
            "step_size": 1,
            "allocation_ratio": 4.0,
            "reserved": 0,
        }

    @pytest.mark.parametrize(
        ("seconds", "expected"),
        [(3660, " up  1:01,"), (90_000, " up 1 day,  1:00,"), (200_000, " up 2 days,  7:33,")],
    )
    def test_uptime(self, seconds: int, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(resources.time, "time", lambda: 1_000_000.0 + seconds)
        monkeypatch.setattr(resources.psutil, "boot_time", lambda: 1_000_000.0)
        monkeypatch.setattr(resources.psutil, "users", lambda: [1])
        monkeypatch.setattr(resources.time, "strftime", lambda form: f"<{form}>")
        monkeypatch.setattr(resources.os, "getloadavg", lambda: (1, 0.5, 2.125))
        told = resources.uptime()
        assert told.startswith(f" <%H:%M:%S>{expected}  1 user,  load average: 1.00, 0.50, 2.12")
        monkeypatch.setattr(resources.psutil, "users", lambda: [])
        assert ",  0 users,  load" in resources.uptime()

    def test_processors(self, monkeypatch: pytest.MonkeyPatch) -> None:
        times = mock.Mock(system=1.5, idle=2, user=3, iowait=4)
        monkeypatch.setattr(resources.psutil, "cpu_times", lambda: times)
        monkeypatch.setattr(resources.psutil, "cpu_freq", lambda: mock.Mock(current=2400.7))
        assert resources.cpu_stats() == {
            "kernel": 1_500_000_000,
            "idle": 2_000_000_000,
            "user": 3_000_000_000,
            "iowait": 4_000_000_000,
            "frequency": 2400,
        }
        monkeypatch.setattr(resources.psutil, "cpu_freq", lambda: None)
        assert resources.cpu_stats()["frequency"] == 0


class TestGuest:
    def test_environment_leaves_out_what_is_no_name(self) -> None:
        given = {"A": "1", "": "x", "B=C": "x", "D\0": "x", "E": "x\0y", "f.g-h": "2"}
        assert guest.environment(given) == {"A": "1", "f.g-h": "2"}

    def test_paths_stay_inside(self) -> None:
        with tarfile.open(
            fileobj=io.BytesIO(guest.pack([("../../etc/x", b""), ("/a//b", b"")]))
        ) as tar:
            assert tar.getnames() == ["etc/x", "a/b"]
            assert {one.mode for one in tar} == {0o600}

    def test_an_empty_directory(self) -> None:
        with tarfile.open(fileobj=io.BytesIO(guest.pack_directory("/XX/a"))) as tar:
            (member,) = tar
        assert (member.name, member.isdir(), member.mode) == ("XX/a", True, 0o755)

    def test_contents_may_be_text(self) -> None:
        assert guest.files([("/x", "text")], None) == [("/x", b"text")]

    def test_config_drive_is_a_directory(self, monkeypatch: pytest.MonkeyPatch, conf: Any) -> None:
        drive = mock.Mock()
        drive.metadata_for_config_drive.return_value = [("openstack/a", "text"), ("ec2/b", b"data")]
        maker = mock.Mock(return_value=drive)
        monkeypatch.setattr(guest.metadata, "InstanceMetadata", maker)
        one = make.instance(config_drive="True")
        found = guest.config_drive_files(one, "network", [("/x", b"y")], "secret")
        assert found == [
            ("/var/lib/cloud/seed/config_drive/openstack/a", b"text"),
            ("/var/lib/cloud/seed/config_drive/ec2/b", b"data"),
        ]
        maker.assert_called_once_with(
            one,
            content=[("/x", b"y")],
            extra_md={"admin_pass": "secret"},
            network_info="network",
        )
        guest.config_drive_files(one, "network", [], None)
        assert maker.call_args[1]["extra_md"] == {}
        assert guest.config_drive_files(make.instance(), [], [], None) == []

    def test_a_directory_is_emptied_by_a_file_in_its_place(self) -> None:
        packed = guest.pack([("/a/drive/x", b"1")], "/a/drive")
        with tarfile.open(fileobj=io.BytesIO(packed)) as members:
            found = [(one.name, one.type, one.mode) for one in members]
        assert found == [
            ("a/drive", tarfile.REGTYPE, 0o644),
            ("a/drive", tarfile.DIRTYPE, 0o700),
            ("a/drive/x", tarfile.REGTYPE, 0o600),
        ]

    def test_password_is_not_in_the_arguments(self) -> None:
        argv, environment = guest.password_command("secret")
        assert not any("secret" in word for word in argv)
        assert environment == {"NOVA_ADMIN_PASSWORD": "secret"}
        done = subprocess.run(
            [*argv[:2], argv[2].replace("chpasswd", "cat")],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == "root:secret\n"
