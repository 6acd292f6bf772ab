# SPDX-License-Identifier: Apache-2.0
"""The library of all host steps: settings, records, files, services, reports."""

from __future__ import annotations

import ast
import json
import os
import pathlib
import platform
import subprocess
import sys
import threading
import time
from typing import Any

import jsonschema
import pytest
from library import changes, engine_proxies, faults, outcome, probes, restarts, services, settings
from library import step as steps

from novadocker_actions import schema

from .conftest import AGENT, AGENT_PROGRAMS, CONFIGS, LIBRARY, MODULES, STEPS, Make, Programs

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z]+$"},
        "count": {"type": "integer", "minimum": 1, "maximum": 9, "default": 3},
        "maybe": {"type": ["string", "null"], "default": None},
        "kind": {"type": "string", "enum": ["a", "b"]},
        "flags": {"type": "array", "items": {"type": "boolean"}},
        "free": {"type": "object", "additionalProperties": {"type": "number"}},
    },
}


def settings_of(step: str) -> dict:
    for node in ast.parse((CONFIGS / f"{step}.py").read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "SETTINGS":
            return ast.literal_eval(node.value)
    raise AssertionError(f"{step} declares no SETTINGS")


class TestSettings:
    def test_defaults_are_filled_in(self) -> None:
        filled = settings.with_defaults({"name": "x"}, SCHEMA)
        assert filled == {"name": "x", "count": 3, "maybe": None}

    @pytest.mark.parametrize(
        ("value", "where"),
        [
            ({}, "settings.name: is required"),
            ({"name": "X"}, "settings.name: does not match"),
            ({"name": "x", "count": 0}, "settings.count: must be at least 1"),
            ({"name": "x", "count": 10}, "settings.count: must be at most 9"),
            ({"name": "x", "count": True}, "settings.count: expected integer, got bool"),
            ({"name": "x", "count": "3"}, "settings.count: expected integer, got str"),
            ({"name": "x", "kind": "c"}, "settings.kind: must be one of"),
            ({"name": "x", "flags": [True, 1]}, r"settings.flags\[1\]: expected boolean"),
            ({"name": "x", "free": {"a": "b"}}, "settings.free.a: expected number"),
            ({"name": "x", "nmae": "y"}, "unknown field 'nmae'; known are count, flags"),
            ([], "settings: expected object, got list"),
        ],
    )
    def test_a_fault_names_the_field(self, value: Any, where: Any) -> None:
        with pytest.raises(faults.SettingsError, match=where):
            settings.with_defaults(value, SCHEMA)
        # What the host refuses the workflow refuses as well: both read the same schema.
        assert not jsonschema.Draft202012Validator(SCHEMA).is_valid(value)

    def test_a_newline_at_the_end_is_a_part_of_the_value(self) -> None:
        value = {"name": "x\n"}
        with pytest.raises(faults.SettingsError, match=r"settings\.name: does not match"):
            settings.with_defaults(value, SCHEMA)
        assert not schema.Validator(SCHEMA).is_valid(value)
        assert schema.Validator(SCHEMA).is_valid({"name": "x"})

    def test_a_fault_does_not_show_the_value(self) -> None:
        with pytest.raises(faults.SettingsError) as caught:
            settings.with_defaults({"name": "s3cret!"}, SCHEMA)
        assert "s3cret" not in str(caught.value)

    @pytest.mark.parametrize("step", STEPS)
    def test_each_step_declares_a_schema_with_valid_defaults(self, step: Any) -> None:
        schema = settings_of(step)
        jsonschema.Draft202012Validator.check_schema(schema)
        for name, item in schema["properties"].items():
            assert item.get("description"), f"{step}.{name}"
            if "default" in item:
                jsonschema.validate(item["default"], item)
                settings.with_defaults(item["default"], item)


class TestFiles:
    def test_a_new_file_goes_away_with_the_directories_made_for_it(
        self, make_step: Make, root: pathlib.Path
    ) -> None:
        step = make_step("s")
        assert step.write_file("/etc/a/b/c.conf", "text\n") is True
        assert (root / "etc/a/b/c.conf").stat().st_mode & 0o777 == 0o644
        again = make_step("s")
        assert again.write_file("/etc/a/b/c.conf", "text\n") is False
        assert again.actions == []
        undo = make_step("s", "undo")
        assert undo.restore_files() is True
        assert list((root / "etc").iterdir()) == []
        assert not undo.record_path.exists()

    def test_a_file_that_was_there_comes_back_to_the_byte(
        self, make_step: Make, root: pathlib.Path
    ) -> None:
        path = root / "etc/x.json"
        path.write_bytes(b'{"a":  1}')
        path.chmod(0o600)
        make_step("s").write_file("/etc/x.json", "first\n")
        make_step("s").write_file("/etc/x.json", "second\n")
        assert path.stat().st_mode & 0o777 == 0o600
        make_step("s", "undo").restore_files()
        assert path.read_bytes() == b'{"a":  1}'
        assert path.stat().st_mode & 0o777 == 0o600

    def test_check_changes_nothing_and_says_what_it_would(
        self, make_step: Make, root: pathlib.Path
    ) -> None:
        step = make_step("s", "check")
        assert step.write_file("/etc/d/x", "text") is True
        assert step.actions == ["write /etc/d/x"]
        assert list((root / "etc").iterdir()) == []
        assert not step.record_path.exists()

    def test_a_given_mode_is_enforced_on_a_file_with_the_right_text(
        self, make_step: Make, root: pathlib.Path
    ) -> None:
        (root / "etc/secret").write_text("x")
        (root / "etc/secret").chmod(0o644)
        assert make_step("s").write_file("/etc/secret", "x", 0o600) is True
        assert (root / "etc/secret").stat().st_mode & 0o777 == 0o600

    def test_somebody_elses_change_to_their_own_file_is_left_alone(
        self, make_step: Make, root: pathlib.Path
    ) -> None:
        (root / "etc/x").write_text("old")
        make_step("s").write_file("/etc/x", "ours")
        (root / "etc/x").write_text("theirs")
        undo = make_step("s", "undo")
        undo.restore_files()
        assert (root / "etc/x").read_text() == "theirs"
        assert "changed by someone else" in undo.facts["notes"][0]

    def test_our_file_goes_away_also_when_changed_and_a_copy_is_kept(
        self, make_step: Make, root: pathlib.Path
    ) -> None:
        make_step("s").write_file("/etc/x", "ours")
        (root / "etc/x").write_text("edited")
        undo = make_step("s", "undo")
        undo.restore_files()
        assert not (root / "etc/x").exists()
        kept = list((root / "var/lib/novadocker").glob("x.*"))
        assert [path.read_text() for path in kept] == ["edited"]

    def test_what_is_replaced_is_on_record_before_it_is_replaced(
        self, make_step: Make, root: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (root / "etc/x").write_text("old")
        step = make_step("s")
        real = changes.replace_file

        def crash(path: Any, *rest: Any) -> None:
            if path.name == "x":
                raise RuntimeError("power cut")
            real(path, *rest)

        monkeypatch.setattr(changes, "replace_file", crash)
        with pytest.raises(RuntimeError):
            step.write_file("/etc/x", "new")
        monkeypatch.undo()
        assert make_step("s").record["files"]["/etc/x"]["before"]

    def test_a_directory_in_use_by_others_stays(self, make_step: Make, root: pathlib.Path) -> None:
        make_step("s").write_file("/etc/d/ours", "x")
        (root / "etc/d/theirs").write_text("y")
        make_step("s", "undo").restore_files()
        assert [path.name for path in (root / "etc/d").iterdir()] == ["theirs"]


class TestCommands:
    def test_a_failure_says_what_failed_and_what_it_said(self, make_step: Make) -> None:
        with pytest.raises(faults.StepFailed, match="exit code 3: broken"):
            make_step("s").run(["sh", "-c", "echo broken >&2; exit 3"])

    def test_a_missing_program_is_a_failure_with_its_name(self, make_step: Make) -> None:
        with pytest.raises(faults.StepFailed, match="no-such-program cannot be run"):
            make_step("s").run(["no-such-program"])

    def test_commands_see_proxies_but_no_inputs(
        self, make_step: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("settings", '{"password": "x"}')
        monkeypatch.setenv("https_proxy", "http://proxy:3128")
        text = make_step("s").run(["env"]).stdout
        assert "https_proxy=http://proxy:3128" in text
        assert "password" not in text

    @pytest.mark.field_case("K4.4")
    def test_an_installation_restarts_no_service_of_the_host_by_itself(
        self, make_step: Make
    ) -> None:
        text = make_step("s").run(["env"]).stdout
        assert "NEEDRESTART_SUSPEND=1\n" in text
        assert "NEEDRESTART_MODE=l\n" in text
        assert "DEBIAN_FRONTEND=noninteractive\n" in text


SCRIPTS = {
    "#!/opt/venv/bin/python3.11\n": "/opt/venv/bin/python3.11",
    "#!/usr/bin/python3 -s\n": "/usr/bin/python3",
    '#!/bin/sh\n\'\'\'exec\' "/a long path/x" "$0" "$@"\n': "",
    "#!/bin/sh\n'''exec' /very/long/bin/python3 \"$0\" \"$@\"\n' '''\n": "/very/long/bin/python3",
    "#!/bin/sh\nexec something\n": "",
    "\x7fELF": "",
}


class TestServices:
    @pytest.mark.parametrize("text", SCRIPTS)
    def test_the_python_of_a_script_is_found(self, tmp_path: pathlib.Path, text: str) -> None:
        (tmp_path / "script").write_text(text)
        assert services.script_python(tmp_path / "script") == SCRIPTS[text]

    def service(self, command: Any) -> Any:
        state = (True, "active/running", "nova", 1, 0, False)
        return services.Service("u.service", *state, command, {})

    @pytest.mark.parametrize(
        ("command", "program"),
        [
            (["/v/bin/python3", "/v/bin/nova-compute", "--x"], ["/v/bin/nova-compute", "--x"]),
            (["/v/bin/python3.12", "-s", "-P", "/v/bin/nova-compute"], ["/v/bin/nova-compute"]),
            (
                ["/v/bin/nova-compute", "--config-file=a"],
                ["/v/bin/nova-compute", "--config-file=a"],
            ),
        ],
    )
    def test_the_program_is_told_apart_from_its_interpreter(
        self, command: Any, program: Any
    ) -> None:
        assert self.service(command).program == program

    def test_a_running_service_is_described_by_its_process(
        self, make_step: Make, programs: Programs
    ) -> None:
        argv = ["sleep", "60"]
        with subprocess.Popen(argv, env={"OS_X": "1"}) as process:
            programs(
                "systemctl",
                'case "$*" in *" nova-compute.service") cat <<E\nLoadState=loaded\n'
                f"ActiveState=active\nSubState=running\nUser=nova\nMainPID={process.pid}\nNRestarts=2\nType=notify\nE\n"
                ";; *) echo LoadState=not-found;; esac",
            )
            service = services.find_service(
                make_step("s"), ("openstack-nova-compute.service", "nova-compute.service")
            )
            process.kill()
        assert service is not None
        assert (service.unit, service.user, service.restarts) == ("nova-compute.service", "nova", 2)
        assert (service.active, service.notifies) == (True, True)
        assert service.command == argv
        assert service.environment == {"OS_X": "1"}

    def test_a_stopped_service_is_described_by_its_unit(
        self, make_step: Make, programs: Programs
    ) -> None:
        programs(
            "systemctl",
            "cat <<'E'\nLoadState=loaded\nActiveState=failed\nSubState=failed\nMainPID=0\n"
            "ExecStart={ path=/v/bin/nova-compute ; "
            "argv[]=/v/bin/nova-compute --config-file=/a b ; ignore_errors=no ; "
            "start_time=[n/a] }\nEnvironment=A=1 'B=2 3'\nE",
        )
        service = services.find_service(make_step("s"), ("nova-compute.service",))
        assert service is not None
        assert service.command == ["/v/bin/nova-compute", "--config-file=/a", "b"]
        assert service.environment == {"A": "1", "B": "2 3"}
        assert service.active is False

    @pytest.mark.parametrize(
        ("told", "user"), [("0", "root"), ("nova", "nova"), ("4242424", "4242424"), ("", "root")]
    )
    def test_a_user_that_a_unit_gives_by_number_is_known_by_name(
        self, make_step: Make, programs: Programs, told: str, user: str
    ) -> None:
        programs("systemctl", f"echo LoadState=loaded; echo User={told}")
        service = services.find_service(make_step("s"), ("nova-compute.service",))
        assert service is not None
        assert service.user == user

    def test_a_user_that_the_host_does_not_know_is_named(self, make_step: Make) -> None:
        """As one that systemd makes for as long as the service runs."""
        state = (False, "inactive/dead", "dynamic-1", 0, 0, False)
        service = services.Service("u.service", *state, ["/v/bin/python3"], {})
        with pytest.raises(
            faults.StepFailed, match=r"u\.service runs as dynamic-1, who is no user"
        ):
            services.in_service_python(make_step("s"), service, probes.versions)

    def test_what_a_unit_s_environment_holds_is_not_logged(
        self, make_step: Make, programs: Programs, caplog: pytest.LogCaptureFixture
    ) -> None:
        proxy = "http://ops:pr0xy@proxy.example"
        programs("systemctl", f"echo LoadState=loaded; echo Environment=HTTPS_PROXY={proxy}")
        with caplog.at_level("DEBUG"):
            service = services.find_service(make_step("s"), ("docker.service",))
            variables = engine_proxies.unit_environment(make_step("s"))
        assert service is not None
        assert service.environment == variables == {"HTTPS_PROXY": proxy}
        assert "docker.service" in caplog.text
        assert "pr0xy" not in caplog.text

    def test_no_nova_is_an_error_that_names_the_units(
        self, make_step: Make, programs: Programs
    ) -> None:
        programs("systemctl", "echo LoadState=not-found")
        with pytest.raises(faults.StepFailed, match="openstack-nova-compute.service"):
            services.nova_service(make_step("s"))

    def test_a_service_that_crashes_after_the_restart_is_a_failure(
        self, make_step: Make, programs: Programs
    ) -> None:
        programs(
            "systemctl",
            'case "$1" in show) printf "LoadState=loaded\\nActiveState=activating\\nMainPID=0\\n'
            'NRestarts=1\\nSubState=auto-restart\\n";; esac',
        )
        programs("journalctl", "echo ImportError: no such driver")
        with pytest.raises(faults.StepFailed, match="no such driver"):
            restarts.restart_service(make_step("s"), self.service(["/x"]), 5)


class TestReport:
    def outcome(self, **more: Any) -> Any:
        return {"ok": True, "reason": "", "actions": [], "facts": {}, **more}

    def test_a_report_has_the_agreed_form(self) -> None:
        text = outcome.bounded_report(self.outcome(actions=["write x"]), "/var/log/l")
        assert json.loads(text) == {
            "reason": "",
            "actions": ["write x"],
            "facts": {},
            "log": "/var/log/l",
        }

    @pytest.mark.parametrize(
        "more",
        [
            {"actions": ["x" * 250] * 500},
            {"facts": {"x": "y" * 20000}},
            {"reason": "z" * 50000, "actions": ["x" * 400] * 100, "facts": {"x": "y" * 20000}},
        ],
    )
    def test_a_report_never_exceeds_its_size(self, more: Any) -> None:
        text = outcome.bounded_report(self.outcome(**more), "/var/log/l")
        assert len(text) <= outcome.REPORT_BYTES
        assert json.loads(text)["log"] == "/var/log/l"


WORK = """
import os, pwd, signal, subprocess, sys, time
from library.faults import StepFailed
from library.outcome import run_step
from library.probes import versions
from library.services import Service, in_service_python

def converge(step):
    {body}

run_step("probe", {{"type": "object", "properties": {{}}}}, converge, {undo})
"""


class TestProcess:
    """The whole program, as the hook of heat-agents starts it."""

    @pytest.fixture
    def run(self, tmp_path: pathlib.Path, root: pathlib.Path, package: pathlib.Path) -> Any:
        def start(body: str, undo: str = "None", **inputs: str) -> subprocess.Popen[str]:
            script = tmp_path / "script"
            script.write_text(WORK.format(body=body, undo=undo))
            env = {
                **os.environ,
                "PYTHONPATH": str(package),
                "NOVADOCKER_ROOT": str(root),
                "heat_outputs_path": str(tmp_path / "out"),
                **inputs,
            }
            command = [sys.executable, str(script)]
            return subprocess.Popen(
                command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )

        return start

    @pytest.fixture
    def outputs(self, tmp_path: pathlib.Path) -> Any:
        def read() -> dict:
            names = ("deploy_result", "changed", "report")
            texts = {name: (tmp_path / f"out.{name}").read_text() for name in names}
            return {**texts, "report": json.loads(texts["report"])}

        return read

    def test_outputs_and_exit_code_of_a_change(self, run: Any, outputs: Any) -> None:
        process = run("step.will('do it'); step.facts['a'] = 1")
        assert process.wait(20) == 0
        told = outputs()
        assert (told["deploy_result"], told["changed"]) == ("ok", "true")
        assert told["report"]["actions"] == ["do it"]
        assert told["report"]["facts"] == {"a": 1}

    def test_a_failure_is_told_with_its_reason(self, run: Any, outputs: Any) -> None:
        process = run("raise StepFailed('no disk: make room')")
        assert process.wait(20) == 1
        assert outputs()["deploy_result"] == "failed"
        assert outputs()["report"]["reason"] == "no disk: make room"
        assert "no disk" in process.stderr.read()

    @pytest.mark.parametrize(
        "body", ["1 / 0", "os._exit(0)", "os.kill(os.getpid(), signal.SIGKILL)"]
    )
    def test_a_worker_that_breaks_is_a_failure_and_never_silence(
        self, run: Any, outputs: Any, body: Any
    ) -> None:
        assert run(body).wait(20) == 1
        assert outputs()["deploy_result"] == "failed"
        assert outputs()["report"]["reason"]

    def test_the_time_limit_ends_everything_that_was_started(
        self, run: Any, outputs: Any, tmp_path: pathlib.Path
    ) -> None:
        # A grandchild in a session of its own, whose parent is gone, must not live on.
        orphan = f"['setsid', '-f', 'sh', '-c', 'echo $$ > {tmp_path}/pid; exec sleep 300']"
        body = f"subprocess.Popen({orphan}); time.sleep(300)"
        started = time.monotonic()
        process = run(body, timeout_s="1.5")
        assert process.wait(20) == 1
        assert time.monotonic() - started < 12
        assert "timed out after 1.5 s" in outputs()["report"]["reason"]
        pid = int((tmp_path / "pid").read_text())
        assert not pathlib.Path(f"/proc/{pid}").exists()

    def test_a_stopped_agent_gets_an_outcome(
        self, run: Any, outputs: Any, tmp_path: pathlib.Path
    ) -> None:
        process = run(f"open('{tmp_path}/here', 'w').close(); time.sleep(60)")
        steps.wait_until((tmp_path / "here").exists, 10)
        process.terminate()
        assert process.wait(20) == 1
        assert "stopped by a signal" in outputs()["report"]["reason"]

    @pytest.mark.parametrize(
        ("inputs", "reason"),
        [
            ({"mode": "aply"}, "mode: must be one of apply, check, undo, roll_back"),
            ({"timeout_s": "soon"}, "timeout_s: must be a number"),
            ({"timeout_s": "-1"}, "timeout_s: must be more than 0"),
            ({"settings": "{"}, "settings: is not JSON"),
            ({"mode": "roll_back"}, "run_id: is required to roll back"),
        ],
    )
    def test_bad_inputs_are_refused_before_anything(
        self, run: Any, outputs: Any, inputs: Any, reason: Any
    ) -> None:
        assert run("step.will('no')", **inputs).wait(20) == 1
        assert outputs()["report"]["reason"].startswith(reason)
        assert outputs()["changed"] == "false"

    def test_two_changes_wait_for_each_other(self, run: Any, tmp_path: pathlib.Path) -> None:
        note = f"open('{tmp_path}/order', 'a').write"
        body = f"{note}('in '); time.sleep(0.5); {note}('out ')"
        both = [run(body), run(body)]
        assert [process.wait(20) for process in both] == [0, 0]
        assert (tmp_path / "order").read_text() == "in out in out "

    def test_settings_do_not_reach_the_log(self, run: Any, root: pathlib.Path) -> None:
        run("step.run(['true'])", settings='{"x": "hunter2"}').wait(20)
        logs = list((root / "var/log/novadocker").glob("probe-*.log"))
        assert len(logs) == 1
        assert "hunter2" not in logs[0].read_text()
        assert logs[0].stat().st_mode & 0o077 == 0

    def test_undo_of_a_step_without_one_says_so(self, run: Any, outputs: Any) -> None:
        assert run("step.will('no')", mode="undo").wait(20) == 0
        assert outputs()["changed"] == "false"

    def test_a_run_is_rolled_back_by_its_id(self, run: Any, root: pathlib.Path) -> None:
        body = "step.write_file('/etc/x', step.run_id)"
        undo = "lambda step: step.restore_files() and None"
        assert run(body, undo, run_id="one").wait(20) == 0
        assert run(body, undo, run_id="two").wait(20) == 0
        assert (root / "etc/x").read_text() == "two"
        assert run(body, undo, mode="roll_back", run_id="two").wait(20) == 0
        assert (root / "etc/x").read_text() == "one"

    def test_without_a_workflow_each_config_of_heat_is_a_run(
        self, run: Any, root: pathlib.Path
    ) -> None:
        assert run("step.write_file('/etc/x', 'one')").wait(20) == 0
        stored = json.loads((root / "var/lib/novadocker/probe.json").read_text())
        assert stored["run"]["id"] == "out"

    def test_a_probe_is_sent_to_a_services_python_out_of_the_package(
        self, run: Any, outputs: Any
    ) -> None:
        state = (
            "('u', True, '', pwd.getpwuid(os.getuid()).pw_name, 0, 0, False, [sys.executable], {})"
        )
        body = f"step.facts['found'] = in_service_python(step, Service(*{state}), versions, 'x')"
        assert run(body).wait(20) == 0
        assert outputs()["report"]["facts"]["found"] == {
            "python": platform.python_version(),
            "x": None,
        }

    def test_old_logs_go_away(self, run: Any, root: pathlib.Path) -> None:
        folder = root / "var/log/novadocker"
        folder.mkdir(parents=True)
        for number in range(60):
            (folder / f"old-{number}.log").write_text("")
            os.utime(folder / f"old-{number}.log", (number, number))
        run("pass").wait(20)
        left = sorted(path.name for path in folder.glob("*.log"))
        assert len(left) == outcome.LOGS_KEPT + 1
        assert "old-0.log" not in left


@pytest.mark.parametrize("module", [*STEPS, *MODULES])
def test_each_module_of_the_package_compiles_for_old_pythons(module: str) -> None:
    folder = CONFIGS if module in STEPS else LIBRARY
    text = (folder / f"{module}.py").read_text()
    ast.parse(text, feature_version=(3, 9))
    # Old Pythons would evaluate what newer ones can write in annotations.
    assert "\nfrom __future__ import annotations\n" in text


@pytest.mark.parametrize("program", AGENT)
def test_the_agent_s_programs_compile_for_old_pythons(program: str) -> None:
    ast.parse((AGENT_PROGRAMS / f"{program}.py").read_text(), feature_version=(3, 9))


@pytest.mark.parametrize("step", [*STEPS, *MODULES, *AGENT])
def test_only_the_standard_library_is_imported(step: Any) -> None:
    folder = CONFIGS if step in STEPS else AGENT_PROGRAMS if step in AGENT else LIBRARY
    tree = ast.parse((folder / f"{step}.py").read_text())
    for node in tree.body:
        names = [item.name for item in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            own = "agent" if step in AGENT else "library"
            assert name.split(".")[0] in {*sys.stdlib_module_names, own}, name


@pytest.mark.parametrize("step", STEPS)
def test_each_step_is_loaded_out_of_the_package(
    step: str, package: pathlib.Path, root: pathlib.Path
) -> None:
    # It is loaded whole before the inputs are read, which refuse this.
    env = {**os.environ, "NOVADOCKER_ROOT": str(root), "mode": "none"}
    done = subprocess.run(
        [sys.executable, "-I", package, step], env=env, capture_output=True, text=True, check=False
    )
    assert done.stderr.startswith("mode: must be one of")


def test_wait_until_gives_the_last_value() -> None:
    assert steps.wait_until(lambda: 0, 0.05, 0.01) == 0
    ready = threading.Event()
    threading.Timer(0.05, ready.set).start()
    assert steps.wait_until(ready.is_set, 5, 0.01) is True
