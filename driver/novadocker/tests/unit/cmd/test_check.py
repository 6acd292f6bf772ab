# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import inspect
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from oslo_privsep.daemon import FailedToDropPrivileges

from novadocker import _alias, exceptions
from novadocker.cmd import check
from novadocker.privsep import mounts
from novadocker.tests.cdi import KIND, device, write
from novadocker.tests.fake_engine import FakeEngine
from novadocker.virt.docker.engine import client
from novadocker.virt.docker.host import cdi, cpus, shared_limits
from novadocker.virt.docker.network import wiring as wiring_module


@pytest.fixture(autouse=True)
def _in_memory(engine: FakeEngine, wiring: mock.MagicMock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with the engine in memory, and recorded calls instead of ports."""
    monkeypatch.setattr(client.Engine, "from_conf", lambda _conf: engine)
    monkeypatch.setattr(wiring_module, "Wiring", lambda: wiring)


@pytest.fixture(autouse=True)
def _meta_path() -> Iterator[None]:
    before = list(sys.meta_path)
    yield
    sys.meta_path[:] = before


def test_without_the_pth_file_the_other_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", [])
    assert "nova-compute-docker" in check.loading().remedy
    _alias.install()
    assert check.loading().state == "ok"


def test_the_driver_is_imported_as_nova_does() -> None:
    finding = check.importing()
    assert finding.state == "ok"
    assert "Nova" in finding.message


def test_a_driver_that_cannot_be_imported_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nova.virt.novadocker.virt.docker", None)
    assert check.importing().state == "error"
    findings = check.findings([])
    assert [finding.what for finding in findings] == ["loading", "import"]


def test_a_module_that_is_no_driver_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = type(sys)("nova.virt.novadocker.virt.docker")
    fake.DockerDriver = object
    monkeypatch.setitem(sys.modules, fake.__name__, fake)
    assert check.importing().message == "DockerDriver is no driver"


def test_configuration_is_compared(conf: Any, option: Any) -> None:
    assert check.configuration(conf)[0].state == "warning"
    option("compute_driver", "novadocker.virt.docker.DockerDriver", None)
    assert check.configuration(conf)[0].state == "ok"


class TestEngine:
    def states(self, conf: Any) -> dict[str, str]:
        return {finding.what: finding.state for finding in check.engine(conf)}

    def test_a_good_engine(self, conf: Any, engine: FakeEngine, monkeypatch: Any) -> None:
        monkeypatch.setattr(check.os.path, "exists", lambda _path: False)
        assert self.states(conf) == {
            "docker": "ok",
            "cgroups": "ok",
            "seccomp": "ok",
            "user namespace": "warning",
            "disk quota": "warning",
        }

    @pytest.mark.parametrize(
        ("info", "told"),
        [
            ({"CgroupVersion": "2"}, ("cgroups", "version 2")),
            ({}, ("cgroups", "version 1")),
            ({}, ("user namespace", "shares the host's limits of root")),
            ({"SecurityOptions": ["name=userns"]}, ("user namespace", "is another user")),
            ({"Driver": "overlay2"}, ("disk quota", "no limit: overlay2")),
            ({"Driver": "zfs"}, ("disk quota", "can be limited")),
            (
                {"Driver": "overlay2", "DriverStatus": [["Backing Filesystem", "extfs"]]},
                ("disk quota", "no limit: overlay2 on extfs"),
            ),
            (
                {"Driver": "overlay2", "DriverStatus": [["Backing Filesystem", "xfs"]]},
                ("disk quota", "pquota: overlay2 on xfs"),
            ),
            (
                {
                    "Driver": "overlayfs",
                    "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]],
                },
                ("disk quota", "no limit: overlayfs on io.containerd.snapshotter.v1"),
            ),
        ],
    )
    def test_what_the_engine_can_do_is_told(
        self, info: Any, told: tuple[str, str], conf: Any
    ) -> None:
        messages = {finding.what: finding.message for finding in check.abilities(conf, info)}
        assert told[1] in messages[told[0]]

    def test_the_audit_log_is_told_of_where_instances_reach_it(
        self, conf: Any, option: Any
    ) -> None:
        def told() -> bool:
            by_name = {finding.what: finding for finding in check.abilities(conf, {})}
            return "writes into the host's audit log" in by_name["user namespace"].message

        assert not told()
        option("seccomp_profile", "engine")
        assert told()
        option("default_capabilities", ["CHOWN"])
        assert not told()

    @pytest.mark.parametrize(
        ("driver", "wanted", "state"),
        [
            ("zfs", "auto", "warning"),
            ("zfs", "require", "warning"),
            ("zfs", "off", "ok"),
            ("overlay2", "auto", "warning"),
            ("overlay2", "off", "ok"),
        ],
    )
    def test_what_is_only_inferred_is_no_ok(
        self, driver: str, wanted: str, state: str, conf: Any, option: Any
    ) -> None:
        option("disk_quota", wanted)
        by_name = {finding.what: finding for finding in check.abilities(conf, {"Driver": driver})}
        assert by_name["disk quota"].state == state
        assert by_name["disk quota"].remedy

    def test_what_is_wanted_and_cannot_be_is_an_error(self, conf: Any, option: Any) -> None:
        option("disk_quota", "require")
        option("runtime", "runsc")
        info = {"Driver": "overlay2", "Runtimes": {"runc": {}}}
        faults = {
            finding.what: finding
            for finding in check.abilities(conf, info)
            if finding.state == "error"
        }
        assert set(faults) == {"disk quota", "runtime"}
        assert "which Docker does not have: it has runc" in faults["runtime"].message

    def test_how_processors_are_divided_is_told(
        self, conf: Any, engine: Any, option: Any, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr(cpus, "online", lambda: frozenset(range(4)))
        option("cpu_shared_set", "0,1", "compute")
        told = [finding for finding in check.engine(conf) if finding.what == "processors"]
        assert [(finding.state, finding.message) for finding in told] == [
            ("ok", "dedicated: none, shared: 0-1")
        ]
        option("cpu_dedicated_set", "1-9", "compute")
        assert self.states(conf)["processors"] == "error"

    def test_devices_are_told(
        self, conf: Any, engine: Any, option: Any, monkeypatch: Any, tmp_path: Path
    ) -> None:
        def told() -> list[tuple[str, str]]:
            findings = [finding for finding in check.engine(conf) if finding.what == "devices"]
            return [(finding.state, finding.message) for finding in findings]

        monkeypatch.setattr(cdi, "_ROOT", os.getuid())
        option("cdi_spec_dirs", [str(tmp_path / "cdi")])
        assert told() == []
        option("cdi_kinds", [KIND])
        assert told() == [("warning", f"there is none of {KIND}")]
        write(tmp_path / "cdi", device("a", "/dev/zero"), device("b", "/dev/nosuch"))
        (offered, refused) = told()
        assert offered == ("ok", f"{KIND}=a")
        assert refused[0] == "warning"
        assert f"{KIND}=b is not offered: /dev/nosuch: No such file" in refused[1]
        option("cdi_kinds", ["a.b/c", "a-b/c"])
        assert told()[0][0] == "error"

    def test_the_program_that_shares_need(self, conf: Any, option: Any, monkeypatch: Any) -> None:
        assert check.shares(conf) == []
        option("share_protocols", ["NFS"])
        for program, state in ((None, "error"), ("/sbin/mount.nfs", "ok")):
            monkeypatch.setattr(mounts, "nfs_program", lambda it=program: it)
            assert [finding.state for finding in check.shares(conf)] == [state]

    def test_an_engine_to_be_set_up(self, conf: Any, engine: Any, monkeypatch: Any) -> None:
        monkeypatch.setattr(check.os.path, "exists", lambda _path: True)
        monkeypatch.setattr(engine, "_info", dict)
        monkeypatch.setattr(engine, "_version", lambda: {"Version": "19", "ApiVersion": "1.40"})
        assert self.states(conf) == {
            "docker": "error",
            "live-restore": "warning",
            "bridge": "warning",
            "seccomp": "warning",
            "cgroups": "ok",
            "user namespace": "warning",
            "disk quota": "warning",
        }

    def test_an_engine_that_does_not_answer(self, conf: Any, engine: Any) -> None:
        engine.failing["version"] = exceptions.EngineUnreachable("Permission denied")
        (finding,) = check.engine(conf)
        assert finding.state == "error"
        assert "group docker" in finding.remedy

    @pytest.mark.parametrize(
        ("version", "profile", "warned"),
        [
            ("20.10.24+dfsg1", "engine", True),
            ("24.0.9", "engine", True),
            ("24.0.9", "/etc/profile.json", False),
            ("24.0.9", "own", False),
            ("25.0.0", "engine", False),
            ("29.1.0", "engine", False),
        ],
    )
    def test_a_filter_of_system_calls_that_is_old_is_told(
        self,
        version: str,
        profile: str,
        warned: bool,
        conf: Any,
        option: Any,
        engine: Any,
        monkeypatch: Any,
    ) -> None:
        option("seccomp_profile", profile)
        answer = {"Version": version, "ApiVersion": "1.44"}
        monkeypatch.setattr(engine, "_version", lambda: answer)
        (finding,) = [finding for finding in check.engine(conf) if finding.what == "seccomp"]
        assert (finding.state == "warning") is warned
        assert ("io_uring" in finding.message) is warned


def test_limits_that_all_share_are_looked_at(
    conf: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_limits, "SYSCTLS", tmp_path)
    assert [finding.state for finding in check.shared_limits(conf)] == ["ok"]
    for name, value in (
        ("fs/inotify/max_user_instances", "128"),
        ("fs/aio-max-nr", "65536"),
        ("kernel/pid_max", "4194304"),
        ("kernel/pty/max", "4096"),
        ("kernel/pty/reserve", "1024"),
        ("fs/pipe-user-pages-soft", "16384"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{value}\n")
    findings = check.shared_limits(conf)
    assert {finding.state for finding in findings} == {"warning"}
    assert "fs.inotify.max_user_instances is 128" in findings[0].message
    assert "fs.aio-max-nr = 16777216" in findings[1].remedy
    assert "with 4 MiB of its memory" in findings[1].message
    assert "kernel.pty.max is 3072 beyond kernel.pty.reserve" in findings[2].message
    assert "with 9 MiB" in findings[2].message
    # There is no limit then.
    assert "fs.pipe-user-pages-soft = 0" in findings[3].remedy
    assert len(findings) == 4
    assert check.shared_limits in check.CHECKS


@pytest.mark.parametrize(
    ("pids_limit", "who"),
    [(4096, ": 8 instances with"), (0, ": one instance"), (32768, ": one instance")],
)
def test_as_many_instances_as_take_all_processes_are_told(
    pids_limit: int,
    who: str,
    conf: Any,
    option: Any,
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shared_limits, "SYSCTLS", tmp_path)
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel" / "pid_max").write_text("32768")
    option("pids_limit", pids_limit)
    (finding,) = check.shared_limits(conf)
    assert who in finding.message


def test_pipes_without_a_limit_are_no_finding(
    conf: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_limits, "SYSCTLS", tmp_path)
    (tmp_path / "fs").mkdir()
    (tmp_path / "fs" / "pipe-user-pages-soft").write_text("0")
    assert [finding.state for finding in check.shared_limits(conf)] == ["ok"]


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_ovsdb_is_connected_to(kind: str, conf: Any, option: Any, tmp_path: Any) -> None:
    check.ovsdb(conf)  # registers the option
    if kind == "tcp":
        server = socket.create_server(("127.0.0.1", 0))
        where = f"tcp:127.0.0.1:{server.getsockname()[1]}"
    else:
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(tmp_path / "db.sock"))
        server.listen()
        where = f"unix:{tmp_path / 'db.sock'}"
    option("ovsdb_connection", where, "os_vif_ovs")
    with server:
        assert check.ovsdb(conf)[0].state == "ok"
    option("ovsdb_connection", "tcp:nonsense", "os_vif_ovs")
    assert "set-manager" in check.ovsdb(conf)[0].remedy


def test_privileges(wiring: Any, conf: Any) -> None:
    assert check.privileges(conf)[0].state == "ok"
    wiring.prepare.side_effect = exceptions.NetworkError("sudo: not found")
    assert "sudo" in check.privileges(conf)[0].message


class TestVolumes:
    @pytest.fixture
    def _host(self, option: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        option("volume_file_systems", ["ext4"])
        monkeypatch.setattr(mounts, "share", lambda _base: None)
        monkeypatch.setattr(check.shutil, "which", lambda name, path: f"/sbin/{name}")

    def table(self, monkeypatch: pytest.MonkeyPatch, shared: bool) -> None:
        there = mounts.Mount("1:1", "/dev/x", "ext4", False, shared)
        monkeypatch.setattr(mounts, "table", lambda: {"/": there})

    def test_nothing_is_checked_where_there_are_none(self, conf: Any) -> None:
        assert check.volumes(conf) == []

    @pytest.mark.usefixtures("_host")
    def test_a_host_that_can(self, conf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.table(monkeypatch, True)
        assert [finding.state for finding in check.volumes(conf)] == ["ok"]

    @pytest.mark.usefixtures("_host")
    def test_a_host_without_programs_or_in_a_namespace_of_its_own(
        self, conf: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.table(monkeypatch, False)
        monkeypatch.setattr(check.shutil, "which", lambda _name, path: None)
        programs, propagation = check.volumes(conf)
        assert "mkfs.ext4" in programs.message
        assert "PrivateTmp" in propagation.remedy

    @pytest.mark.usefixtures("_host")
    def test_a_helper_that_cannot_be_started(
        self, conf: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(_base: str) -> None:
            raise FailedToDropPrivileges("sudo: not found")

        monkeypatch.setattr(mounts, "share", refuse)
        assert "sudo" in check.volumes(conf)[1].message


@pytest.mark.parametrize(("state", "code"), [("error", 1), ("warning", 0), ("ok", 0)])
def test_exit_code_tells_errors(
    state: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        check, "findings", lambda _arguments: [check.Finding("what", state, "found", "remedy")]
    )
    with pytest.raises(SystemExit) as ended:
        check.main()
    assert ended.value.code == code
    assert capsys.readouterr().out.splitlines()[1].endswith("-> remedy")


def test_help_names_the_command_itself() -> None:
    program = f"import sys; sys.argv[0] = 'x'; import {check.__name__} as c; c.main()"
    shown = subprocess.run(
        [sys.executable, "-c", program, "--help"], capture_output=True, text=True, check=True
    )
    assert shown.stdout.startswith("usage: novadocker-check [--config-file PATH]")


def test_every_check_of_the_configuration_is_in_the_list() -> None:
    public = {
        function
        for name, function in inspect.getmembers(check, inspect.isfunction)
        if function.__module__ == check.__name__
        and not name.startswith("_")
        and list(inspect.signature(function).parameters) == ["conf"]
    }
    assert public == set(check.CHECKS)


def test_all_checks_are_made(
    engine: Any, wiring: Any, monkeypatch: pytest.MonkeyPatch, conf: Any, option: Any
) -> None:
    option("lxcfs_path", "/nonexistent")
    option("volume_file_systems", ["ext4"])
    monkeypatch.setattr(mounts, "share", mock.Mock(side_effect=FailedToDropPrivileges("no sudo")))
    # Options of the command line are taken before a configuration is read, once in a process.
    monkeypatch.setattr("oslo_log.log.register_options", lambda _conf: None)
    started = []
    monkeypatch.setattr("oslo_privsep.priv_context.init", lambda root_helper: started.append(1))
    findings = check.findings(["--config-file", "/dev/null"])
    assert started
    assert {
        "loading",
        "import",
        "configuration",
        "docker",
        "ovsdb",
        "privileges",
        "lxcfs",
        "volumes",
        "propagation",
    } <= {finding.what for finding in findings}
