# SPDX-License-Identifier: Apache-2.0
"""The agent: what install_agent writes, and that nothing Heat waits for is lost on the host."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import pathlib
import subprocess
import sys
import tarfile
import threading
import types
from typing import Any

import install_agent
import pytest
from library import faults, inbox, watchdog
from library import step as steps

from .agent import answer, config, want
from .conftest import Make


class TestSecrets:
    """A hook writes its inputs into its log, and heat-config-notify the address it signals to."""

    def test_a_hook_is_not_given_how_to_signal(self, outcomes: Any, tmp_path: pathlib.Path) -> None:
        (tmp_path / "home/hooks.d").mkdir()
        hook = tmp_path / "home/hooks.d/script"
        hook.write_text(f"#!/bin/sh\ncat > {tmp_path}/given\nexit 3\n")
        hook.chmod(0o755)
        wanted = config()
        wanted["inputs"].append({"name": "deploy_password", "value": "hidden"})
        assert outcomes.hook(hook, wanted) == 3
        given = json.loads((tmp_path / "given").read_text())
        assert [item["name"] for item in given["inputs"]] == ["mode"]

    def test_the_address_of_a_signal_stays_out_of_the_log(
        self, outcomes: Any, tmp_path: pathlib.Path, capfd: Any
    ) -> None:
        answer(tmp_path, "Signaling to http://heat/?Signature=hidden")
        outcomes.notify(tmp_path / "deployed/one.json", {})
        assert "hidden" not in capfd.readouterr().err


class TestRefuse:
    def told(self, tmp_path: pathlib.Path) -> dict:
        return json.loads((tmp_path / "told").read_text())

    def test_a_config_that_can_be_run_is_left_to_the_hooks(
        self, outcomes: Any, tmp_path: pathlib.Path
    ) -> None:
        want(tmp_path, config())
        assert outcomes.refuse() == 0
        assert not (tmp_path / "told").exists()
        assert list((tmp_path / "deployed").iterdir()) == []

    def test_a_missing_hook_is_a_failure_instead_of_silence(
        self, outcomes: Any, tmp_path: pathlib.Path
    ) -> None:
        want(tmp_path, config(group="ansible"))
        outcomes.refuse()
        assert self.told(tmp_path)["deploy_status_code"] == 1
        assert "no hook for configs of group ansible" in self.told(tmp_path)["deploy_stderr"]
        # heat-agents skip it from now on.
        assert (tmp_path / "deployed/one.json").exists()

    def test_an_input_without_a_value_is_a_failure_that_names_it(
        self, outcomes: Any, tmp_path: pathlib.Path
    ) -> None:
        want(tmp_path, config(inputs=[{"name": "settings", "type": "Json"}]))
        outcomes.refuse()
        assert "the inputs settings carry no value" in self.told(tmp_path)["deploy_stderr"]

    def test_numbers_become_text_because_the_hook_can_not_take_them(
        self, outcomes: Any, tmp_path: pathlib.Path
    ) -> None:
        inputs = [{"name": "timeout_s", "type": "Number", "value": 900}]
        want(tmp_path, config(inputs=inputs))
        outcomes.refuse()
        written = json.loads((tmp_path / "run/heat-config").read_text())
        assert written[0]["inputs"][0]["value"] == "900"
        assert (tmp_path / "run/heat-config").stat().st_mode & 0o077 == 0

    def test_what_was_interrupted_runs_once_more_and_not_twice(
        self, outcomes: Any, tmp_path: pathlib.Path
    ) -> None:
        want(tmp_path, config())
        deployed = tmp_path / "deployed/one.json"
        deployed.write_text("{}")
        outcomes.refuse()
        assert not deployed.exists()
        deployed.write_text("{}")
        outcomes.refuse()
        assert "went down twice" in self.told(tmp_path)["deploy_stderr"]

    def test_what_is_done_is_not_run_again(self, outcomes: Any, tmp_path: pathlib.Path) -> None:
        want(tmp_path, config())
        (tmp_path / "deployed/one.json").write_text("{}")
        (tmp_path / "deployed/one.notify.json").write_text("{}")
        outcomes.refuse()
        assert (tmp_path / "deployed/one.json").exists()

    @pytest.mark.parametrize("text", ["", "not json"])
    def test_no_metadata_is_no_work(self, outcomes: Any, tmp_path: pathlib.Path, text: str) -> None:
        (tmp_path / "run").mkdir()
        (tmp_path / "run/heat-config").write_text(text)
        assert outcomes.refuse() == 0


class TestTelling:
    @pytest.mark.parametrize(
        "given",
        [
            {"id": "../../etc/docker/daemon", "hosts": ["tcp://0.0.0.0"]},
            {"id": "../messages/0"},
            {"id": "a/b"},
            {"id": ""},
            {"id": "x" * 65},
            {"id": None},
            {"id": ["one"]},
            {"group": 3},
            {"group": ["novadocker"]},
            {"inputs": {"a": "b"}},
            {"inputs": ["a"]},
            {"inputs": [{"value": "no name"}]},
        ],
    )
    def test_what_is_no_config_of_heats_is_seen_by_nothing(
        self, outcomes: Any, tmp_path: pathlib.Path, given: dict[str, Any]
    ) -> None:
        before = sorted(tmp_path.rglob("*"))
        want(tmp_path, {**config("two"), **given}, config("one"))
        assert outcomes.refuse() == 0
        left = json.loads((tmp_path / "run/heat-config").read_text())
        assert [item["id"] for item in left] == ["one"]
        new = {path.name for path in set(tmp_path.rglob("*")) - set(before)}
        assert new <= {"run", "heat-config"}
        assert outcomes.settle() == 0

    def test_long_output_is_cut_to_what_heat_takes(
        self, outcomes: Any, tmp_path: pathlib.Path
    ) -> None:
        sent = {"deploy_stdout": "x" * 2_000_000 + "end", "deploy_status_code": 0}
        assert outcomes.notify(tmp_path / "deployed/one.json", sent) == 0
        told = json.loads((tmp_path / "told").read_text())
        assert len(told["deploy_stdout"]) == outcomes.TEXT_CHARS
        assert told["deploy_stdout"].endswith("end")

    @pytest.mark.parametrize(
        ("response", "code"), [("Response <Response [403]>", 0), ("Traceback", 1)]
    )
    def test_what_could_not_be_told_is_told_again(
        self, outcomes: Any, tmp_path: pathlib.Path, response: Any, code: Any
    ) -> None:
        want(tmp_path, config())
        (tmp_path / "deployed/one.json").write_text("{}")
        (tmp_path / "deployed/one.notify.json").write_text('{"deploy_status_code": 0}')
        answer(tmp_path, response, code)
        # os-collect-config repeats a refresh that failed.
        assert outcomes.settle() == 1
        answer(tmp_path)
        assert outcomes.settle() == 0
        told = (tmp_path / "told").read_text()
        assert outcomes.settle() == 0
        assert (tmp_path / "told").read_text() == told

    @pytest.mark.parametrize("name", ["one.notify.json", "one.json"])
    @pytest.mark.parametrize("text", ["", "{", "\0\0"])
    def test_an_outcome_that_cannot_be_read_is_told_as_a_failure_and_holds_up_nothing(
        self, outcomes: Any, tmp_path: pathlib.Path, name: str, text: str
    ) -> None:
        want(tmp_path, config())
        for place in ("one.json", "one.notify.json", "old.json"):
            (tmp_path / "deployed" / place).write_text('{"id": "one"}')
        (tmp_path / "deployed" / name).write_text(text)
        assert outcomes.settle() == 0
        told = json.loads((tmp_path / "told").read_text())
        # An empty mark of a config is all that heat-agents need.
        if (name, text) != ("one.json", ""):
            assert told["deploy_status_code"] == 1
            assert "noted of how this ended cannot be read" in told["deploy_stderr"]
        assert not (tmp_path / "deployed/old.json").exists()
        assert (tmp_path / "wake.conf").exists()

    def test_what_heat_no_longer_wants_goes_away(
        self, outcomes: Any, tmp_path: pathlib.Path
    ) -> None:
        want(tmp_path, config())
        for name in ("one.json", "one.told", "old.json", "old.notify.json", "old.told"):
            (tmp_path / "deployed" / name).write_text("{}")
        (tmp_path / "scripts").mkdir()
        (tmp_path / "scripts/old").write_text("secret settings")
        outcomes.settle()
        left = sorted(path.name for path in (tmp_path / "deployed").iterdir())
        assert left == ["one.json", "one.told"]
        assert list((tmp_path / "scripts").iterdir()) == []

    def test_a_run_wakes_the_agent(self, outcomes: Any, tmp_path: pathlib.Path) -> None:
        outcomes.settle()
        assert (tmp_path / "wake.conf").read_text().startswith("#")


CREDENTIALS = {
    "collectors": ["cfn", "local"],
    "cfn": {
        "metadata_url": "http://c:8000/v1/",
        "secret_access_key": "a$b",
        "stack_name": "s",
        "path": "server.Metadata",
        "ca_certificate": None,
    },
}


LOCK = """\
heat-agents==13.0.0 ; python_full_version >= '3.11' \\
    --hash=sha256:aa
