# SPDX-License-Identifier: Apache-2.0
"""install_docker: what it plans, what it leaves alone, and what it takes back."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import struct
import subprocess
import sys
import threading
import typing
from collections.abc import Iterator
from typing import Any

import install_docker
import pytest
from library import (
    apt,
    apt_locks,
    changes,
    daemon_settings,
    engine_network,
    faults,
    files,
    rpm,
    scratch_engine,
)
from library import engine as library_engine

from .conftest import Calls, Make, Programs
from .engine import engine

OURS = {"live-restore": True, "log-opts": {"max-size": "10m"}}
NO_CONTAINERS = {("GET", "/containers/json"): (200, [])}


@pytest.fixture(autouse=True)
def no_engine(programs: Programs) -> None:
    """Let no host have an engine, where a test does not say otherwise, and none be started."""
    programs("systemctl", "echo LoadState=not-found")
    programs("unshare", "echo 'unshare: unshare failed: Operation not permitted' >&2; exit 1")


@pytest.fixture
def daemon_json(root: pathlib.Path) -> Any:
    (root / "etc/docker").mkdir()
    return root / "etc/docker/daemon.json"


def merge(make_step: Make, **settings: Any) -> Any:
    step = make_step("install_docker", daemon_settings=settings)
    install_docker.write_daemon_settings(step)
    return step


class TestDaemonSettings:
    def test_the_operators_keys_and_their_order_stay(
        self, make_step: Make, daemon_json: Any
    ) -> None:
        daemon_json.write_text('{"registry-mirrors": ["https://m"], "debug": true}')
        merge(make_step, **OURS)
        settings = json.loads(daemon_json.read_text())
        assert list(settings) == ["registry-mirrors", "debug", "live-restore", "log-opts"]

    def test_a_key_that_the_operator_set_otherwise_is_kept_and_told(
        self, make_step: Make, daemon_json: Any
    ) -> None:
        daemon_json.write_text('{"live-restore": false}')
        step = merge(make_step, **OURS)
        assert json.loads(daemon_json.read_text())["live-restore"] is False
        assert step.facts["notes"] == ["/etc/docker/daemon.json: kept this host's own live-restore"]

    def test_nothing_to_add_leaves_the_file_as_it_is_written(
        self, make_step: Make, daemon_json: Any
    ) -> None:
        text = '{"live-restore":true,   "log-opts": {"max-size": "10m"}}'
        daemon_json.write_text(text)
        assert merge(make_step, **OURS).actions == []
        assert daemon_json.read_text() == text

    def test_a_later_run_changes_only_keys_that_are_ours(
        self, make_step: Make, daemon_json: Any
    ) -> None:
        daemon_json.write_text('{"debug": true}')
        merge(make_step, **OURS)
        merge(make_step, **{"live-restore": False, "debug": False})
        assert json.loads(daemon_json.read_text()) == {
            "debug": True,
            "live-restore": False,
            "log-opts": {"max-size": "10m"},
        }

    @pytest.mark.parametrize("text", ["{", "[]"])
    def test_a_broken_file_is_refused_before_anything(
        self, make_step: Make, daemon_json: Any, text: str
    ) -> None:
        daemon_json.write_text(text)
        with pytest.raises(faults.StepFailed, match="mend it, then repeat"):
            merge(make_step, **OURS)
        assert daemon_json.read_text() == text

    @pytest.mark.field_case("K2.5")
    @pytest.mark.parametrize("kept", ["daemon.json", "docker"])
    def test_attributes_that_keep_a_file_are_told_by_the_check(
        self, make_step: Make, daemon_json: Any, monkeypatch: pytest.MonkeyPatch, kept: str
    ) -> None:
        daemon_json.write_text("{}")

        def told(descriptor: int, _asked: int, given: bytes) -> bytes:
            name = os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))
            return struct.pack("l", 0x80010 if name == kept else 0x80000)

        monkeypatch.setattr(files.fcntl, "ioctl", told)
        step = make_step("install_docker", "check", daemon_settings=OURS)
        with pytest.raises(faults.StepFailed, match=rf"`chattr -i -a \S*/{kept}`, then repeat"):
            install_docker.write_daemon_settings(step)

    def test_a_file_system_that_is_read_only_is_told_by_the_check(
        self, make_step: Make, daemon_json: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        state = os.statvfs(daemon_json.parent)
        read_only = os.statvfs_result((*state[:8], state.f_flag | os.ST_RDONLY, *state[9:]))
        monkeypatch.setattr(files.os, "statvfs", lambda _place: read_only)
        step = make_step("install_docker", "check", daemon_settings=OURS)
        with pytest.raises(faults.StepFailed, match="mounted read-only: mount it to be written"):
            install_docker.write_daemon_settings(step)

    def test_undo_gives_back_the_bytes(self, make_step: Make, daemon_json: Any) -> None:
        daemon_json.write_text('{"debug":  true}')
        merge(make_step, **OURS)
        undo = make_step("install_docker", "undo")
        assert install_docker.restore_daemon_settings(undo) is True
        assert daemon_json.read_text() == '{"debug":  true}'

    def test_undo_removes_a_file_that_was_not_there(
        self, make_step: Make, root: pathlib.Path
    ) -> None:
        merge(make_step, **OURS)
        install_docker.restore_daemon_settings(make_step("install_docker", "undo"))
        assert not (root / "etc/docker").exists()

    def test_undo_keeps_what_the_operator_wrote_since(
        self, make_step: Make, daemon_json: Any
    ) -> None:
        daemon_json.write_text("{}")
        merge(make_step, **OURS)
        now = {**json.loads(daemon_json.read_text()), "live-restore": False, "dns": ["192.0.2.1"]}
        daemon_json.write_text(json.dumps(now))
        install_docker.restore_daemon_settings(make_step("install_docker", "undo"))
        assert json.loads(daemon_json.read_text()) == {"live-restore": False, "dns": ["192.0.2.1"]}

    def test_undo_removes_a_file_that_was_ours_and_the_operator_emptied_of_ours(
        self, make_step: Make, root: pathlib.Path
    ) -> None:
        merge(make_step, **OURS)
        path = root / "etc/docker/daemon.json"
        path.write_text(json.dumps({"live-restore": True}))
        install_docker.restore_daemon_settings(make_step("install_docker", "undo"))
        assert not path.exists()


class TestNetworks:
    """An engine gets no network of its own, unless it has one that somebody uses."""

    NONE: typing.ClassVar = {"bridge": "none", "iptables": False, "ip-forward": False}

    @pytest.fixture
    def answers(
        self,
        programs: Programs,
        tmp_path: pathlib.Path,
        monkeypatch: pytest.MonkeyPatch,
        daemon_json: Any,
    ) -> Iterator[Any]:
        programs("systemctl", "printf 'LoadState=loaded\\nActiveState=active\\nMainPID=0\\n'")
        monkeypatch.setattr(library_engine, "DOCKER_SOCKET", str(tmp_path / "s"))
        containers: list = []
        with engine(tmp_path / "s", {("GET", "/containers/json"): (200, containers)}):
            yield containers

    @pytest.mark.parametrize("mode", ["none", "host", "container:0123"])
    def test_an_engine_whose_networks_nobody_uses_gets_none(
        self, make_step: Make, answers: Any, root: pathlib.Path, mode: str
    ) -> None:
        answers.append({"Names": ["/x"], "HostConfig": {"NetworkMode": mode}})
        merge(make_step, **self.NONE)
        assert json.loads((root / "etc/docker/daemon.json").read_text()) == self.NONE

    @pytest.mark.field_case("K2.4")
    @pytest.mark.parametrize("mode", ["default", "bridge", "shop_net"])
    def test_containers_of_the_operator_keep_their_networks(
        self, make_step: Make, answers: Any, root: pathlib.Path, mode: str
    ) -> None:
        answers.append({"Names": ["/shop"], "HostConfig": {"NetworkMode": mode}})
        step = merge(make_step, **self.NONE, **OURS)
        assert json.loads((root / "etc/docker/daemon.json").read_text()) == OURS
        assert f"as the container shop is on {mode}" in step.facts["notes"][0]

    def test_an_engine_of_ours_gets_none_whoever_uses_it(
        self, make_step: Make, answers: Any, root: pathlib.Path
    ) -> None:
        answers.append({"Names": ["/x"], "HostConfig": {"NetworkMode": "none"}})
        (root / "etc/docker/daemon.json").write_text('{"debug": true}')
        step = make_step("install_docker", daemon_settings=self.NONE)
        step.record = {"packages": ["docker.io"]}
        install_docker.write_daemon_settings(step)
        text = (root / "etc/docker/daemon.json").read_text()
        assert json.loads(text) == {"debug": True, **self.NONE}

    @pytest.mark.parametrize("packages", [[], ["docker.io"]])
    @pytest.mark.parametrize(
        ("settings", "why"),
        [
            ({"icc": False, "no-new-privileges": True, "userland-proxy": False}, "icc"),
            ({"bip": "192.0.2.1/24"}, "bip"),
            ({"bridge": "br-ops"}, "br-ops"),
        ],
    )
    def test_an_operator_who_sets_the_networks_up_keeps_them_in_each_run(
        self,
        make_step: Make,
        answers: Any,
        root: pathlib.Path,
        settings: dict,
        why: str,
        packages: list,
    ) -> None:
        (root / "etc/docker/daemon.json").write_text(json.dumps(settings))
        step = make_step("install_docker", daemon_settings={**self.NONE, **OURS})
        step.record = {"packages": packages}
        install_docker.write_daemon_settings(step)
        text = (root / "etc/docker/daemon.json").read_text()
        assert json.loads(text) == {**settings, **OURS}
        assert why in step.facts["notes"][0]

    def test_a_run_that_asks_for_networks_takes_back_what_an_earlier_one_wrote(
        self, make_step: Make, answers: Any, root: pathlib.Path
    ) -> None:
        text = root / "etc/docker/daemon.json"
        text.write_text(json.dumps({**self.NONE, "debug": True}))
        wanted = {"bip": "192.0.2.1/24", **OURS}
        step = make_step("install_docker", daemon_settings=wanted)
        step.record = {"daemon_keys": {**self.NONE}}
        install_docker.write_daemon_settings(step)
        assert json.loads(text.read_text()) == {"debug": True, **wanted}

    def test_what_the_operator_wrote_stays_where_a_run_asks_for_networks(
        self, make_step: Make, answers: Any, root: pathlib.Path
    ) -> None:
        text = root / "etc/docker/daemon.json"
        text.write_text(json.dumps({"iptables": False}))
        step = make_step("install_docker", daemon_settings={"bip": "192.0.2.1/24"})
        install_docker.write_daemon_settings(step)
        assert json.loads(text.read_text()) == {"iptables": False, "bip": "192.0.2.1/24"}

    @pytest.mark.field_case("K2.4")
    @pytest.mark.parametrize("mode", ["default", "bridge", "shop_net"])
    def test_an_engine_of_ours_keeps_the_networks_of_the_operators_containers(
        self, make_step: Make, answers: Any, root: pathlib.Path, mode: str
    ) -> None:
        answers.append({"Names": ["/shop"], "HostConfig": {"NetworkMode": mode}})
        step = make_step("install_docker", daemon_settings={**self.NONE, **OURS})
        step.record = {"packages": ["docker.io"]}
        install_docker.write_daemon_settings(step)
        assert json.loads((root / "etc/docker/daemon.json").read_text()) == OURS
        assert f"as the container shop is on {mode}" in step.facts["notes"][0]

    @pytest.mark.field_case("K2.4")
    @pytest.mark.parametrize(
        ("hostconfig", "kept"),
        [('{"NetworkMode": "shop_net"}', True), ("{", True), ('{"NetworkMode": "none"}', False)],
    )
    def test_containers_of_a_stopped_engine_keep_their_networks_as_well(
        self,
        make_step: Make,
        programs: Programs,
        daemon_json: Any,
        root: pathlib.Path,
        hostconfig: str,
        kept: bool,
    ) -> None:
        programs("systemctl", "printf 'LoadState=loaded\\nActiveState=inactive\\nMainPID=0\\n'")
        place = root / "var/lib/docker/containers/0123456789abcdef"
        place.mkdir(parents=True)
        (place / "config.v2.json").write_text('{"Name": "/shop", "Config": {"Labels": {}}}')
        (place / "hostconfig.json").write_text(hostconfig)
        step = merge(make_step, **self.NONE)
        assert daemon_json.exists() is not kept
        assert ("the container shop is on" in str(step.facts)) is kept

    @pytest.mark.field_case("K2.2")
    def test_hardening_that_needs_packet_filter_rules_keeps_them(
        self, make_step: Make, daemon_json: Any
    ) -> None:
        daemon_json.write_text('{"icc": false}')
        step = merge(make_step, **self.NONE)
        assert json.loads(daemon_json.read_text()) == {"icc": False}
        assert '"icc": false' in step.facts["notes"][0]


class TestReconfigure:
    """The settings of an engine that is there already."""

    @pytest.fixture
    def systemd(
        self,
        programs: Programs,
        root: pathlib.Path,
        tmp_path: pathlib.Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> Iterator[Any]:
        """Stand in for systemd; yield a function that says whether the engine runs."""

        def put(active: Any) -> None:
            state = "active" if active else "inactive"
            programs("systemctl", f"printf 'LoadState=loaded\\nActiveState={state}\\nMainPID=0\\n'")

        (root / "etc/docker").mkdir()
        monkeypatch.setattr(library_engine, "DOCKER_SOCKET", str(tmp_path / "s"))
        with engine(tmp_path / "s", NO_CONTAINERS):
            yield put

    def reconfigure(
        self, make_step: Make, monkeypatch: pytest.MonkeyPatch, refused: Any = True
    ) -> Any:
        def restart(_step: Any, _active: Any) -> None:
            if refused:
                raise faults.StepFailed("the engine refuses its settings")

        monkeypatch.setattr(install_docker, "restart_engine", restart)
        monkeypatch.setattr(install_docker, "await_engine", lambda: None)
        step = make_step("install_docker", daemon_settings=OURS)
        step.run_id = "r"
        step.begin()
        install_docker.reconfigure(step)
        return step

    def test_settings_that_the_engine_refuses_are_taken_back_in_one_step(
        self,
        make_step: Make,
        monkeypatch: pytest.MonkeyPatch,
        systemd: Any,
        root: pathlib.Path,
        calls: Calls,
    ) -> None:
        systemd(True)
        path = root / "etc/docker/daemon.json"
        path.write_text('{"debug":  true}')
        written = []
        real = changes.replace_file
        monkeypatch.setattr(
            changes, "replace_file", lambda *args: (written.append(args[0].name), real(*args))
        )
        with pytest.raises(faults.StepFailed, match="refuses its settings"):
            self.reconfigure(make_step, monkeypatch)
        assert path.read_text() == '{"debug":  true}'
        assert written.count("daemon.json") == 2
        assert "systemctl start docker.service" in calls()
        assert not (root / "var/lib/novadocker/install_docker.json").exists()

    def test_an_engine_that_did_not_run_is_not_left_running(
        self, make_step: Make, monkeypatch: pytest.MonkeyPatch, systemd: Any, calls: Calls
    ) -> None:
        systemd(False)
        with pytest.raises(faults.StepFailed):
            self.reconfigure(make_step, monkeypatch)
        assert calls()[-1] == "systemctl stop docker.service"

    def test_an_engine_that_stands_still_is_not_asked_to_stop(
        self,
        make_step: Make,
        systemd: Any,
        calls: Calls,
        tmp_path: pathlib.Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        systemd(False)
        monkeypatch.setattr(library_engine, "DOCKER_SOCKET", str(tmp_path / "no-engine"))
        step = make_step("install_docker", "roll_back")
        step.remember_unit("docker.service", False)
        step.remember_each("users", [])
        install_docker.undo(step)
        assert step.actions == []
        assert "systemctl stop docker.service" not in calls()

    def test_a_restart_that_failed_is_made_when_it_is_taken_back_again(
        self, make_step: Make, monkeypatch: pytest.MonkeyPatch, systemd: Any
    ) -> None:
        systemd(True)
        merge(make_step, **OURS)

        def fail(*_args: Any) -> None:
            raise faults.StepFailed("does not restart")

        monkeypatch.setattr(install_docker, "restart_engine", fail)
        with pytest.raises(faults.StepFailed, match="does not restart"):
            install_docker.undo(make_step("install_docker", "undo"))
        restarts = []
        monkeypatch.setattr(
            install_docker, "restart_engine", lambda *_args: restarts.append("docker")
        )
        install_docker.undo(make_step("install_docker", "undo"))
        assert restarts == ["docker"]

    def test_a_later_run_is_taken_back_to_the_settings_of_the_one_before(
        self, make_step: Make, monkeypatch: pytest.MonkeyPatch, systemd: Any, root: pathlib.Path
    ) -> None:
        systemd(True)
        first = make_step("install_docker", daemon_settings=OURS)
        first.run_id = "one"
        install_docker.write_daemon_settings(first)
        later = make_step("install_docker", daemon_settings={**OURS, "live-restore": False})
        later.run_id = "two"
        later.begin()
        install_docker.write_daemon_settings(later)
        path = root / "etc/docker/daemon.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "debug": True}))

        back = make_step("install_docker", "roll_back")
        back.run_id = "two"
        back.begin()
        assert install_docker.restore_daemon_settings(back) is True

        assert json.loads(path.read_text()) == {**OURS, "debug": True}


@pytest.mark.field_case("K3.1")
class TestForwarding:
    """The host does not go on forwarding packets because an engine was there."""

    @pytest.fixture
    def forwards(self, root: pathlib.Path) -> Any:
        path = root / "proc/sys/net/ipv4/ip_forward"
        path.parent.mkdir(parents=True)
        path.write_text("1\n")
        return path

    def undo(self, make_step: Make, before: Any) -> Any:
        step = make_step("install_docker", "undo")
        step.record = {"ip_forward": before}
        install_docker.stop_forwarding(step)
        return step

    def test_what_the_engine_began_ends(self, make_step: Make, forwards: Any) -> None:
        self.undo(make_step, "0")
        assert forwards.read_text() == "0\n"

    def test_a_host_that_forwarded_before_goes_on(self, make_step: Make, forwards: Any) -> None:
        self.undo(make_step, "1")
        assert forwards.read_text() == "1\n"

    def test_what_somebody_else_began_since_stays(
        self, make_step: Make, forwards: Any, daemon_json: Any
    ) -> None:
        daemon_json.write_text('{"ip-forward": false}')
        step = self.undo(make_step, "0")
        assert forwards.read_text() == "1\n"
        assert "not by the engine" in step.facts["notes"][0]


SIMULATION = """\
Inst runc (1.1.5 Debian:12/stable [amd64])
Inst containerd (1.6.20 Debian:12/stable [amd64])
Inst docker.io (20.10.24 Debian:12/stable [amd64])
Conf runc (1.1.5 Debian:12/stable [amd64])
"""


class TestApt:
    def test_the_plan_is_what_would_be_new(
        self, make_step: Make, programs: Programs, calls: Calls
    ) -> None:
        programs("apt-get", f"cat <<'E'\n{SIMULATION}E")
        planned = apt.Apt(make_step("install_docker")).planned(["docker.io", "iptables"])
        assert planned == ["runc", "containerd", "docker.io"]
        assert "-s install --no-install-recommends docker.io iptables" in calls()[0]
        assert "DPkg::Lock::Timeout" in calls()[0]

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("Inst libc6 [2.36-1] (2.36-9 x)", r"upgrade .*\(libc6\): bring them up to date first"),
            ("Remv podman-docker [4.3]", "would remove podman-docker, in conflict .* remove it"),
            ("Remv theirs [1]", "would remove theirs, in conflict .* if nobody needs it"),
        ],
    )
    def test_a_plan_that_touches_other_packages_is_refused(
        self, make_step: Make, programs: Programs, line: Any, said: str
    ) -> None:
        programs("apt-get", f"cat <<'E'\n{line}\n{SIMULATION}E")
        with pytest.raises(faults.StepFailed, match=said):
            apt.Apt(make_step("install_docker")).planned(["docker.io"])

    def test_the_index_is_renewed_once_when_the_candidate_is_not_known(
        self, make_step: Make, programs: Programs, calls: Calls, tmp_path: pathlib.Path
    ) -> None:
        new = tmp_path / "new"
        programs("apt-get", f'case "$*" in *update) touch {new};; esac; test -e {new} || exit 100')
        apt.Apt(make_step("install_docker")).planned(["docker.io"])
        assert [call.split()[-1] for call in calls()] == ["docker.io", "update", "docker.io"]

    def test_check_does_not_even_renew_the_index(
        self, make_step: Make, programs: Programs, calls: Calls
    ) -> None:
        programs("apt-get", "exit 100")
        with pytest.raises(faults.StepFailed):
            apt.Apt(make_step("install_docker", "check")).planned(["docker.io"])
        renewed = [call for call in calls() if "-s install" not in call]
        assert len(renewed) == 1
        assert "-o Dir::State::lists=/tmp/novadocker-" in renewed[0]
        assert "-o Dir::Cache=/tmp/novadocker-" in renewed[0]

    def test_purge_refuses_to_take_other_packages_along(
        self, make_step: Make, programs: Programs
    ) -> None:
        programs("dpkg", "")
        programs("dpkg-query", "echo docker.io installed")
        programs(
            "apt-get",
            'case "$*" in *-s*) echo "Purg docker.io [1]"; echo "Purg compose [1]";; esac',
        )
        with pytest.raises(faults.StepFailed, match="compose"):
            apt.Apt(make_step("install_docker")).purge(["docker.io"])

    @pytest.mark.parametrize("whose", ["operator", "run"])
    def test_what_the_engine_kept_goes_with_it_wherever_it_was_told_to(
        self, make_step: Make, programs: Programs, root: pathlib.Path, daemon_json: Any, whose: str
    ) -> None:
        programs("dpkg", "")
        programs("dpkg-query", "echo docker.io installed")
        programs("ip", "")
        programs(
            "apt-get",
            'case "$*" in *" -s install "*) echo "Inst docker.io (1)";; *-s*purge*) '
            'echo "Purg docker.io [1]";; esac',
        )
        place = {"data-root": "/srv/engine"}
        if whose == "operator":
            daemon_json.write_text(json.dumps(place))
        wanted = {**OURS, **(place if whose == "run" else {})}
        step = make_step("install_docker", daemon_settings=wanted, users=[])
        install_docker.plan_packages(step)
        (root / "srv/engine/overlay2").mkdir(parents=True)
        (root / "srv/others").mkdir()

        install_docker.undo(make_step("install_docker", "undo"))
        assert [path.name for path in (root / "srv").iterdir()] == ["others"]

    def test_purge_takes_exactly_what_was_new(
        self, make_step: Make, programs: Programs, calls: Calls
    ) -> None:
        programs("dpkg", "")
        programs("dpkg-query", "printf 'docker.io installed\\nrunc config-files\\n'")
        programs("apt-get", 'case "$*" in *-s*) echo "Purg docker.io [1]"; echo "Purg runc";; esac')
        apt.Apt(make_step("install_docker")).purge(["docker.io", "runc", "tini"])
        assert calls()[-1].endswith("purge -y docker.io runc")


@pytest.mark.field_case("K4.1")
class TestAptLocks:
    """Other upgrades of the host are waited for, and named when they do not end."""

    @pytest.fixture
    def holder(self, root: pathlib.Path) -> Iterator[Any]:
        """Start a process that holds a lock of apt's until its input ends; return a starter."""
        begun = []

        def start(name: str) -> Any:
            path = root / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            code = (
                "import fcntl, sys; file = open(sys.argv[1], 'r+'); "
                "fcntl.lockf(file, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"
            )
            process = subprocess.Popen(
                [sys.executable, "-c", code, str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            begun.append(process)
            assert process.stdout.readline() == "held\n"
            return process

        yield start
        for process in begun:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                pipe.close()

    @pytest.mark.parametrize("name", apt_locks.APT_LOCKS)
    def test_each_of_the_four_locks_is_seen_with_its_holder(
        self, make_step: Make, holder: Any, name: str
    ) -> None:
        process = holder(name)
        with pytest.raises(faults.StepFailed, match=rf"{process.pid} \(.*import fcntl"):
            apt_locks.await_locks(make_step("s"), 0)

    def test_a_lock_that_nobody_holds_is_free(self, make_step: Make, root: pathlib.Path) -> None:
        apt_locks.await_locks(make_step("s"), 0)
        (root / "var/lib/dpkg").mkdir()
        (root / "var/lib/dpkg/lock").touch()
        apt_locks.await_locks(make_step("s"), 0)

    def test_a_change_waits_until_the_other_one_ends(
        self, make_step: Make, programs: Programs, calls: Calls, holder: Any
    ) -> None:
        programs("apt-get", "")
        programs("dpkg-query", "")
        process = holder("/var/lib/apt/lists/lock")
        threading.Timer(0.5, process.stdin.close).start()
        apt.Apt(make_step("s")).install(["x"])
        assert calls()[-1].endswith("install -y --no-install-recommends x")
        assert process.wait(5) == 0

    def test_a_lock_that_is_taken_in_between_is_waited_for_again(
        self, make_step: Make, programs: Programs, calls: Calls, tmp_path: pathlib.Path
    ) -> None:
        once = tmp_path / "once"
        programs("dpkg-query", "")
        programs(
            "apt-get",
            f"test -e {once} || {{ touch {once}; echo 'E: Could not get lock x' >&2; exit 100; }}",
        )
        apt.Apt(make_step("s")).install(["x"])
        assert [call.split()[-1] for call in calls() if "apt-get" in call] == ["x", "x"]

    def test_only_what_is_ours_and_was_left_unpacked_is_configured(
        self, make_step: Make, programs: Programs, calls: Calls
    ) -> None:
        programs("apt-get", "")
        programs("dpkg", "")
        programs(
            "dpkg-query",
            "printf 'docker.io half-configured\\nrunc unpacked\\ntheirs unpacked\\n'",
        )
        step = make_step("s")
        step.record = {"packages": ["docker.io", "runc"]}
        apt.Apt(step).install(["docker.io"])
        wanted = ["dpkg", "--force-confold", "--configure", "docker.io", "runc"]
        assert sorted_call(" ".join(wanted)) in [sorted_call(call) for call in calls()]

    @pytest.mark.field_case("K1.3")
    def test_a_conflict_is_told_with_apts_own_words(
        self, make_step: Make, programs: Programs
    ) -> None:
        programs(
            "apt-get",
            "echo 'The following packages have unmet dependencies:'; "
            "echo ' containerd.io : Conflicts: containerd'; "
            "echo 'E: Unable to correct problems, you have held broken packages.' >&2; exit 100",
        )
        step = make_step("s", "check")
        with pytest.raises(faults.StepFailed, match=r"containerd\.io : Conflicts: containerd"):
            apt.Apt(step).planned(["docker.io"])


def sorted_call(call: Any) -> Any:
    words = call.split()
    return [*words[:2], *sorted(set(words[2:]))]


TRANSACTION = """\
Dependencies resolved.
==================================================
 Package        Architecture  Version    Repository
==================================================
Installing:
 docker-ce      x86_64        3:27.3     docker-ce
Installing dependencies:
 containerd.io  x86_64        1.7        docker-ce
 iptables-nft   x86_64        1.8        baseos

Transaction Summary
==================================================
Operation aborted.
"""


class TestDnf:
    @pytest.fixture
    def dnf(self, programs: Programs) -> Any:
        """A host whose repositories have docker-ce alone, and iptables-nft installed."""
        programs("rpm", "printf 'bash\\niptables-nft\\n'")

        def put(transaction: Any) -> None:
            programs(
                "dnf",
                'case "$*" in *list*docker-ce) ;; *list*) exit 1;; '
                f"*) cat <<'E'\n{transaction}E\nexit 1;; esac",
            )

        return put

    def test_the_plan_is_what_would_be_new(self, make_step: Make, dnf: Any, calls: Calls) -> None:
        dnf(TRANSACTION)
        manager = rpm.Dnf(make_step("install_docker"))
        chosen = manager.choice(rpm.Dnf.engine)
        assert manager.planned(chosen) == ["docker-ce", "containerd.io"]
        assert "dnf install --setopt=install_weak_deps=False --assumeno docker-ce" in calls()

    def test_a_plan_that_touches_other_packages_is_refused(self, make_step: Make, dnf: Any) -> None:
        dnf(TRANSACTION.replace("Installing dependencies", "Upgrading"))
        manager = rpm.Dnf(make_step("install_docker"))
        with pytest.raises(faults.StepFailed, match="would change containerd.io"):
            manager.planned(["docker-ce"])

    def test_a_host_without_a_repository_for_it_is_told(
        self, make_step: Make, programs: Programs
    ) -> None:
        programs("dnf", "exit 1")
        manager = rpm.Dnf(make_step("install_docker"))
        with pytest.raises(faults.StepFailed, match="moby-engine or docker-ce: add one"):
            manager.choice(rpm.Dnf.engine)

    def test_purge_takes_exactly_what_was_new(
        self, make_step: Make, programs: Programs, calls: Calls
    ) -> None:
        programs("rpm", "printf 'bash\\ncontainerd.io\\ndocker-ce\\n'")
        rpm.Dnf(make_step("install_docker")).purge(["docker-ce", "containerd.io", "x"])
        assert calls()[-1] == "rpm -e containerd.io docker-ce"


class TestRefusals:
    def test_a_policy_that_forbids_the_start_is_respected(
        self, make_step: Make, root: pathlib.Path, calls: Calls
    ) -> None:
        policy = root / "usr/sbin/policy-rc.d"
        policy.parent.mkdir(parents=True)
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
        step = make_step("install_docker", packages=[], version=None, daemon_settings={}, users=[])
        with pytest.raises(faults.StepFailed, match="policy-rc.d forbids"):
            install_docker.converge(step)
        assert step.actions == []

    def test_an_engine_with_containers_is_not_removed(
        self,
        make_step: Make,
        programs: Programs,
        tmp_path: pathlib.Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        programs("systemctl", "printf 'LoadState=loaded\\nActiveState=active\\nMainPID=0\\n'")
        monkeypatch.setattr(library_engine, "DOCKER_SOCKET", str(tmp_path / "s"))
        step = make_step("install_docker", "undo")
        step.record = {"packages": ["docker.io"]}
        there = {("GET", "/containers/json"): (200, [{"Names": ["/theirs"]}])}
        with (
            engine(tmp_path / "s", there) as asked,
            pytest.raises(faults.StepFailed, match=r"1 containers exist .*\(theirs\)"),
        ):
            install_docker.undo(step)
        assert asked == ["GET /containers/json?all=1"]
        assert step.actions == []

    @pytest.mark.parametrize(
        ("place", "said"),
        [
            ("var/lib/docker/volumes/theirs/_data", "the volume theirs would go"),
            ("run/containerd/io.containerd.runtime.v2.task/k8s.io/pod", "namespace k8s.io would"),
            (f"var/lib/docker/volumes/{'a1' * 32}/_data", ""),
            ("run/containerd/io.containerd.runtime.v2.task/moby/old", ""),
        ],
    )
    def test_an_engine_that_keeps_what_others_put_there_is_not_removed(
        self, make_step: Make, programs: Programs, root: pathlib.Path, place: str, said: str
    ) -> None:
        programs("systemctl", "printf 'LoadState=loaded\\nActiveState=inactive\\nMainPID=0\\n'")
        (root / place).mkdir(parents=True)
        step = make_step("install_docker", "undo")
        with pytest.raises(faults.StepFailed, match=said) if said else contextlib.nullcontext():
            install_docker.refuse_if_containers(step)

    @pytest.mark.parametrize("packages", [["docker.io"], []], ids=["ours", "one that stays"])
    def test_what_was_saved_for_an_upload_that_never_came_goes_with_the_engine(
        self, make_step: Make, programs: Programs, root: pathlib.Path, packages: list[str]
    ) -> None:
        """Where the engine stays, another run may be at it."""
        programs("systemctl", "printf 'LoadState=not-found\\nActiveState=inactive\\nMainPID=0\\n'")
        programs("dpkg", "")
        programs("dpkg-query", "printf 'docker.io installed\\n'")
        programs("apt-get", 'case "$*" in *-s*) echo "Purg docker.io [1]";; esac')
        programs("ip", "")
        archive = root / "var/lib/novadocker/exports/0123.tar"
        archive.parent.mkdir(parents=True)
        archive.write_text("an image")
        step = make_step("install_docker", "undo")
        step.record = {"packages": packages, "group_was_there": True}
        install_docker.undo(step)
        assert archive.parent.exists() == (not packages)
        assert archive.parent.parent.is_dir()

    def test_containers_of_a_stopped_engine_count_as_well(
        self, make_step: Make, programs: Programs, root: pathlib.Path
    ) -> None:
        programs("systemctl", "printf 'LoadState=loaded\\nActiveState=inactive\\nMainPID=0\\n'")
        (root / "var/lib/docker/containers/0123456789abcdef").mkdir(parents=True)
        step = make_step("install_docker", "undo")
        step.record = {"packages": ["docker.io"]}
        with pytest.raises(faults.StepFailed, match="0123456789ab"):
            install_docker.undo(step)

    def test_a_restart_that_would_stop_containers_is_refused(
        self,
        make_step: Make,
        programs: Programs,
        tmp_path: pathlib.Path,
        monkeypatch: pytest.MonkeyPatch,
        calls: Calls,
    ) -> None:
        programs("systemctl", "")
        monkeypatch.setattr(library_engine, "DOCKER_SOCKET", str(tmp_path / "s"))
        monkeypatch.setattr(install_docker, "wait_until", lambda condition, _s: condition())
        answers = {
            ("GET", "/containers/json"): (200, [{"Names": ["/theirs"]}]),
            ("GET", "/info"): (200, {"LiveRestoreEnabled": False}),
        }
        with (
            engine(tmp_path / "s", answers),
            pytest.raises(faults.StepFailed, match="live-rest"),
        ):
            install_docker.restart_engine(make_step("install_docker"), True)
        assert not any(call.startswith("systemctl restart") for call in calls())

    def test_settings_that_the_engine_refuses_are_told(
        self, make_step: Make, programs: Programs
    ) -> None:
        programs("unshare", 'while [ "$1" != dockerd ]; do shift; done; exec "$@"')
        programs("dockerd", "echo 'unable to configure: bad log-opts' >&2; exit 1")
        with pytest.raises(faults.StepFailed, match="bad log-opts"):
            scratch_engine.try_settings(make_step("install_docker"), {})


class TestPowerCut:
    """An installation that broke off when the engine's file was there already."""

    @pytest.fixture
    def converge(
        self,
        make_step: Make,
        programs: Programs,
        root: pathlib.Path,
        monkeypatch: pytest.MonkeyPatch,
        daemon_json: Any,
    ) -> Any:
        (root / "usr/bin").mkdir(parents=True)
        (root / "usr/bin/dockerd").write_text("")
        programs("systemctl", "printf 'LoadState=loaded\\nActiveState=active\\nMainPID=0\\n'")
        programs("dpkg", "")
        programs("apt-get", 'case "$*" in *" -s "*) echo "Inst docker.io [1] (1 Debian)";; esac')
        for name in ("await_engine", "tell_engine", "restart_engine", "refuse_if_restart_stops"):
            monkeypatch.setattr(install_docker, name, lambda *_args: None)
        monkeypatch.setattr(daemon_settings, "container_networks", lambda _step: [])

        def run(state: str, mode: str = "apply") -> Any:
            programs("dpkg-query", f"printf 'docker.io {state}\\niptables installed\\n'")
            step = make_step("install_docker", mode, daemon_settings=OURS, users=[])
            step.record = {"packages": ["docker.io", "iptables"]}
            install_docker.converge(step)
            return step

        return run

    @pytest.mark.parametrize("state", ["half-configured", "unpacked", "half-installed"])
    def test_it_is_gone_on_with(self, converge: Any, calls: Calls, state: str) -> None:
        assert "install docker.io, iptables" in converge(state).actions
        installs = [call for call in calls() if "install -y" in call]
        assert len(installs) == 1
        configured = [call for call in calls() if call.startswith("dpkg --force-confold")]
        assert bool(configured) is (state != "half-installed")

    def test_it_is_told_by_a_check(self, converge: Any) -> None:
        assert "install docker.io, iptables" in converge("unpacked", "check").actions

    def test_one_that_is_whole_is_left_alone(self, converge: Any, calls: Calls) -> None:
        assert not any(action.startswith("install") for action in converge("installed").actions)
        assert not any(call.startswith("apt-get") for call in calls())


class TestUsers:
    def test_a_user_keeps_the_other_groups_and_is_recorded(
        self, make_step: Make, programs: Programs, calls: Calls, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        programs("getent", "echo nova:x:1")
        programs("usermod", "")
        monkeypatch.setattr(install_docker, "group_members", lambda _name: [])
        step = make_step("install_docker", users=["nova"])
        install_docker.add_users(step)
        assert "usermod -a -G docker nova" in calls()
        assert step.record["users"] == ["nova"]

    def test_a_member_is_left_alone_and_not_recorded(
        self, make_step: Make, programs: Programs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        programs("getent", "echo nova:x:1")
        monkeypatch.setattr(install_docker, "group_members", lambda _name: ["nova"])
        step = make_step("install_docker", users=["nova"])
        install_docker.add_users(step)
        assert (step.actions, step.record) == ([], {})

    def test_a_user_that_is_not_there_is_noted(
        self, make_step: Make, programs: Programs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        programs("getent", "exit 2")
        monkeypatch.setattr(install_docker, "group_members", lambda _name: [])
        step = make_step("install_docker", users=["nova"])
        install_docker.add_users(step)
        assert step.facts["notes"] == ["there is no user nova on this host"]


SAVED = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
:neutron-openvswi-FORWARD - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -j neutron-openvswi-FORWARD
-A DOCKER-USER -j RETURN
COMMIT
"""


class TestNetworkTraces:
    def test_only_the_engines_rules_and_chains_go(self) -> None:
        assert engine_network.engine_rules(SAVED) == [
            ["-D", "FORWARD", "-j", "DOCKER-USER"],
            ["-D", "FORWARD", "-o", "docker0", "-j", "DOCKER"],
            ["-F", "DOCKER"],
            ["-F", "DOCKER-USER"],
            ["-X", "DOCKER"],
            ["-X", "DOCKER-USER"],
        ]

    def test_the_rules_of_an_engine_around_this_host_stay(self) -> None:
        saved = (
            "*nat\n:DOCKER - [0:0]\n:DOCKER_OUTPUT - [0:0]\n"
            "-A OUTPUT -m addrtype --dst-type LOCAL -j DOCKER\n"
            "-A OUTPUT -d 127.0.0.11/32 -j DOCKER_OUTPUT\nCOMMIT\n"
        )
        assert engine_network.engine_rules(saved) == [
            ["-D", "OUTPUT", "-m", "addrtype", "--dst-type", "LOCAL", "-j", "DOCKER"],
            ["-F", "DOCKER"],
            ["-X", "DOCKER"],
        ]

    def test_a_table_without_the_engine_is_not_touched(self) -> None:
        assert engine_network.engine_rules("*filter\n:FORWARD DROP [0:0]\nCOMMIT\n") == []

    def test_tables_are_told_from_one_another(self, make_step: Make, programs: Programs) -> None:
        nat = "*nat\n:PREROUTING ACCEPT [0:0]\n:DOCKER - [0:0]\nCOMMIT\n"
        programs("iptables-save", f"printf '%s' '# Generated\n{nat}# Completed\n{SAVED}'")
        step = make_step("install_docker", "undo")
        assert f"{engine_network.saved(step, 'iptables', 'nat')}\n" == nat
        assert f"{engine_network.saved(step, 'iptables', 'filter')}\n" == SAVED
        assert engine_network.saved(step, "iptables", "mangle") == ""

    @pytest.mark.parametrize(
        ("before", "now", "changed"),
        [
            ("ACCEPT", SAVED, True),
            ("DROP", SAVED, False),
            ("ACCEPT", SAVED.replace("DROP", "ACCEPT"), False),
            ("ACCEPT", "", False),
        ],
    )
    def test_a_table_is_made_by_no_look_and_no_undo(
        self,
        make_step: Make,
        programs: Programs,
        calls: Calls,
        before: str,
        now: str,
        changed: bool,
    ) -> None:
        for command in ("iptables", "ip6tables"):
            programs(command, "true")
            programs(f"{command}-save", f"printf '%s' '{now}'")
        programs("ip", "exit 1")
        step = make_step("install_docker", "undo")
        step.record = {"forward_policies": {"iptables": before, "ip6tables": before}}
        dropped = "DROP" if "DROP" in now else "ACCEPT"
        assert engine_network.forward_policies(step) == dict.fromkeys(
            ("iptables", "ip6tables"), dropped
        )
        assert not [call for call in calls() if call.startswith(("iptables ", "ip6tables "))]
        engine_network.remove_network_traces(step)
        policies = [call for call in calls() if call.endswith("-P FORWARD ACCEPT")]
        assert len(policies) == (2 if changed else 0)
        # That of iptables-legacy makes a table that it is told to save.
        assert not [call for call in calls() if "-save " in call.rstrip()]
        assert now or not [c for c in calls() if c.startswith(("iptables ", "ip6tables "))]


def test_a_place_that_was_there_empty_is_emptied_and_keeps_its_mode(
    make_step: Make, root: pathlib.Path
) -> None:
    place = root / "var/lib/docker"
    place.mkdir(mode=0o755)
    step = make_step("install_docker")
    before = install_docker.place_before(step, "/var/lib/docker")
    (place / "overlay2").mkdir()
    (place / "overlay2/x").write_text("x")
    place.chmod(0o710)
    install_docker.empty_place(step, "/var/lib/docker", before)
    assert list(place.iterdir()) == []
    assert place.stat().st_mode & 0o777 == 0o755
