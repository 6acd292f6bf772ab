# SPDX-License-Identifier: Apache-2.0
"""install_docker beside an operator's own engine: its file, its flags, its rules, its data."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import install_docker
import pytest
from library import engine as library_engine
from library import (
    engine_network,
    engine_unit,
    faults,
    instances,
    scratch_engine,
    services,
    user_namespaces,
)

from novadocker_actions import recipes

from .conftest import Calls, Make, Programs
from .engine import engine

Unit = Callable[..., None]
OURS = recipes.settings_of("install_docker", "compute", {"docker": {}})["daemon_settings"]
# unshare without namespaces: it runs the engine of the test's host.
AS_IT_IS = 'while [ "$1" != /usr/bin/dockerd ]; do shift; done; shift; exec dockerd "$@"'


@pytest.fixture
def daemon_json(root: pathlib.Path) -> pathlib.Path:
    (root / "etc/docker").mkdir()
    return root / "etc/docker/daemon.json"


@pytest.fixture
def unit(programs: Programs, root: pathlib.Path) -> Unit:
    """Return a function that gives the host an engine that is started with these words."""

    def put(*words: str, active: bool = False) -> None:
        (root / "usr/bin").mkdir(parents=True, exist_ok=True)
        (root / "usr/bin/dockerd").touch()
        command = " ".join(("/usr/bin/dockerd", *words))
        programs(
            "systemctl",
            f"cat <<'E'\nLoadState=loaded\nActiveState={'active' if active else 'inactive'}\n"
            f"MainPID=0\nEnvironmentFiles=/etc/ops/docker (ignore_errors=yes)\n"
            f"ExecStart={{ path=/usr/bin/dockerd ; argv[]={command} ; ignore_errors=no ; }}\nE",
        )

    put()
    programs("unshare", "echo 'unshare: unshare failed: Operation not permitted' >&2; exit 1")
    return put


@pytest.fixture
def containers(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list]:
    """Serve an engine that has these containers."""
    monkeypatch.setattr(library_engine, "DOCKER_SOCKET", str(tmp_path / "s"))
    seen: list = []
    with engine(tmp_path / "s", {("GET", "/containers/json"): (200, seen)}):
        yield seen


def merged(make_step: Make, root: pathlib.Path, **more: Any) -> tuple[dict, Any]:
    """Return what the engine's file holds after a run, and the run."""
    step = make_step("install_docker", daemon_settings={**OURS, **more})
    install_docker.write_daemon_settings(step)
    path = root / "etc/docker/daemon.json"
    return json.loads(path.read_text()) if path.exists() else {}, step


@pytest.mark.field_case("K2.1")
class TestLogDrivers:
    """Limits of a log's size are for logs that the engine writes to files."""

    @pytest.mark.parametrize("driver", ["journald", "fluentd", "gelf", "syslog", "none", "awslogs"])
    def test_another_driver_gets_no_limits(
        self,
        make_step: Make,
        root: pathlib.Path,
        unit: Unit,
        daemon_json: pathlib.Path,
        driver: str,
    ) -> None:
        daemon_json.write_text(json.dumps({"log-driver": driver}))
        settings, step = merged(make_step, root)
        assert "log-opts" not in settings
        assert settings["live-restore"] is True
        assert f"the log driver {driver}" in str(step.facts["notes"])

    @pytest.mark.parametrize("driver", ["json-file", "local"])
    def test_one_that_writes_files_gets_them(
        self,
        make_step: Make,
        root: pathlib.Path,
        unit: Unit,
        daemon_json: pathlib.Path,
        driver: str,
    ) -> None:
        daemon_json.write_text(json.dumps({"log-driver": driver}))
        assert merged(make_step, root)[0]["log-opts"] == OURS["log-opts"]

    def test_a_driver_that_is_a_flag_or_a_setting_of_the_run_counts_as_well(
        self, make_step: Make, root: pathlib.Path, unit: Unit
    ) -> None:
        unit("--log-driver", "journald")
        assert "log-opts" not in merged(make_step, root)[0]
        unit()
        settings, _ = merged(make_step, root, **{"log-driver": "gelf", "log-opts": {"tag": "a"}})
        assert settings["log-opts"] == {"tag": "a"}


