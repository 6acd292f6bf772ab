# SPDX-License-Identifier: Apache-2.0
"""configure_compute, configure_glance and verify_host."""

from __future__ import annotations

import getpass
import grp
import json
import os
import pathlib
import subprocess
import sys
import urllib.parse
from typing import Any

import configure_compute
import configure_glance
import pytest
import verify_host
from library import driver_leftovers, engine_access, faults, instances, outcome, probes, services
from library import engine as library_engine
from library import step as steps
from oslo_rootwrap import wrapper

from .conftest import Calls, Make, Programs
from .engine import engine

DRIVER = "novadocker.virt.docker.DockerDriver"
SETTINGS = {"compute_driver": DRIVER, "options": {"docker": {"pids_limit": 100, "tty": True}}}


def service(**more: Any) -> Any:
    values = {
        "unit": "nova-compute.service",
        "active": True,
        "state": "active/running",
        "user": "nova",
        "pid": 0,
        "restarts": 0,
        "notifies": False,
        "command": ["/v/bin/python3", "/v/bin/nova-compute"],
        "environment": {},
    }
    return services.Service(**{**values, **more})


@pytest.fixture
def nova(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Stand in for Nova's side of configure_compute; tests change the answers."""

    class Nova:
        service = service()
        wins_with: set[str] = {""}
        fault = ""
        installed: str | None = None
        restarts: list[str] = []

    nova = Nova()
    nova.restarts = []

    def effective(step: Any, service: Any, options: Any, *more: Any) -> Any:
        present = step.path(configure_compute.DROP_IN).exists()
        drafts = [word.partition("=")[2] for word in more if "/tmp/" in word]
        if drafts:
            assert pathlib.Path(drafts[0]).read_text() == configure_compute.drop_in_text(options)
            return "nothing" not in nova.wins_with
        return present and bool(nova.wins_with & {"", *service.program, *more})

    def load(step: Any, service: Any, *more: Any) -> Any:
        if nova.fault:
            raise faults.StepFailed(nova.fault)
        return {"root_helper": "sudo", "state_path": "/var/lib/nova"}

    module = configure_compute
    monkeypatch.setattr(module, "nova_service", lambda _step: nova.service)
    monkeypatch.setattr(module, "find_service", lambda _step, _units: nova.service)
    monkeypatch.setattr(module, "effective", effective)
    monkeypatch.setattr(module, "prove_driver", load)
    monkeypatch.setattr(module, "in_service_python", lambda *_args: {"nova-docker": nova.installed})
    monkeypatch.setattr(module, "allow_privileged_helper", lambda *_args: None)
    monkeypatch.setattr(module, "instance_containers", lambda _step: [])
    monkeypatch.setattr(instances, "instance_containers", lambda _step: [])
    monkeypatch.setattr(driver_leftovers, "docker", lambda *_: [])
    monkeypatch.setattr(
        module, "restart_service", lambda _s, service, _t: nova.restarts.append(service.unit)
    )
    return nova


class TestCompute:
    def run(self, make_step: Make, mode: str = "apply", settings: Any = SETTINGS) -> Any:
        step = make_step("configure_compute", mode, **settings)
        outcome.work_of(mode, configure_compute.converge, configure_compute.undo)(step)
        return step

    def test_the_drop_in_and_one_restart(
        self, make_step: Make, nova: Any, root: pathlib.Path
    ) -> None:
        step = self.run(make_step)
        text = (root / configure_compute.DROP_IN.lstrip("/")).read_text()
        assert "[DEFAULT]\ncompute_driver = novadocker.virt.docker.DockerDriver\n" in text
        assert "[docker]\npids_limit = 100\ntty = true\n" in text
        assert step.actions[-1] == "restart nova-compute.service"
        assert nova.restarts == ["nova-compute.service"]

    def test_again_changes_and_restarts_nothing(self, make_step: Make, nova: Any) -> None:
        self.run(make_step)
        assert self.run(make_step).actions == []
        assert self.run(make_step, "check").actions == []
        assert len(nova.restarts) == 1

    @pytest.mark.parametrize(
        ("began", "installed", "restarts"),
        [(100.0, 200, 1), (300.0, 200, 0), (100.0, None, 0), (100.0, 4 * 10**9, 0)],
    )
    def test_a_driver_that_came_after_nova_compute_began_is_loaded_by_a_restart(
        self,
        make_step: Make,
        nova: Any,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: pathlib.Path,
        began: float,
        installed: int | None,
        restarts: int,
    ) -> None:
        self.run(make_step)
        nova.restarts.clear()
        record = tmp_path / "nova_docker-1.0.dist-info/RECORD"
        if installed:
            record.parent.mkdir()
            record.touch()
            os.utime(record, (installed, installed))
        files = ["nova_docker/__init__.py", f"{record.parent.name}/RECORD"]
        monkeypatch.setattr(configure_compute, "began_at", lambda _pid: began)
        monkeypatch.setattr(
            configure_compute,
            "in_service_python",
            lambda _step, _service, probe, *_args: (
                {"place": str(tmp_path), "files": files}
                if probe is probes.distribution_files
                else {"nova-docker": "1.0"}
            ),
        )

        told = self.run(make_step, "check")
        step = self.run(make_step)

        assert told.actions == step.actions == ["restart nova-compute.service"] * restarts
        assert told.facts["disturbs"] is bool(restarts)
        assert len(nova.restarts) == restarts

    def test_a_nova_whose_driver_cannot_be_found_is_not_restarted_for_that(
        self, make_step: Make, nova: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def gone(*_arguments: Any) -> Any:
            raise faults.StepFailed("PackageNotFoundError: nova-docker")

        self.run(make_step)
        monkeypatch.setattr(configure_compute, "began_at", lambda _pid: 100.0)
        monkeypatch.setattr(configure_compute, "in_service_python", gone)
        assert self.run(make_step).actions == []

    def test_undo_restores_and_restarts_once(
        self, make_step: Make, nova: Any, root: pathlib.Path
    ) -> None:
        self.run(make_step)
        assert self.run(make_step, "undo").actions
        assert not (root / "etc/nova").exists()
        assert self.run(make_step, "undo").actions == []
        assert len(nova.restarts) == 2

    @pytest.mark.parametrize(
        ("unit", "command"),
        [
            # What runs tells neither who may fail nor what an administrator may change.
            (
                "ExecStart=-/v/bin/nova-compute \\\n  --config-file=/etc/nova/nova.conf $OPTIONS",
                "-/v/bin/nova-compute --config-file=/etc/nova/nova.conf $OPTIONS",
            ),
            (
                "ExecStart=/bin/other\n# /etc/systemd/system/x.conf\n[Service]\nExecStart=\n"
                'ExecStart="/v/bin/nova-compute" --config-file /etc/nova/nova.conf',
                '"/v/bin/nova-compute" --config-file /etc/nova/nova.conf',
            ),
            # What starts it with all words that follow goes on doing so.
            (
                "ExecStart=+/numactl -l /v/bin/nova-compute --config-file=/etc/nova/nova.conf",
                "+/numactl -l /v/bin/nova-compute --config-file=/etc/nova/nova.conf",
            ),
            (
                "ExecStart=/bin/taskset -c 0-3 /v/bin/python3 /v/bin/nova-compute $OPTIONS",
                "/bin/taskset -c 0-3 /v/bin/python3 /v/bin/nova-compute $OPTIONS",
            ),
            # What is put behind the arguments of these would not reach nova-compute.
            ("ExecStart=/bin/sh -ec /v/bin/nova-compute $OPTIONS", ""),
            ("ExecStart=/opt/start /v/bin/nova-compute", ""),
            ("ExecStart=/opt/start /v/bin/nova-compute --for=start $OPTIONS", ""),
            ("ExecStart=/etc/init.d/nova-compute systemd-start", ""),
            ("ExecStart=/bin/sh -c '/v/bin/nova-compute $OPTIONS'", ""),
            ("ExecStart=/v/bin/nova-compute\nExecStart=/v/bin/nova-compute", ""),
            ('ExecStart="/v/bin/nova-compute', ""),
            ("ExecStart=-", ""),
            ("ExecStart=/bin/other", ""),
            ("", ""),
        ],
    )
    def test_an_explicit_config_file_is_outdone_by_one_more(
        self,
        make_step: Make,
        nova: Any,
        root: pathlib.Path,
        programs: Programs,
        unit: str,
        command: str,
    ) -> None:
        argument = f"--config-file={configure_compute.DROP_IN}"
        nova.service = service(
            command=["/v/bin/python3", "/v/bin/nova-compute", "--config-file=/etc/nova/nova.conf"]
        )
        nova.wins_with = {argument}
        programs("systemctl", f"[ $1 != cat ] || cat <<'E'\n[Service]\n{unit}\nE")
        self.run(make_step)
        drop_in = root / "etc/systemd/system/nova-compute.service.d/90-novadocker.conf"
        known = "/v/bin/python3 /v/bin/nova-compute --config-file=/etc/nova/nova.conf"
        assert drop_in.read_text().splitlines()[1:] == [
            "[Service]",
            "ExecStart=",
            f"ExecStart={command or known} {argument}",
        ]

    def with_engine(self, monkeypatch: pytest.MonkeyPatch, kept: str = "") -> list[str]:
        """Have an engine with images of the driver and of others; return what it still has."""
        tags = ["nova-glance/9c2:latest", "nova-docker/sandbox:3", "nova-glance:1", "busybox:1"]

        def docker(path: str, method: str = "GET") -> Any:
            if method == "GET":
                return [{"RepoTags": list(tags)}, {"RepoTags": None}]
            tag = urllib.parse.unquote(path.removeprefix("/images/"))
            if tag == kept:
                raise faults.StepFailed("a container uses it")
            tags.remove(tag)
            return []

        monkeypatch.setattr(driver_leftovers, "docker", docker)
        return tags

    def test_what_the_driver_kept_goes_with_it_and_nothing_else_does(
        self, make_step: Make, nova: Any, root: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.run(make_step)
        spool = root / "var/lib/nova/novadocker/spool/novadocker-c1"
        spool.mkdir(parents=True)
        (root / "var/lib/nova/novadocker/images.json").touch()
        nova.service = service(user=getpass.getuser())
        tags = self.with_engine(monkeypatch)
        self.run(make_step, "undo")
        assert tags == ["nova-glance:1", "busybox:1"]
        assert not (root / "var/lib/nova/novadocker").exists()

    def test_what_is_in_use_or_was_there_before_stays_and_is_told(
        self, make_step: Make, nova: Any, root: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.run(make_step)
        (root / "var/lib/nova/novadocker/spool").mkdir(parents=True)
        (root / "var/lib/nova/novadocker/spool/archive").touch()
        nova.service = service(user=getpass.getuser())
        tags = self.with_engine(monkeypatch, kept="nova-docker/sandbox:3")
        step = self.run(make_step, "undo")
        assert "nova-docker/sandbox:3" in tags
        told = "; ".join(step.facts["notes"])
        assert "nova-docker/sandbox:3 stays in the engine: a container uses it" in told
        assert "/var/lib/nova/novadocker is not empty" in told
        # Now it is the operator's, who had it before this run.
        (root / "var/lib/nova/novadocker/spool/archive").unlink()
        self.run(make_step)
        self.run(make_step, "undo")
        assert (root / "var/lib/nova/novadocker").exists()

    def test_a_conversion_that_fails_takes_out_what_the_driver_left(
        self, make_step: Make, nova: Any, root: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(_step: Any, service: Any, _timeout: Any) -> None:
            (root / "var/lib/nova/novadocker/spool").mkdir(parents=True)
            raise faults.StepFailed("does not stay up")

        nova.service = service(user=getpass.getuser())
        monkeypatch.setattr(configure_compute, "restart_service", fail)
        monkeypatch.setattr(configure_compute, "put_back", lambda *_: None)
        tags = self.with_engine(monkeypatch)
        with pytest.raises(faults.StepFailed, match="does not stay up"):
            self.run(make_step)
        assert tags == ["nova-glance:1", "busybox:1"]
        assert not (root / "var/lib/nova/novadocker").exists()

    def test_what_an_undo_that_broke_off_left_is_taken_out_by_the_next(
        self, make_step: Make, nova: Any, root: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.run(make_step)
        (root / "var/lib/nova/novadocker/spool").mkdir(parents=True)
        nova.service = service(user=getpass.getuser())
        tags = self.with_engine(monkeypatch)
        with monkeypatch.context() as broken:
            broken.setattr(configure_compute, "restart_service", self.fails)
            with pytest.raises(faults.StepFailed, match="does not stay up"):
                self.run(make_step, "undo")
        assert len(tags) == 4
        self.run(make_step, "undo")
        assert tags == ["nova-glance:1", "busybox:1"]
        assert not (root / "var/lib/nova/novadocker").exists()
        assert self.run(make_step, "undo").actions == []

    @staticmethod
    def fails(_step: Any, _service: Any, _timeout: Any) -> None:
        raise faults.StepFailed("does not stay up")

    def test_a_host_that_stays_a_docker_hypervisor_keeps_its_images(
        self, make_step: Make, nova: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.run(make_step)
        tags = self.with_engine(monkeypatch)
        more = {**SETTINGS, "options": {"docker": {"pids_limit": 200}}}
        monkeypatch.setattr(configure_compute, "restart_service", self.fails)
        monkeypatch.setattr(configure_compute, "put_back", lambda *_: None)
        # Now its unit gets a file as well, which was not there before.
        nova.service = service(
            command=["/v/bin/python3", "/v/bin/nova-compute", "--config-file=/etc/nova/nova.conf"]
        )
        nova.wins_with = {f"--config-file={configure_compute.DROP_IN}"}
        with pytest.raises(faults.StepFailed, match="does not stay up"):
            self.run(make_step, settings=more)
        assert len(tags) == 4

    def test_the_images_of_containers_stay_where_a_conversion_fails(
        self, make_step: Make, nova: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tags = self.with_engine(monkeypatch)
        monkeypatch.setattr(configure_compute, "instance_containers", lambda _step: ["nova-1"])
        monkeypatch.setattr(configure_compute, "restart_service", self.fails)
        with pytest.raises(faults.StepFailed, match="does not stay up"):
            self.run(make_step)
        assert len(tags) == 4

    def test_a_host_without_find_is_told_what_stays(
        self, make_step: Make, nova: Any, root: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.run(make_step)
        (root / "var/lib/nova/novadocker").mkdir(parents=True)
        self.with_engine(monkeypatch)
        nova.service = service(user=getpass.getuser())

        def run(_step: Any, argv: Any, **_: Any) -> Any:
            raise faults.StepFailed(f"{argv[0]} cannot be run: no such file")

        monkeypatch.setattr(steps.Step, "run", run)
        step = self.run(make_step, "undo")
        told = "; ".join(step.facts["notes"])
        assert "/var/lib/nova/novadocker stays: find cannot be run" in told
        assert not (root / "etc/nova").exists()

    def test_what_nothing_can_outdo_is_refused_and_put_back(
        self, make_step: Make, nova: Any, root: pathlib.Path
    ) -> None:
        nova.wins_with = {"nothing"}
        with pytest.raises(faults.StepFailed, match="something overrides"):
            self.run(make_step)
        assert not (root / "etc/nova").exists()
        assert nova.restarts == []

    def test_a_check_finds_what_nothing_can_outdo(self, make_step: Make, nova: Any) -> None:
        nova.wins_with = {"nothing"}
        with pytest.raises(faults.StepFailed, match="something overrides .* nova-compute.service"):
            self.run(make_step, "check")

    def test_a_check_loads_a_driver_that_is_there_and_says_where_none_is(
        self, make_step: Make, nova: Any, root: pathlib.Path
    ) -> None:
        nova.fault = "No module named 'docker'"
        step = self.run(make_step, "check")
        assert step.facts["notes"] == ["whether the driver loads is known when it is installed"]
        nova.installed = "1.0"
        with pytest.raises(faults.StepFailed, match="No module named 'docker'"):
            self.run(make_step, "check")
        assert not (root / "etc/nova").exists()

    def test_a_restart_disturbs_what_runs_and_nothing_else(
        self, make_step: Make, nova: Any
    ) -> None:
        for mode in ("check", "apply"):
            assert self.run(make_step, mode).facts["disturbs"] is True
        assert self.run(make_step).facts["disturbs"] is False
        nova.service = service(active=False)
        assert self.run(make_step, "check").facts["disturbs"] is False

    def test_a_driver_that_does_not_load_never_restarts_nova(
        self, make_step: Make, nova: Any, root: pathlib.Path
    ) -> None:
        nova.fault = "the driver does not load"
        with pytest.raises(faults.StepFailed, match="does not load"):
            self.run(make_step)
        assert nova.restarts == []
        assert not (root / "etc/nova").exists()

    def test_a_nova_that_does_not_come_up_gets_its_files_back(
        self, make_step: Make, nova: Any, root: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(_step: Any, service: Any, _timeout: Any) -> None:
            raise faults.StepFailed("does not stay up")

        calls = []
        monkeypatch.setattr(configure_compute, "restart_service", fail)
        monkeypatch.setattr(steps.Step, "run", lambda _step, argv, **_: calls.append(argv))
        with pytest.raises(faults.StepFailed, match="does not stay up"):
            self.run(make_step)
        assert calls[-1] == ["systemctl", "restart", "nova-compute.service"]
        assert not (root / "etc/nova").exists()

    def test_a_later_deploy_that_fails_brings_back_the_drop_in_of_the_first(
        self, make_step: Make, nova: Any, root: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.run(make_step)
        drop_in = root / configure_compute.DROP_IN.lstrip("/")
        first = drop_in.read_text()

        def fail(_step: Any, service: Any, _timeout: Any) -> None:
            raise faults.StepFailed("does not stay up")

        monkeypatch.setattr(configure_compute, "restart_service", fail)
        monkeypatch.setattr(steps.Step, "run", lambda _step, argv, **_: None)
        more = {**SETTINGS, "options": {"docker": {"pids_limit": 200}}}
        with pytest.raises(faults.StepFailed, match="does not stay up"):
            self.run(make_step, settings=more)
        assert drop_in.read_text() == first

    def test_a_repair_that_fails_under_instances_keeps_the_driver(
        self, make_step: Make, nova: Any, root: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        nova.fault = "the driver does not load"
        monkeypatch.setattr(configure_compute, "instance_containers", lambda _step: ["i"])
        with pytest.raises(faults.StepFailed, match="does not load"):
            self.run(make_step)
        assert (root / configure_compute.DROP_IN.lstrip("/")).exists()

    def test_a_nova_that_did_not_run_does_not_run_after_a_roll_back(
        self, make_step: Make, nova: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        nova.service = service(active=False, state="inactive/dead")
        step = make_step("configure_compute", **SETTINGS)
        step.run_id = "r"
        configure_compute.converge(step)
        calls = []
        monkeypatch.setattr(steps.Step, "run", lambda _step, argv, **_: calls.append(argv))
        back = make_step("configure_compute", "roll_back")
        back.run_id = "r"
        back.begin()
        configure_compute.undo(back)
        assert calls[-1] == ["systemctl", "stop", "nova-compute.service"]
        assert len(nova.restarts) == 1

    @pytest.mark.parametrize("mode", ["undo", "roll_back"])
    def test_a_restart_that_failed_is_made_when_it_is_taken_back_again(
        self, make_step: Make, nova: Any, monkeypatch: pytest.MonkeyPatch, mode: str
    ) -> None:
        def run(mode: str) -> steps.Step:
            step = make_step("configure_compute", mode, **SETTINGS)
            step.run_id = "one"
            step.begin()
            outcome.work_of(mode, configure_compute.converge, configure_compute.undo)(step)
            return step

        def fail(*_args: Any) -> None:
            raise faults.StepFailed("does not stay up")

        run("apply")
        restart = configure_compute.restart_service
        monkeypatch.setattr(configure_compute, "restart_service", fail)
        for _ in range(2):
            with pytest.raises(faults.StepFailed, match="does not stay up"):
                run(mode)
        nova.restarts.clear()
        monkeypatch.setattr(configure_compute, "restart_service", restart)
        step = run(mode)
        assert step.actions == ["restart nova-compute.service"]
        assert nova.restarts == ["nova-compute.service"]
        assert not step.record_path.exists()
        assert run(mode).actions == []

    def test_an_option_of_several_lines_is_refused(self) -> None:
        settings = {"compute_driver": DRIVER, "options": {"a": {"b": "1\n[DEFAULT]\nx = y"}}}
        with pytest.raises(faults.StepFailed, match=r"options\.a\.b"):
            configure_compute.wanted_options(settings)

    @pytest.mark.parametrize(
        "options",
        [
            {"a]\n[DEFAULT": {"b": "1"}},
            {"a": {"b = 1\ncompute_driver": "x"}},
            {"a": {"b": "1\r[DEFAULT]"}},
            {"a": {"b": "1\n"}},
        ],
    )
    def test_no_part_of_an_option_begins_another(self, options: Any) -> None:
        with pytest.raises(faults.StepFailed, match=r"^options"):
            configure_compute.wanted_options({"compute_driver": DRIVER, "options": options})

    def test_virtual_machines_keep_their_driver_where_nobody_asked_nova(
        self, make_step: Make, nova: Any, root: pathlib.Path
    ) -> None:
        place = root / "etc/libvirt/qemu"
        place.mkdir(parents=True)
        mark = 'xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.1"'
        (place / "somebodys.xml").write_text("<domain/>")
        (place / "instance-00000001.xml").write_text(f"<domain><nova:instance {mark}/></domain>")
        with pytest.raises(faults.StepFailed, match=r"1 virtual machines .*\(instance-00000001\)"):
            self.run(make_step)
        assert not (root / configure_compute.DROP_IN.lstrip("/")).exists()
        assert nova.restarts == []
        # Who plans asks Nova, and may leave the host out or let them move.
        self.run(make_step, "check")
        (place / "instance-00000001.xml").unlink()
        self.run(make_step)

    def test_what_an_operator_wrote_into_the_drop_in_is_kept_beside_the_records(
        self, make_step: Make, nova: Any, root: pathlib.Path
    ) -> None:
        self.run(make_step)
        drop_in = root / configure_compute.DROP_IN.lstrip("/")
        edited = drop_in.read_text() + "[docker]\nvolume_driver = theirs\n"
        drop_in.write_text(edited)
        place = root / "var/lib/novadocker"

        told = self.run(make_step, "check").facts["notes"]
        assert "a copy is kept" in told[0]
        assert list(place.glob("90-novadocker.conf.*")) == []

        step = self.run(make_step)
        (kept,) = place.glob("90-novadocker.conf.*")
        assert kept.read_text() == edited
        assert kept.stat().st_mode & 0o777 == 0o600
        assert str(kept).removeprefix(str(root)) in step.facts["notes"][0]
        assert "theirs" not in drop_in.read_text()

    def test_a_process_cannot_add_lines_to_its_unit(self) -> None:
        with pytest.raises(faults.StepFailed, match="no plain text"):
            configure_compute.systemd_command(["/v/bin/nova-compute", "x\nUser=root"])

    def test_words_are_quoted_as_systemd_wants_it(self) -> None:
        words = ["/a/python", "/b c", "100%", "$x", 'say "y"']
        assert configure_compute.systemd_command(words) == (
            '/a/python "/b c" 100%% $$x "say \\"y\\""'
        )


class TestOsloConfig:
    """What the probe says is what oslo.config does, in its own process."""

    @pytest.fixture
    def home(self, tmp_path: pathlib.Path) -> Any:
        folder = tmp_path / ".nova"
        (folder / "nova-compute.conf.d").mkdir(parents=True)
        (folder / "nova.conf").write_text("[DEFAULT]\ncompute_driver = main\n")
        drop_in = folder / "nova-compute.conf.d" / "90.conf"
        drop_in.write_text("[DEFAULT]\ncompute_driver = drop-in\n")
        return folder

    def probe(self, home: Any, *arguments: Any) -> Any:
        wanted = json.dumps({"DEFAULT": ["compute_driver"]})
        program = probes.program_text(probes.effective_options)
        done = subprocess.run(
            [sys.executable, "-c", program, wanted, "nova-compute", *arguments],
            env={**os.environ, "HOME": str(home.parent)},
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout.splitlines()[-1])

    def test_a_default_drop_in_wins_over_default_files(self, home: Any) -> None:
        assert self.probe(home)["DEFAULT"]["compute_driver"] == "drop-in"

    def test_an_explicit_file_wins_over_a_default_drop_in(self, home: Any) -> None:
        options = self.probe(home, "--config-file", f"{home}/nova.conf")
        assert options["DEFAULT"]["compute_driver"] == "main"

    def test_the_drop_in_as_the_last_explicit_file_wins(self, home: Any) -> None:
        drop_in = f"--config-file={home}/nova-compute.conf.d/90.conf"
        options = self.probe(home, "--config-file", f"{home}/nova.conf", drop_in)
        assert options["DEFAULT"]["compute_driver"] == "drop-in"


class TestPrivilegedHelper:
    def test_rootwrap_needs_nothing_of_us(self, make_step: Make) -> None:
        # That oslo.rootwrap lets any privsep-helper pass is its own rule.
        words = ["privsep-helper", "--privsep_context", "novadocker.privsep.ctx"]
        assert any(item.match(words) for item in wrapper.load_filters([]))
        step = make_step("configure_compute")
        helper = "sudo nova-rootwrap /etc/nova/rootwrap.conf"
        configure_compute.allow_privileged_helper(step, service(), helper)
        assert step.actions == []

    def test_a_rule_that_is_there_is_enough(
        self, make_step: Make, programs: Programs, root: pathlib.Path
    ) -> None:
        programs("sudo", "echo /v/bin/privsep-helper --help")
        step = make_step("configure_compute")
        configure_compute.allow_privileged_helper(step, service(), "sudo")
        assert step.actions == []

    def test_a_process_cannot_add_to_the_rule(self, make_step: Make, programs: Programs) -> None:
        programs("sudo", "exit 1")
        programs("visudo", "exit 0")
        nova_service = service(command=["/v/bin/python3 *, /x/python3", "/v/bin/nova-compute"])
        with pytest.raises(faults.StepFailed, match="no plain path"):
            configure_compute.allow_privileged_helper(
                make_step("configure_compute"), nova_service, "sudo"
            )

    def test_a_missing_rule_is_checked_and_added(
        self, make_step: Make, programs: Programs, root: pathlib.Path, calls: Calls
    ) -> None:
        programs("sudo", "exit 1")
        programs("visudo", "cat > /dev/null")
        configure_compute.allow_privileged_helper(make_step("c"), service(), "sudo")
        rule = root / "etc/sudoers.d/novadocker"
        assert "nova ALL=(root) NOPASSWD: /v/bin/privsep-helper *" in rule.read_text()
        assert rule.stat().st_mode & 0o777 == 0o440
        assert "visudo -c -f -" in calls()


class TestGlance:
    @pytest.fixture
    def glance(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        restarts: list[str] = []
        lists = [["ami", "bare"], ["ami", "bare", "docker"]]
        module = configure_glance
        glance_service = service(unit="glance-api.service", user="glance")
        monkeypatch.setattr(module, "find_service", lambda _step, _units: glance_service)
        monkeypatch.setattr(module, "formats", lambda _step, _service: lists.pop(0))
        monkeypatch.setattr(
            module, "restart_service", lambda _s, item, _t: restarts.append(item.unit)
        )
        return lists, restarts

    def run(self, make_step: Make, mode: str = "apply") -> Any:
        step = make_step("configure_glance", mode, container_formats_add=["docker"])
        outcome.work_of(mode, configure_glance.converge, configure_glance.undo)(step)
        return step

    def test_the_operators_list_grows_by_docker(
        self, make_step: Make, glance: Any, root: pathlib.Path
    ) -> None:
        self.run(make_step)
        text = (root / configure_glance.DROP_IN.lstrip("/")).read_text()
        assert "[image_format]\ncontainer_formats = ami,bare,docker\n" in text
        assert glance[1] == ["glance-api.service"]
        assert self.run(make_step, "undo").actions
        assert not (root / "etc/glance").exists()

    def test_a_glance_that_takes_docker_is_left_alone(
        self, make_step: Make, glance: Any, root: pathlib.Path
    ) -> None:
        glance[0][:] = [["bare", "docker"]]
        assert self.run(make_step).actions == []
        assert glance[1] == []

    def test_a_restart_that_failed_is_made_when_it_is_taken_back_again(
        self, make_step: Make, glance: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_args: Any) -> None:
            raise faults.StepFailed("does not stay up")

        self.run(make_step)
        restart = configure_glance.restart_service
        monkeypatch.setattr(configure_glance, "restart_service", fail)
        with pytest.raises(faults.StepFailed, match="does not stay up"):
            self.run(make_step, "undo")
        monkeypatch.setattr(configure_glance, "restart_service", restart)
        glance[1].clear()
        self.run(make_step, "undo")
        assert glance[1] == ["glance-api.service"]
        assert self.run(make_step, "undo").actions == []

    def test_what_glances_process_says_adds_no_lines_to_the_drop_in(
        self, make_step: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        said = ["bare", "docker\n[DEFAULT]\nbind_host = 0.0.0.0"]
        answer = {"formats": said, "set_by": "", "directories": []}
        monkeypatch.setattr(configure_glance, "in_service_python", lambda *_args: answer)
        with pytest.raises(faults.StepFailed, match="no plain word"):
            configure_glance.formats(make_step("configure_glance"), service())

    @pytest.mark.parametrize(
        ("fields", "said"),
        [
            (None, "as in containers: add docker to container_formats under .image_format"),
            (
                {"unit": "devstack@g-api.service", "command": ["/usr/bin/uwsgi", "--ini", "/x"]},
                "devstack@g-api.service runs uwsgi, whose Python cannot be told: add docker",
            ),
            ({"active": False, "state": "failed/failed", "command": []}, "start it, then repeat"),
        ],
    )
    def test_a_glance_that_cannot_be_changed_is_refused_until_its_own_tool_did_it(
        self,
        make_step: Make,
        monkeypatch: pytest.MonkeyPatch,
        root: pathlib.Path,
        fields: Any,
        said: str,
    ) -> None:
        monkeypatch.setattr(
            configure_glance, "find_service", lambda *_args: fields and service(**fields)
        )
        for mode in ("check", "apply"):
            step = make_step("configure_glance", mode, container_formats_add=["docker"])
            with pytest.raises(faults.StepFailed, match=said):
                configure_glance.converge(step)
        (root / "etc/glance/glance-api.conf.d").mkdir(parents=True)
        (root / "etc/glance/glance-api.conf").write_text(
            "[image_format]\ncontainer_formats = bare\n"
        )
        with pytest.raises(faults.StepFailed, match=said):
            configure_glance.converge(step)
        text = "[DEFAULT]\n[image_format]\ncontainer_formats = bare, docker\n"
        (root / "etc/glance/glance-api.conf.d/50-ops.conf").write_text(text)
        configure_glance.converge(step)
        assert step.facts["container_formats"] == ["bare", "docker"]
        assert (step.actions, step.facts["disturbs"]) == ([], False)

    def test_a_drop_in_without_effect_is_refused_and_put_back(
        self, make_step: Make, glance: Any, root: pathlib.Path
    ) -> None:
        glance[0][1] = ["ami", "bare"]
        with pytest.raises(faults.StepFailed, match="does not take effect"):
            self.run(make_step)
        assert not (root / "etc/glance").exists()
        assert glance[1] == []


class TestGroups:
    """Whether the running nova-compute is in group docker has one answer, for both who ask."""

    @pytest.fixture
    def docker(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        def put(gid: Any, *members: Any) -> None:
            entry = grp.struct_group(("docker", "x", gid, list(members)))
            monkeypatch.setattr(grp, "getgrnam", lambda _name: entry)

        return put

    def own(self, **more: Any) -> Any:
        return service(**{"pid": os.getpid(), "user": "nova", **more})

    def test_the_groups_of_the_process_count(self, docker: Any) -> None:
        docker(os.getgid(), "nova")
        assert engine_access.may_use_engine(self.own()) is True
        docker(54321, "nova")
        assert engine_access.may_use_engine(self.own()) is False
        assert engine_access.may_use_engine(self.own(user="root")) is True
        assert engine_access.may_use_engine(self.own(pid=0)) is True

    @pytest.mark.parametrize(
        ("members", "fault"),
        [(["nova"], "restart it"), ([], "user nova is not in group docker: add it")],
    )
    def test_the_remedy_is_told(
        self, docker: Any, make_step: Make, members: Any, fault: Any
    ) -> None:
        docker(54321, *members)
        assert fault in verify_host.group_faults(make_step("verify_host"), self.own())[0]

    @pytest.mark.parametrize(("members", "restarts"), [(["nova"], 1), ([], 0)])
    def test_a_restart_is_made_where_it_helps(
        self, docker: Any, make_step: Make, nova: Any, members: Any, restarts: Any
    ) -> None:
        TestCompute().run(make_step)
        nova.restarts.clear()
        nova.service = self.own()
        docker(54321, *members)
        TestCompute().run(make_step)
        assert len(nova.restarts) == restarts


class TestVerify:
    IMAGE = "0a1b2c3d-0000-4000-8000-123456789abc"

    @pytest.fixture
    def verify(
        self, make_step: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
    ) -> Any:
        monkeypatch.setattr(library_engine, "DOCKER_SOCKET", str(tmp_path / "s"))

        def run(
            compute: Any = None,
            images: Any = (),
            answer: Any = None,
            wait_s: Any = 0,
            fault: str = "",
            driver: bool = True,
        ) -> Any:
            monkeypatch.setattr(verify_host, "nova_service", lambda _s: compute or service())
            reply = answer or {"compute_driver": DRIVER, "driver": DRIVER}
            monkeypatch.setattr(
                verify_host,
                "in_service_python",
                lambda _step, _found, probe, *_args: (
                    fault if probe is probes.container_fault else reply
                ),
            )
            step = make_step(
                "verify_host", "check", images=list(images), wait_s=wait_s, driver=driver
            )
            held = [{"Id": "sha256:1", "RepoTags": [f"nova-glance/{self.IMAGE}:0123456789abcdef"]}]
            with engine(tmp_path / "s", {("GET", "/images/json"): (200, held)}):
                verify_host.converge(step)
            return step

        return run

    def test_a_converted_host_is_right(self, verify: Any) -> None:
        step = verify(images=[self.IMAGE])
        assert step.facts["images"] == {self.IMAGE: "sha256:1"}
        assert step.actions == []

    @pytest.mark.parametrize(
        ("state", "fault"),
        [("active/running", f"lacks the images {'f' * 32}"), ("failed/failed", "is failed/failed")],
    )
    def test_a_driver_that_was_seen_at_work_a_moment_ago_is_not_loaded_again(
        self, verify: Any, state: str, fault: str
    ) -> None:
        nova_compute = service(active=state.startswith("active"), state=state)
        with pytest.raises(faults.StepFailed, match=fault) as caught:
            verify(nova_compute, images=["f" * 32], fault="it would not start", driver=False)
        assert "no container starts" not in str(caught.value)

    @pytest.mark.field_case("K4.5")
    @pytest.mark.parametrize(
        ("fault", "remedy"),
        [
            ("AppArmor enabled on system but the docker-default profile", "package apparmor"),
            ("OCI runtime create failed: no cgroup", "journalctl -u docker"),
        ],
    )
    def test_a_host_on_which_no_container_starts_is_not_right(
        self, verify: Any, fault: str, remedy: str
    ) -> None:
        with pytest.raises(faults.StepFailed, match=f"no container starts here: {fault}.*{remedy}"):
            verify(fault=fault)

    @pytest.mark.parametrize("lacking", ["novadocker.virt.docker.engine", "nova.cmd"])
    def test_a_driver_of_another_release_is_not_blamed_for_its_layout(
        self, verify: Any, monkeypatch: pytest.MonkeyPatch, lacking: str
    ) -> None:
        def asked(_step: Any, _service: Any, probe: Any, *_arguments: Any) -> Any:
            if probe is probes.container_fault:
                raise faults.StepFailed(f"ModuleNotFoundError: No module named '{lacking}'")
            return {"compute_driver": DRIVER, "driver": DRIVER}

        step = verify(images=[self.IMAGE])
        monkeypatch.setattr(verify_host, "in_service_python", asked)
        if lacking == "nova.cmd":
            with pytest.raises(faults.StepFailed, match="No module named 'nova.cmd'"):
                verify_host.container_faults(step, service())
            return
        assert verify_host.container_faults(step, service()) == []
        assert "the driver here is of another release" in step.facts["notes"][0]

    def test_all_faults_are_told_at_once(self, verify: Any) -> None:
        down = service(active=False, state="failed/failed")
        other = {"compute_driver": "libvirt.LibvirtDriver", "driver": "nova.virt.libvirt.X"}
        with pytest.raises(faults.StepFailed) as caught:
            verify(compute=down, images=["f" * 32], answer=other)
        for part in ("is failed/failed", "libvirt.LibvirtDriver", f"lacks the images {'f' * 32}"):
            assert part in str(caught.value)