os-collect-config==14.1.0 \\
    --hash=sha256:bb
"""


def sdist(path: pathlib.Path) -> pathlib.Path:
    """Write a source distribution with the hooks; return its path."""
    with tarfile.open(path, "w:gz") as tar:
        for name in install_agent.HOOK_FILES:
            item = tarfile.TarInfo(f"heat_agents-1/{name}")
            item.size = 4
            tar.addfile(item, io.BytesIO(b"text"))
    return path


class TestInstall:
    def step(self, make_step: Make, mode: str = "apply") -> Any:
        return make_step(
            "install_agent",
            mode,
            os_collect_config=CREDENTIALS,
            polling_interval_s=2,
            host="compute-1",
            operator_keys="-----BEGIN PUBLIC KEY-----\n",
            unsigned="refuse",
        )

    def test_the_configuration_holds_what_heat_gave(self, make_step: Make) -> None:
        text = install_agent.configuration(self.step(make_step).settings)
        assert text.startswith(install_agent.HEADER)
        assert "polling_interval = 2\ncollectors = cfn\ncollectors = local\n" in text
        assert "[cfn]\nmetadata_url = http://c:8000/v1/\n" in text
        assert "secret_access_key = a$$b\n" in text
        assert "ca_certificate" not in text

    def test_a_server_without_credentials_is_refused(self) -> None:
        settings = {"os_collect_config": {}, "polling_interval_s": 30}
        with pytest.raises(faults.StepFailed, match="names no collectors"):
            install_agent.configuration(settings)

    def test_the_hook_for_messages_is_the_package_that_the_link_leads_to_when_it_starts(
        self, make_step: Make
    ) -> None:
        files = install_agent.own_files(self.step(make_step))
        text, mode = files[f"{install_agent.HOME}/hooks/novadocker"]
        assert text.splitlines()[1] == (
            "exec /opt/heat-agent/bin/python -I "
            '"$(readlink -f /usr/local/lib/novadocker/novadocker-host.pyz)" message'
        )
        assert mode == 0o755

    @pytest.mark.parametrize("unsigned", ["refuse", "run"])
    def test_a_host_knows_its_operator_and_whether_stacks_may_push(
        self, make_step: Make, unsigned: str
    ) -> None:
        step = self.step(make_step)
        step.settings["unsigned"] = unsigned
        files = install_agent.own_files(step)
        assert files["/etc/novadocker/operator.pub"] == ("-----BEGIN PUBLIC KEY-----\n", 0o644)
        assert files["/etc/novadocker/unsigned"] == (f"{unsigned}\n", 0o644)

    def test_a_message_that_is_under_way_is_ended_by_no_restart_of_the_agent(
        self, make_step: Make, root: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        began, restarted = threading.Event(), threading.Event()
        service = types.SimpleNamespace(active=False)
        monkeypatch.setattr(install_agent, "install", lambda step: True)
        monkeypatch.setattr(install_agent, "find_service", lambda *_: service)
        monkeypatch.setattr(steps.Step, "run", lambda *_, **__: began.set())
        monkeypatch.setattr(install_agent, "restart_service", lambda *_: restarted.set())
        step = self.step(make_step)
        step.settings["os_collect_config"] = CREDENTIALS
        with inbox.turn(root):
            thread = threading.Thread(target=install_agent.converge, args=(step,))
            thread.start()
            assert began.wait(20)
            assert not restarted.wait(0.5)
            # The message may go on to its next step meanwhile.
            with open(root / "run/novadocker.lock", "a") as handle:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert restarted.wait(20)
        thread.join()

    def test_nor_is_a_step_that_a_stack_has_under_way(
        self, make_step: Make, root: pathlib.Path
    ) -> None:
        with watchdog.locked(make_step("install_docker")):
            entered = threading.Event()

            def restart() -> None:
                with inbox.alone(self.step(make_step)):
                    entered.set()

            thread = threading.Thread(target=restart)
            thread.start()
            assert not entered.wait(0.5)
        assert entered.wait(20)
        thread.join()

    @pytest.mark.parametrize(
        "given",
        [
            {"collectors": ["cfn\ncommand = x"]},
            {"collectors": ["cfn]"], "cfn]": {"path": "a"}},
            {"collectors": ["cfn"], "cfn": {"path": "a\n[DEFAULT]\ncommand = x"}},
            {"collectors": ["cfn"], "cfn": {"path = a\ncommand": "x"}},
        ],
    )
    def test_no_part_of_what_heat_gave_begins_another_option(self, given: Any) -> None:
        settings = {"os_collect_config": given, "polling_interval_s": 60}
        with pytest.raises(faults.StepFailed, match=r"^os_collect_config"):
            install_agent.configuration(settings)

    def test_credentials_are_for_root_only(self, make_step: Make) -> None:
        files = install_agent.own_files(self.step(make_step))
        assert files[install_agent.CONFIGURATION][1] == 0o600

    @pytest.mark.parametrize("collector", ["cfn", "request"])
    def test_signed_addresses_do_not_reach_the_journal(
        self, tmp_path: pathlib.Path, collector: Any
    ) -> None:
        stub = tmp_path / "os_collect_config/collect.py"
        stub.parent.mkdir()
        (stub.parent / "__init__.py").touch()
        stub.write_text(
            "import logging, time\ndef main():\n"
            "    fault = OSError('500 for url: http://c:8000/v1/?Signature=abc%3D (retried)')\n"
            f"    logging.getLogger('os_collect_config.{collector}').warning(fault)\n"
        )
        program = tmp_path / "collect"
        program.write_text(install_agent.COLLECT_TEXT)
        done = subprocess.run([sys.executable, program], capture_output=True, text=True, check=True)
        assert done.stderr == "500 for url: http://c:8000/v1/?... (retried)\n"

    def test_agents_of_many_hosts_do_not_go_on_asking_in_step(self, tmp_path: pathlib.Path) -> None:
        stub = tmp_path / "os_collect_config/collect.py"
        stub.parent.mkdir()
        (stub.parent / "__init__.py").touch()
        stub.write_text(
            "import time\ndef main():\n"
            "    [time.sleep(pause) for pause in [1, 2, 4, 8] + [60] * 200]\n"
        )
        text = install_agent.COLLECT_TEXT
        assert "time.sleep(seconds" in text
        program = tmp_path / "collect"
        program.write_text(text.replace("time.sleep(seconds", "print(seconds"))
        done = subprocess.run([sys.executable, program], capture_output=True, text=True, check=True)
        slept = [float(line) for line in done.stdout.splitlines()]
        # Quick in a run, and at rest not more often than each minute.
        assert slept[:4] == [1, 2, 4, 8]
        assert 60 <= min(slept[4:]) < 63 < 69 < max(slept[4:]) <= 72

    def test_the_unit_starts_the_collector_that_is_installed(self, make_step: Make) -> None:
        files = install_agent.own_files(self.step(make_step))
        assert f"ExecStart={install_agent.COLLECT} " in files[install_agent.UNIT_FILE][0]
        assert files[install_agent.COLLECT][1] == 0o755

    def test_an_agent_of_somebody_else_is_left_alone(
        self, make_step: Make, root: pathlib.Path
    ) -> None:
        (root / "etc/os-collect-config.conf").write_text("[DEFAULT]\n")
        with pytest.raises(faults.StepFailed, match="has an os-collect-config already"):
            install_agent.converge(self.step(make_step))

    @pytest.fixture
    def brought(self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
        """Return the folder beside the package, with a lock of two distributions."""
        folder = tmp_path / "brought"
        folder.mkdir(parents=True)
        (folder / "agent.lock").write_text(LOCK)
        monkeypatch.setattr(install_agent, "own_package", lambda: folder.parent / "host.pyz")
        return folder

    @pytest.fixture
    def home(self, root: pathlib.Path, brought: pathlib.Path) -> pathlib.Path:
        """Return the agent's folder, as it was installed by this lock."""
        home = root / install_agent.HOME.lstrip("/")
        (home / "bin").mkdir(parents=True)
        digest = hashlib.sha256((brought / "agent.lock").read_bytes()).hexdigest()
        (home / "installed.json").write_text(json.dumps({"lock": digest}))
        (home / "bin/python").write_text("#!/bin/sh\nexit 0\n")
        (home / "bin/python").chmod(0o755)
        return home

    @pytest.mark.parametrize(
        ("python", "made_anew"),
        [("exit 0", False), ("echo no module os_collect_config >&2; exit 1", True), ("", True)],
    )
    def test_an_environment_of_a_python_that_is_gone_is_made_anew(
        self, make_step: Make, home: pathlib.Path, python: str, made_anew: bool
    ) -> None:
        step = self.step(make_step, "check")
        # An upgrade of the distribution leaves a link to what is gone, or to another Python.
        (home / "bin/python").unlink()
        (home / "bin/python").symlink_to("python3")
        if python:
            (home / "bin/python3").write_text(f"#!/bin/sh\n{python}\n")
            (home / "bin/python3").chmod(0o755)
        assert install_agent.install(step) is made_anew
        assert bool(step.actions) is made_anew

    @pytest.mark.parametrize(
        "mark", ['{"lock": "of another release"}', '["os-collect-config"]', "", "{", "\0"]
    )
    def test_an_agent_of_another_release_is_made_anew(
        self, make_step: Make, home: pathlib.Path, mark: str
    ) -> None:
        (home / "installed.json").write_text(mark)
        step = self.step(make_step, "check")
        assert install_agent.install(step)
        assert "install the agent of agent.lock" in step.actions[0]

    def pip(self, step: Any, code: int, said: str = "") -> list[list[str]]:
        """Have a step run commands that end so; return them as they come."""
        argvs: list[list[str]] = []

        def run(argv: list[str], **_: Any) -> Any:
            argvs.append(argv)
            if "venv" in argv:
                pathlib.Path(argv[-1]).mkdir(parents=True)
            if "download" in argv:
                sdist(pathlib.Path(argv[argv.index("--dest") + 1]) / "heat_agents-1.tar.gz")
            return types.SimpleNamespace(code=code * ("pip" in argv), stdout="", stderr=said)

        step.run = run
        return argvs

    def test_all_of_it_is_installed_by_its_hash_and_is_no_source(
        self, make_step: Make, root: pathlib.Path, brought: pathlib.Path
    ) -> None:
        step = self.step(make_step)
        argvs = self.pip(step, 0)
        assert install_agent.install(step)
        packages, hooks = (argv for argv in argvs if "pip" in argv)
        for argv in (packages, hooks):
            assert {"--require-hashes", "--no-deps"} <= {*argv}
            assert "--no-index" not in argv
        assert packages[packages.index("--only-binary") + 1] == ":all:"
        # What pip builds metadata with is what was just installed by its hash.
        assert "--no-build-isolation" in hooks
        mark = root / "opt/heat-agent/installed.json"
        assert json.loads(mark.read_text()) == {"lock": hashlib.sha256(LOCK.encode()).hexdigest()}
        assert (root / "opt/heat-agent/hooks.d/script").read_text() == "text"
        assert not (root / "opt/heat-agent.before").exists()

    @pytest.mark.parametrize("code", [0, 1])
    def test_an_agent_that_is_renewed_asks_for_no_message_meanwhile(
        self,
        make_step: Make,
        home: pathlib.Path,
        monkeypatch: pytest.MonkeyPatch,
        code: int,
    ) -> None:
        (home / "installed.json").write_text("{}")
        service = types.SimpleNamespace(active=True)
        monkeypatch.setattr(install_agent, "find_service", lambda *_: service)
        step = self.step(make_step)
        argvs = self.pip(step, code)
        with contextlib.suppress(faults.StepFailed):
            install_agent.install(step)
        said = [" ".join(argv) for argv in argvs]
        stop = said.index("systemctl stop os-collect-config.service")
        assert stop < next(i for i, text in enumerate(said) if "venv" in text)
        # One that was renewed is started when its hooks are there.
        assert ("systemctl start os-collect-config.service" in said) is bool(code)

    def test_where_enrolment_brought_the_files_no_index_is_asked(
        self, make_step: Make, brought: pathlib.Path
    ) -> None:
        for name, content, named in (("heat_agents-1", b"x", False), ("heat_agents-2", b"y", True)):
            (brought / f"{name}.tar.gz").write_bytes(content)
            if named:
                digest = hashlib.sha256(content).hexdigest()
                (brought / "agent.lock").write_text(f"heat-agents==2 --hash=sha256:{digest}\n")
            step = self.step(make_step)
            argvs = self.pip(step, 0)
            install_agent.install(step)
            for argv in (argv for argv in argvs if "pip" in argv):
                assert argv[argv.index("--find-links") + 1] == str(brought)
                assert ("--no-index" in argv) is named

    def test_an_agent_that_cannot_be_renewed_is_kept(
        self, make_step: Make, home: pathlib.Path
    ) -> None:
        (home / "installed.json").write_text(json.dumps({"lock": "of another release"}))
        step = self.step(make_step)
        self.pip(step, 1, "ERROR: No matching distribution for os-collect-config==14.1.0")
        with pytest.raises(faults.StepFailed, match=r"os-collect-config==14\.1\.0\. Give"):
            install_agent.install(step)
        assert json.loads((home / "installed.json").read_text()) == {"lock": "of another release"}
        assert (home / "bin/python").exists()
        assert not home.with_name("heat-agent.before").exists()

    def test_an_agent_of_a_host_that_went_down_while_it_was_renewed_is_back_first(
        self, make_step: Make, home: pathlib.Path
    ) -> None:
        home.rename(home.with_name("heat-agent.before"))
        (home / "bin").mkdir(parents=True)
        step = self.step(make_step)
        self.pip(step, 1)
        with pytest.raises(faults.StepFailed):
            install_agent.install(step)
        assert (home / "installed.json").exists()
        assert not home.with_name("heat-agent.before").exists()

    def test_an_update_keeps_the_credentials_and_leaves_others_agents_alone(
        self,
        make_step: Make,
        root: pathlib.Path,
        home: pathlib.Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        step = make_step("install_agent", "apply", os_collect_config={}, polling_interval_s=60)
        configuration = root / "etc/os-collect-config.conf"
        for text in (None, "[DEFAULT]\n"):
            if text is not None:
                configuration.write_text(text)
            install_agent.converge(step)
            assert step.actions == []
        text = f"{install_agent.HEADER}[DEFAULT]\npolling_interval = 2\n"
        configuration.write_text(text)
        service = types.SimpleNamespace(active=False)
        monkeypatch.setattr(install_agent, "find_service", lambda *_: service)
        restarted = []
        monkeypatch.setattr(install_agent, "restart_service", lambda *_: restarted.append(1))
        monkeypatch.setattr(step, "run", lambda *_, **__: types.SimpleNamespace(code=0))
        install_agent.converge(step)
        assert configuration.read_text() == text
        assert (root / "opt/heat-agent/bin/collect").exists()
        assert restarted == [1]

    def test_hooks_come_out_of_the_source_distribution(self, tmp_path: pathlib.Path) -> None:
        archive = sdist(tmp_path / "heat_agents-1.tar.gz")
        install_agent.unpack_hooks(archive, tmp_path / "home")
        hook = tmp_path / "home/hooks.d/script"
        assert hook.read_text() == "text"
        assert hook.stat().st_mode & 0o111
        configure = tmp_path / "home/os-refresh-config/configure.d"
        # Ours run before and after: 50-refuse, 60-settle.
        names = sorted(path.name for path in configure.iterdir())
        assert names == ["20-os-apply-config", "55-heat-config"]

    def test_a_source_distribution_without_the_hooks_is_told(self, tmp_path: pathlib.Path) -> None:
        with tarfile.open(tmp_path / "x.tar.gz", "w:gz"):
            pass
        with pytest.raises(faults.StepFailed, match="which is heat-agents no more"):
            install_agent.unpack_hooks(tmp_path / "x.tar.gz", tmp_path)

    def test_a_converted_host_keeps_its_agent(self, make_step: Make, root: pathlib.Path) -> None:
        (root / "var/lib/novadocker").mkdir()
        (root / "var/lib/novadocker/install_docker.json").write_text("{}")
        with pytest.raises(faults.StepFailed, match="run novadocker.undeploy first"):
            install_agent.undo(self.step(make_step, "undo"))