@pytest.mark.field_case("K2.3")
class TestFlags:
    """What the unit's command sets is not set in the file as well: the engine refuses that."""

    @pytest.mark.parametrize(
        ("words", "keys"),
        [
            (["--iptables=false", "--bridge=none"], {"iptables", "bridge"}),
            (["-b", "none"], {"bridge"}),
            (["--live-restore"], {"live-restore"}),
            (["--live-restore", "-H", "fd://"], {"live-restore"}),
            (["--log-opt", "max-size=50m"], {"log-opts"}),
            (["--log-opt=max-size=50m", "--ip-forward=false"], {"log-opts", "ip-forward"}),
        ],
    )
    def test_a_flag_of_the_unit_is_not_written(
        self, make_step: Make, root: pathlib.Path, unit: Unit, words: list, keys: set
    ) -> None:
        unit(*words)
        settings, step = merged(make_step, root)
        assert set(OURS) - set(settings) == keys
        scratch_engine.refuse_twice_set(
            step, settings, engine_unit.engine_flags(engine_unit.engine_command(step))
        )

    @pytest.mark.parametrize("place", ["etc/default/docker", "etc/ops/docker"])
    @pytest.mark.parametrize("text", ['DOCKER_OPTS="--log-opt max-size=50m"', "DOCKER_OPTS='"])
    def test_options_in_a_file_of_the_unit_are_flags(
        self, make_step: Make, root: pathlib.Path, unit: Unit, place: str, text: str
    ) -> None:
        (root / place).parent.mkdir(exist_ok=True)
        (root / place).write_text(f"# Operator's\n{text}\n")
        unit("-H", "fd://", "$DOCKER_OPTS")
        assert ("log-opts" in merged(make_step, root)[0]) is ("max-size" not in text)

    def test_a_flag_that_says_otherwise_is_kept_and_told(
        self, make_step: Make, root: pathlib.Path, unit: Unit
    ) -> None:
        unit("--live-restore=false")
        settings, step = merged(make_step, root)
        assert "live-restore" not in settings
        assert step.facts["notes"] == ["docker.service: kept this host's own flag for live-restore"]

    def test_the_file_that_the_unit_names_is_the_one_that_is_changed_and_put_back(
        self, make_step: Make, root: pathlib.Path, unit: Unit, daemon_json: pathlib.Path
    ) -> None:
        place = root / "etc/ops/engine.json"
        place.parent.mkdir()
        place.write_text('{"debug":  true}')
        unit("--config-file=/etc/ops/engine.json")
        merged(make_step, root)
        assert json.loads(place.read_text()) == {"debug": True, **OURS}
        assert not daemon_json.exists()
        undo = make_step("install_docker", "undo")
        assert install_docker.restore_daemon_settings(undo) is True
        assert place.read_text() == '{"debug":  true}'

    def test_a_key_that_is_set_twice_is_named_before_anything(
        self, make_step: Make, unit: Unit, daemon_json: pathlib.Path
    ) -> None:
        unit("-H", "fd://")
        step = make_step("install_docker", "check")
        with pytest.raises(faults.StepFailed, match="hosts is set in /etc/docker/daemon.json and"):
            scratch_engine.try_settings(step, {"hosts": ["unix:///run/docker.sock"]})

    @pytest.mark.parametrize(
        ("words", "flags"),
        [
            (["-Hfd://", "-D"], {"hosts": "fd://", "debug": "true"}),
            (
                ["--icc=false", "x", "--bip", "192.0.2.1/24"],
                {"icc": "false", "bip": "192.0.2.1/24"},
            ),
            (
                ["--storage-opt", "a=b", "-s", "zfs"],
                {"storage-opts": "a=b", "storage-driver": "zfs"},
            ),
        ],
    )
    def test_flags_are_read_as_the_engine_reads_them(self, words: list, flags: dict) -> None:
        read = engine_unit.engine_flags(["dockerd", *words])
        assert {flag.key: flag.value for flag in read} == flags

    @pytest.mark.parametrize(
        "words",
        [
            ["/usr/bin/numactl", "--cpunodebind=0", "/usr/bin/dockerd", "-H", "fd://"],
            ["/bin/sh", "-c", "exec /usr/bin/dockerd -H fd://"],
            ["/usr/bin/env", "GODEBUG=x", "/opt/engine/dockerd-28", "-H", "fd://"],
        ],
    )
    def test_what_stands_before_the_engine_is_none_of_its_flags(self, words: list) -> None:
        read = engine_unit.engine_flags(engine_unit.engine_part(words))
        assert [(flag.key, flag.value) for flag in read] == [("hosts", "fd://")]

    def test_flags_behind_a_script_are_those_of_what_runs(
        self,
        make_step: Make,
        unit: Unit,
        programs: Programs,
        root: pathlib.Path,
        containers: list,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        programs(
            "systemctl",
            "cat <<'E'\nLoadState=loaded\nActiveState=active\nMainPID=7\n"
            "ExecStart={ path=/opt/start ; argv[]=/opt/start --site x ; ignore_errors=no ; }\nE",
        )
        runs = ["/usr/bin/dockerd", "--iptables=false", "--log-opt", "max-size=50m"]
        monkeypatch.setattr(services, "process_command", lambda pid: (runs if pid else [], {}))
        told, _ = merged(make_step, root)
        assert not {"iptables", "log-opts"} & set(told)
        assert told["bridge"] == "none"


@pytest.mark.parametrize("text", ["", "\n", "  \n\n"])
def test_a_file_without_a_word_has_no_settings(
    make_step: Make, unit: Unit, daemon_json: pathlib.Path, root: pathlib.Path, text: str
) -> None:
    daemon_json.write_text(text)
    assert merged(make_step, root)[0] == OURS


@pytest.mark.parametrize(
    ("put", "words"),
    [
        (lambda path: path.mkdir(), "cannot be read .*: mend it, then repeat"),
        (lambda path: path.write_text("[]"), "does not hold an object: mend it"),
        (lambda path: path.write_bytes(b"\xff\xfe{}"), "is not JSON .*: mend it, then repeat"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    make_step: Make, unit: Unit, daemon_json: pathlib.Path, put: Callable, words: str
) -> None:
    put(daemon_json)
    with pytest.raises(faults.StepFailed, match=f"/etc/docker/daemon.json {words}"):
        install_docker.wanted_daemon_settings(make_step("install_docker", "check", **{}))


class TestTrial:
    """A change of settings is tried by a second engine, in check mode and before it is written."""

    def check(self, make_step: Make, mode: str = "check") -> Any:
        step = make_step("install_docker", mode, daemon_settings=OURS, users=[])
        install_docker.converge(step)
        return step

    def test_what_the_engine_refuses_is_told_by_a_check(
        self, make_step: Make, programs: Programs, unit: Unit, daemon_json: pathlib.Path
    ) -> None:
        daemon_json.write_text('{"runtimes": {}}')
        programs("unshare", AS_IT_IS)
        programs(
            "dockerd",
            "echo 'level=info msg=begun' >&2; echo 'failed to start daemon: bad runtimes' >&2;"
            "echo 'level=info msg=ended' >&2; exit 1",
        )
        for mode in ("check", "apply"):
            with pytest.raises(faults.StepFailed, match="would get: failed to start daemon: bad"):
                self.check(make_step, mode)
        assert daemon_json.read_text() == '{"runtimes": {}}'

    def test_the_trial_has_the_unit_s_flags_and_places_of_its_own(
        self, make_step: Make, programs: Programs, unit: Unit, calls: Calls, root: pathlib.Path
    ) -> None:
        unit("-H", "fd://", "--containerd=/run/c", "--data-root", "/srv", "--seccomp-profile=/s")
        (root / "srv").mkdir()
        programs("unshare", AS_IT_IS)
        programs("dockerd", "echo no >&2; exit 1")
        with pytest.raises(faults.StepFailed):
            self.check(make_step)
        (call,) = (line for line in calls() if line.startswith("dockerd"))
        assert "fd://" not in call
        assert "/run/c" not in call
        assert "--seccomp-profile=/s" in call
        assert f"--data-root={root}/.novadocker-" in call
        assert f"--config-file={root}/run/novadocker-" in call
        assert [*root.glob(".nova*"), *(root / "run").iterdir()] == []

    def test_an_engine_that_hangs_is_ended(
        self,
        make_step: Make,
        programs: Programs,
        unit: Unit,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: pathlib.Path,
    ) -> None:
        monkeypatch.setattr(scratch_engine, "TRIAL_TIMEOUT_S", 0.5)
        programs("unshare", AS_IT_IS)
        programs("dockerd", f"echo $$ > {tmp_path}/pid; echo waiting; exec sleep 60")
        with pytest.raises(faults.StepFailed, match=r"within 0.5 s \(it said last: waiting\)"):
            self.check(make_step)
        pid = (tmp_path / "pid").read_text().strip()
        assert not pathlib.Path(f"/proc/{pid}").exists()

    def test_a_host_where_none_can_be_tried_says_so(self, make_step: Make, unit: Unit) -> None:
        step = self.check(make_step)
        assert "cannot be tried on this host: unshare" in str(step.facts["notes"])
        assert step.actions == ["write /etc/docker/daemon.json", "restart docker.service"]

    def test_a_node_of_a_swarm_is_refused(
        self, make_step: Make, unit: Unit, root: pathlib.Path
    ) -> None:
        (root / "var/lib/docker/swarm").mkdir(parents=True)
        (root / "var/lib/docker/swarm/docker-state.json").touch()
        with pytest.raises(faults.StepFailed, match="docker swarm leave"):
            self.check(make_step)

    def test_an_engine_does_not_lose_sight_of_its_data(self, make_step: Make, unit: Unit) -> None:
        settings = {**OURS, "data-root": "/srv/docker"}
        step = make_step("install_docker", "check", daemon_settings=settings, users=[])
        with pytest.raises(faults.StepFailed, match="keeps its data in /var/lib/docker already"):
            install_docker.converge(step)


class TestUserNamespaces:
    """Root of containers is another user on the host, where a run asks for it."""

    REMAP: Any = {**OURS, "userns-remap": "default"}

    @pytest.fixture
    def users(self, monkeypatch: pytest.MonkeyPatch) -> set[str]:
        """Return who is a user of the host."""
        there: set[str] = set()

        def named(name: str) -> str:
            if name not in there:
                raise KeyError(name)
            return name

        monkeypatch.setattr(user_namespaces.pwd, "getpwnam", named)
        return there

    def keep_container(self, root: pathlib.Path, data: str = "/var/lib/docker") -> None:
        place = root / data.lstrip("/") / "containers/1234"
        place.mkdir(parents=True)
        (place / "config.v2.json").write_text(
            json.dumps({"Name": "/nova-1", "Config": {"Labels": {instances.INSTANCE_LABEL: "1"}}})
        )

    def test_an_engine_does_not_lose_sight_of_its_containers(
        self, make_step: Make, unit: Unit, root: pathlib.Path
    ) -> None:
        self.keep_container(root)
        step = make_step("install_docker", "check", daemon_settings=self.REMAP, users=[])
        with pytest.raises(faults.StepFailed, match=r"\(nova-1\), and .* change of userns-remap"):
            install_docker.converge(step)

    def test_a_plan_says_what_becomes_of_images(self, make_step: Make, unit: Unit) -> None:
        step = make_step("install_docker", "check", daemon_settings=self.REMAP, users=[])
        install_docker.converge(step)
        assert "images are loaded anew" in str(step.facts["notes"])

    def test_instances_of_a_remapped_engine_that_is_down_are_seen(
        self, make_step: Make, unit: Unit, root: pathlib.Path
    ) -> None:
        self.keep_container(root, "/var/lib/docker/165536.165536")
        assert instances.instance_containers(make_step("install_docker")) == ["nova-1"]

    @pytest.mark.parametrize("was_there", [False, True])
    def test_a_user_that_the_engine_has_made_goes_with_the_setting(
        self,
        make_step: Make,
        unit: Unit,
        programs: Programs,
        calls: Calls,
        daemon_json: pathlib.Path,
        users: set[str],
        monkeypatch: pytest.MonkeyPatch,
        was_there: bool,
    ) -> None:
        for name in ("userdel", "groupdel"):
            programs(name, "")
        users.update(["dockremap"] if was_there else [])
        daemon_json.write_text("{}")
        install_docker.write_daemon_settings(
            make_step("install_docker", daemon_settings=self.REMAP, users=[])
        )
        assert json.loads(daemon_json.read_text())["userns-remap"] == "default"
        users.add("dockremap")
        monkeypatch.setattr(install_docker, "restart_engine", lambda *_args: None)
        install_docker.undo(make_step("install_docker", "undo", daemon_settings={}, users=[]))
        assert json.loads(daemon_json.read_text()) == {}
        removed = [call for call in calls() if call.startswith(("userdel", "groupdel"))]
        assert removed == ([] if was_there else ["userdel dockremap", "groupdel dockremap"])

    def test_a_user_of_an_engine_that_goes_on_with_it_stays(
        self, make_step: Make, unit: Unit, calls: Calls, users: set[str]
    ) -> None:
        step = make_step("install_docker", "undo")
        step.record = {"remap_user_was_there": False}
        users.add("dockremap")
        user_namespaces.remove_remap_user(step, self.REMAP)
        assert "dockremap stays" in str(step.facts["notes"])
        assert not [call for call in calls() if call.startswith("userdel")]

    def test_the_setting_stays_as_long_as_there_are_containers(
        self,
        make_step: Make,
        unit: Unit,
        daemon_json: pathlib.Path,
        users: set[str],
        root: pathlib.Path,
    ) -> None:
        install_docker.write_daemon_settings(
            make_step("install_docker", daemon_settings=self.REMAP, users=[])
        )
        self.keep_container(root, "/var/lib/docker/165536.165536")
        with pytest.raises(faults.StepFailed, match="change of userns-remap"):
            install_docker.undo(make_step("install_docker", "undo", daemon_settings={}, users=[]))
        assert json.loads(daemon_json.read_text())["userns-remap"] == "default"


class TestDisturbance:
    """A step tells whether it would interrupt what the host does."""

    RUNNING: Any = {"Names": ["/shop"], "HostConfig": {"NetworkMode": "host"}}

    @pytest.mark.parametrize("mode", ["check", "apply"])
    def test_a_restart_under_containers_disturbs(
        self,
        make_step: Make,
        unit: Unit,
        containers: list,
        monkeypatch: pytest.MonkeyPatch,
        mode: str,
    ) -> None:
        unit(active=True)
        containers.append(self.RUNNING)
        for name in ("restart_engine", "tell_engine"):
            monkeypatch.setattr(install_docker, name, lambda *_args: None)
        step = make_step("install_docker", mode, daemon_settings=OURS, users=[])
        install_docker.converge(step)
        assert step.facts["disturbs"] is True
        assert step.facts["disturbed"] == ["docker.service is restarted under 1 containers"]

    def test_a_restart_under_none_or_none_at_all_does_not(
        self, make_step: Make, unit: Unit, containers: list, daemon_json: pathlib.Path
    ) -> None:
        unit(active=True)
        step = make_step("install_docker", "check", daemon_settings=OURS, users=[])
        install_docker.converge(step)
        assert step.facts["disturbs"] is False
        daemon_json.write_text(json.dumps(OURS))
        containers.append(self.RUNNING)
        step = make_step("install_docker", "check", daemon_settings=OURS, users=[])
        install_docker.converge(step)
        assert (step.facts["disturbs"], step.actions) == (False, [])

    def test_containers_that_a_restart_would_stop_are_seen_by_a_check(
        self, make_step: Make, unit: Unit, containers: list, daemon_json: pathlib.Path
    ) -> None:
        daemon_json.write_text('{"live-restore": false}')
        unit(active=True)
        containers.append(self.RUNNING)
        step = make_step("install_docker", "check", daemon_settings=OURS, users=[])
        with pytest.raises(faults.StepFailed, match="restart of the engine would stop them"):
            install_docker.converge(step)


class TestOtherEngines:
    @pytest.mark.field_case("K2.9")
    @pytest.mark.parametrize("name", install_docker.OTHER_ENGINES)
    def test_the_engine_of_a_snap_is_refused(
        self, make_step: Make, root: pathlib.Path, name: str
    ) -> None:
        (root / name[1:]).parent.mkdir(parents=True)
        (root / name[1:]).touch()
        step = make_step("install_docker", "check", daemon_settings={}, users=[])
        with pytest.raises(faults.StepFailed, match="snap remove docker"):
            install_docker.converge(step)
        assert step.actions == []


OPERATORS = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-USER - [0:0]
-A INPUT -s 172.17.0.0/16 -p tcp -m tcp --dport 5000 -j ACCEPT
-A INPUT -i docker0 -p tcp -m tcp --dport 53 -j ACCEPT
-A FORWARD -s 172.17.0.0/16 -d 192.0.2.0/24 -j DROP
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER-USER -s 198.51.100.0/24 -j DROP
-A DOCKER-USER -j RETURN
COMMIT
"""
NAT = """\
*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A POSTROUTING -s 172.17.0.0/16 -d 192.0.2.9/32 -j SNAT --to-source 192.0.2.1
-A POSTROUTING -s 10.0.0.0/8 -o eth0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
COMMIT
"""


@pytest.mark.field_case("K2.8")
class TestRulesOfTheOperator:
    def test_they_stay_and_so_does_the_chain_that_is_for_them(self) -> None:
        gone = [" ".join(rule) for rule in engine_network.engine_rules(OPERATORS)]
        assert gone == [
            "-D FORWARD -j DOCKER-USER",
            "-D FORWARD -j DOCKER-ISOLATION-STAGE-1",
            "-D FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "-D FORWARD -o docker0 -j DOCKER",
            "-D FORWARD -i docker0 ! -o docker0 -j ACCEPT",
            "-D FORWARD -i docker0 -o docker0 -j ACCEPT",
            "-F DOCKER",
            "-F DOCKER-ISOLATION-STAGE-1",
            "-X DOCKER",
            "-X DOCKER-ISOLATION-STAGE-1",
        ]

    def test_of_address_translations_only_the_engine_s_go(self) -> None:
        gone = [" ".join(rule) for rule in engine_network.engine_rules(NAT)]
        assert gone == [
            "-D PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
            "-D POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
            "-F DOCKER",
            "-X DOCKER",
        ]


@pytest.mark.field_case("K2.7")
@pytest.mark.parametrize("was_there", [True, False])
def test_a_file_system_of_its_own_is_emptied_but_for_what_repairs_it(
    make_step: Make, root: pathlib.Path, was_there: bool
) -> None:
    place = root / "var/lib/docker"
    step = make_step("install_docker")
    if was_there:
        (place / "lost+found").mkdir(parents=True)
    before = install_docker.place_before(step, "/var/lib/docker")
    assert not (before and before["entries"])
    (place / "lost+found").mkdir(parents=True, exist_ok=True)
    (place / "overlay2").mkdir()
    install_docker.empty_place(step, "/var/lib/docker", before)
    assert [path.name for path in place.iterdir()] == ["lost+found"]
