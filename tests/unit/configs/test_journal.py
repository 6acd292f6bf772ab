# SPDX-License-Identifier: Apache-2.0
"""Record and journal: undo goes back to before the first run, roll_back to what this run found."""

from __future__ import annotations

import json
import os
import pathlib
import struct
from collections.abc import Callable
from typing import Any

import configure_compute
import describe_host
import install_docker
import pytest
from library import changes, faults, files, instances, outcome
from library import engine as library_engine
from library import step as steps

from .conftest import Programs
from .engine import engine

INSTANCE = {"Names": ["/nova-instance-00000001"]}

Make = Callable[..., steps.Step]


@pytest.fixture
def run(make_step: Make) -> Make:
    """Return a function that makes a run of a step in a numbered run."""

    def make(run_id: str, mode: str = "apply", name: str = "s", **settings: Any) -> steps.Step:
        step = make_step(name, mode, **settings)
        step.run_id = run_id
        step.begin()
        return step

    return make


def back(step: steps.Step) -> None:
    """Take files back as a step does that has nothing else to take back."""
    outcome.work_of(step.mode, lambda _step: None, lambda taken: taken.restore_files() and None)(
        step
    )


def stored(root: pathlib.Path, name: str = "s") -> dict[str, Any]:
    return dict(json.loads((root / f"var/lib/novadocker/{name}.json").read_text()))


def test_roll_back_goes_to_what_this_run_found_and_undo_to_the_beginning(
    run: Any, root: pathlib.Path
) -> None:
    (root / "etc/x").write_text("operator")
    run("one").write_file("/etc/x", "first")
    run("two").write_file("/etc/x", "second")

    back(run("two", "roll_back"))
    assert (root / "etc/x").read_text() == "first"

    back(run("three", "undo"))
    assert (root / "etc/x").read_text() == "operator"
    assert not (root / "var/lib/novadocker/s.json").exists()


def test_a_run_that_changed_nothing_has_nothing_to_go_back_to(run: Any, root: pathlib.Path) -> None:
    run("one").write_file("/etc/x", "first")
    assert run("two").write_file("/etc/x", "first") is False

    step = run("two", "roll_back")
    back(step)

    assert step.facts["notes"] == ["this run changed nothing here"]
    assert (root / "etc/x").read_text() == "first"


def test_a_run_is_never_rolled_back_by_another_one(run: Any, root: pathlib.Path) -> None:
    run("one").write_file("/etc/x", "first")

    back(run("two", "roll_back"))

    assert (root / "etc/x").read_text() == "first"
    assert stored(root)["baseline"]["files"]


def test_a_run_whose_journal_another_one_replaced_is_not_told_as_taken_back(
    run: Any, root: pathlib.Path
) -> None:
    (root / "etc/x").write_text("operator")
    run("one").write_file("/etc/x", "first")
    # The second finds all as it should be.
    run("two").write_file("/etc/x", "first")
    run("three").write_file("/etc/x", "third")

    with pytest.raises(faults.StepFailed, match="another run of s has begun"):
        back(run("one", "roll_back"))
    assert (root / "etc/x").read_text() == "third"

    step = run("two", "roll_back")
    back(step)
    assert step.facts["notes"] == ["this run changed nothing here"]
    back(run("three", "roll_back"))
    assert (root / "etc/x").read_text() == "first"


def test_a_run_that_was_rolled_back_is_so_also_after_another_one(
    run: Any, root: pathlib.Path
) -> None:
    run("one").write_file("/etc/x", "first")
    run("two").write_file("/etc/x", "second")
    back(run("two", "roll_back"))
    run("three").write_file("/etc/x", "third")

    step = run("two", "roll_back")
    back(step)

    assert step.facts["notes"] == ["this run changed nothing here"]


def test_a_first_run_that_is_rolled_back_leaves_no_record(run: Any, root: pathlib.Path) -> None:
    run("one").write_file("/etc/d/x", "first")

    back(run("one", "roll_back"))

    assert list((root / "etc").iterdir()) == []
    assert not (root / "var/lib/novadocker/s.json").exists()


def test_a_step_that_is_pushed_again_after_a_crash_keeps_what_the_run_found(
    run: Any, root: pathlib.Path
) -> None:
    (root / "etc/x").write_text("found")
    run("one").write_file("/etc/x", "half done")
    run("one").write_file("/etc/x", "done")

    back(run("one", "roll_back"))

    assert (root / "etc/x").read_text() == "found"


def test_the_journal_is_on_disk_before_the_change(
    run: Any, root: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("one").write_file("/etc/x", "first")
    real = changes.replace_file

    def crash(path: pathlib.Path, *rest: Any) -> None:
        if path.name == "x":
            raise RuntimeError("power cut")
        real(path, *rest)

    monkeypatch.setattr(changes, "replace_file", crash)
    with pytest.raises(RuntimeError):
        run("two").write_file("/etc/x", "second")
    monkeypatch.undo()

    assert run("two", "roll_back").content_before("/etc/x") == b"first"
    back(run("two", "roll_back"))
    assert (root / "etc/x").read_text() == "first"


def test_a_roll_back_that_broke_off_goes_on(run: Any, root: pathlib.Path) -> None:
    run("one").write_file("/etc/a", "first")
    second = run("two")
    second.write_file("/etc/a", "second")
    second.write_file("/etc/b", "second")
    assert run("two", "roll_back").restore_file("/etc/a") is True

    back(run("two", "roll_back"))

    assert [path.name for path in (root / "etc").iterdir()] == ["a"]
    back(run("three", "undo"))
    assert list((root / "etc").iterdir()) == []


def test_undo_after_a_part_was_rolled_back_still_knows_its_own_text(
    run: Any, root: pathlib.Path
) -> None:
    (root / "etc/a").write_text("operator")
    run("one").write_file("/etc/a", "first")
    second = run("two")
    second.write_file("/etc/a", "second")
    second.write_file("/etc/b", "second")
    run("two", "roll_back").restore_file("/etc/a")

    step = run("three", "undo")
    back(step)

    assert "notes" not in step.facts
    assert (root / "etc/a").read_text() == "operator"
    assert not (root / "etc/b").exists()


def test_a_new_run_drops_the_journal_of_the_one_before(run: Any, root: pathlib.Path) -> None:
    run("one").write_file("/etc/x", "first")
    assert stored(root)["run"]["id"] == "one"

    run("two")

    assert "run" not in stored(root)
    assert stored(root)["baseline"]["files"]["/etc/x"]


def test_checks_and_other_modes_leave_the_journal_alone(run: Any, root: pathlib.Path) -> None:
    run("one").write_file("/etc/x", "first")

    run("two", "check").write_file("/etc/x", "second")
    back(run("two", "roll_back"))

    assert stored(root)["run"]["id"] == "one"


def test_what_a_run_adds_is_its_own(run: Any) -> None:
    run("one").remember_each("packages", ["a"])
    run("two").remember_each("packages", ["b"])

    assert run("two", "roll_back").to_undo["packages"] == ["b"]
    assert run("three", "undo").to_undo["packages"] == ["a", "b"]


class TestRecordsOfTheVersionBefore:
    @pytest.fixture
    def old(self, root: pathlib.Path) -> Any:
        (root / "var/lib/novadocker").mkdir()
        (root / "etc/x").write_text("ours")
        state = files.file_state(root / "etc/x")
        entry = {"before": None, "sha256": files.sha256(state)}
        path = root / "var/lib/novadocker/s.json"
        path.write_text(json.dumps({"files": {"/etc/x": entry}, "directories": []}))
        return path

    def test_they_are_the_baseline(self, old: Any, run: Any, root: pathlib.Path) -> None:
        run("one").write_file("/etc/x", "newer")
        back(run("one", "roll_back"))
        assert (root / "etc/x").read_text() == "ours"

        back(run("two", "undo"))
        assert not (root / "etc/x").exists()
        assert not old.exists()


class TestRecordsThatCannotBeRead:
    @pytest.fixture(params=["", "{", "[]", '{"baseline": 1}', '{"baseline": {}, "run": {"id": 1}}'])
    def broken(self, root: pathlib.Path, request: pytest.FixtureRequest) -> Any:
        path = root / "var/lib/novadocker/s.json"
        path.parent.mkdir()
        path.write_text(request.param)
        return path

    @pytest.mark.parametrize("mode", ["apply", "check", "roll_back"])
    def test_they_are_named_with_a_remedy(self, broken: Any, make_step: Make, mode: str) -> None:
        with pytest.raises(faults.StepFailed, match=r"s\.json cannot be read .*backup"):
            make_step("s", mode)
        assert broken.exists()

    def test_undo_refuses_where_only_the_record_knows(self, broken: Any, make_step: Make) -> None:
        with pytest.raises(faults.StepFailed, match=r"s\.json cannot be read"):
            make_step("s", "undo").require_record()

    def test_undo_takes_away_files_that_say_whose_they_are(
        self, broken: Any, run: Any, root: pathlib.Path
    ) -> None:
        (root / "etc/ours").write_text("# Written by us\nx")
        (root / "etc/theirs").write_text("y")
        step = run("one", "undo")
        step.adopt_files(("/etc/ours", "/etc/theirs", "/etc/none"), "# Written by us\n")
        back(step)
        assert [path.name for path in (root / "etc").iterdir()] == ["theirs"]
        assert not broken.exists()
        assert [path.read_text() for path in broken.parent.iterdir()] != []

    def test_what_undo_took_as_ours_is_known_to_the_next_undo(
        self, broken: Any, run: Any, root: pathlib.Path
    ) -> None:
        (root / "etc/ours").write_text("# Written by us\nx")
        run("one", "undo").adopt_files(("/etc/ours",), "# Written by us\n")
        # It broke off here.
        back(run("two", "undo"))
        assert list((root / "etc").iterdir()) == []


class TestLinks:
    @pytest.mark.field_case("K2.5")
    @pytest.mark.parametrize("target", ["/etc/ops/daemon.json", "ops/daemon.json"])
    def test_a_link_stays_one_and_its_target_is_written_and_restored(
        self, run: Any, root: pathlib.Path, target: Any
    ) -> None:
        (root / "etc/ops").mkdir()
        real = root / "etc/ops/daemon.json"
        real.write_text("operator")
        link = root / "etc/daemon.json"
        link.symlink_to(target)

        run("one").write_file("/etc/daemon.json", "ours")
        assert link.is_symlink()
        assert real.read_text() == "ours"

        back(run("two", "undo"))
        assert link.is_symlink()
        assert real.read_text() == "operator"

    @pytest.mark.field_case("K2.5")
    def test_a_link_to_what_is_not_there_yet(self, run: Any, root: pathlib.Path) -> None:
        (root / "etc/x").symlink_to("/etc/new/x")
        run("one").write_file("/etc/x", "ours")
        assert (root / "etc/new/x").read_text() == "ours"
        back(run("one", "roll_back"))
        assert [path.name for path in (root / "etc").iterdir()] == ["x"]
        assert (root / "etc/x").is_symlink()

    def test_a_link_that_others_can_lay_is_replaced_and_not_followed(
        self, run: Any, root: pathlib.Path
    ) -> None:
        victim = root / "etc/shadow"
        victim.write_text("secrets")
        place = root / "etc/glance"
        place.mkdir()
        place.chmod(0o777)
        (place / "x.conf").symlink_to("/etc/shadow")

        step = run("one")
        step.write_file("/etc/glance/x.conf", "ours")

        assert victim.read_text() == "secrets"
        assert (place / "x.conf").read_text() == "ours"
        assert not (place / "x.conf").is_symlink()
        assert "a file takes its place" in step.facts["notes"][0]
        # Nor does the record hold what the link led to.
        assert stored(root)["baseline"]["files"]["/etc/glance/x.conf"]["before"] is None

    def test_a_directory_that_is_a_link_that_others_can_lay_is_refused(
        self, run: Any, root: pathlib.Path
    ) -> None:
        (root / "etc/sudoers.d").mkdir()
        place = root / "etc/glance"
        place.mkdir()
        place.chmod(0o777)
        (place / "glance-api.conf.d").symlink_to(root / "etc/sudoers.d")

        with pytest.raises(faults.StepFailed, match="conf.d is a link that others than root"):
            run("one").write_file("/etc/glance/glance-api.conf.d/x", "ours")

        assert list((root / "etc/sudoers.d").iterdir()) == []

    def test_a_draft_that_somebody_laid_is_not_written_through(self, root: pathlib.Path) -> None:
        victim = root / "etc/victim"
        victim.write_text("untouched")
        victim.chmod(0o600)
        (root / "etc/.x.novadocker").symlink_to(victim)

        files.replace_file(root / "etc/x", b"ours", 0o666)

        assert victim.read_text() == "untouched"
        assert victim.stat().st_mode & 0o777 == 0o600
        assert (root / "etc/x").read_text() == "ours"
        assert not (root / "etc/x").is_symlink()

    def test_a_link_in_circles_is_refused(self, run: Any, root: pathlib.Path) -> None:
        (root / "etc/x").symlink_to("x")
        with pytest.raises(faults.StepFailed, match="circles"):
            run("one").write_file("/etc/x", "ours")


class TestAttributes:
    """A file that is replaced is to those who look at it the file that it was."""

    # Access lists, as the kernel keeps them: of whoever owns it, user 4242, its group, the most
    # that these get, and all others.
    LISTED = ((1, 6, -1), (2, 6, 4242), (4, 4, -1), (16, 6, -1), (32, 4, -1))
    ACCESS = "system.posix_acl_access"

    def access(self) -> bytes:
        entries = (struct.pack("<HHi", *entry) for entry in self.LISTED)
        return struct.pack("<I", 2) + b"".join(entries)

    def test_its_extended_attributes_stay_and_are_those_of_what_is_put_back(
        self, run: Any, root: pathlib.Path
    ) -> None:
        path = root / "etc/x"
        path.write_text("operator")
        os.setxattr(path, "user.label", b"theirs")
        os.setxattr(path, self.ACCESS, self.access())

        run("one").write_file("/etc/x", "ours")
        assert path.read_text() == "ours"
        assert os.getxattr(path, "user.label") == b"theirs"
        assert os.getxattr(path, self.ACCESS) == self.access()

        back(run("two", "undo"))
        assert path.read_text() == "operator"
        assert os.getxattr(path, "user.label") == b"theirs"
        assert os.getxattr(path, self.ACCESS) == self.access()

    def test_an_access_list_gives_nobody_more_than_the_mode_that_is_wanted(
        self, run: Any, root: pathlib.Path
    ) -> None:
        path = root / "etc/x"
        path.write_text("operator")
        os.setxattr(path, self.ACCESS, self.access())

        assert run("one").write_file("/etc/x", "ours", 0o640)
        assert path.stat().st_mode & 0o777 == 0o640
        assert run("one").write_file("/etc/x", "ours", 0o640) is False

    def test_a_new_name_is_on_disk_before_anybody_goes_by_it(
        self, root: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path, synced = root / "etc/x", []

        def sync(descriptor: int) -> None:
            synced.append((os.readlink(f"/proc/self/fd/{descriptor}"), path.exists()))

        monkeypatch.setattr(os, "fsync", sync)
        files.replace_file(path, b"ours", 0o600)
        assert synced == [(str(root / "etc/.x.novadocker"), False), (str(root / "etc"), True)]


class TestInstances:
    """What manages instances' containers is not taken from under them."""

    def test_a_running_engine_is_asked_for_all_that_have_the_label(
        self, make_step: Make, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(library_engine, "DOCKER_SOCKET", str(tmp_path / "s"))
        with (
            engine(tmp_path / "s", {("GET", "/containers/json"): (200, [INSTANCE])}) as asked,
            pytest.raises(faults.StepFailed, match=r"1 instances live .*instance-00000001"),
        ):
            instances.refuse_if_instances(make_step("s"))
        assert "all=1" in asked[0]
        assert "org.openstack.nova.uuid" in asked[0]

    def test_an_engine_that_is_down_is_read_from_its_disk(
        self,
        make_step: Make,
        root: pathlib.Path,
        tmp_path: pathlib.Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(library_engine, "DOCKER_SOCKET", str(tmp_path / "no-engine"))
        (root / "etc/docker").mkdir()
        (root / "etc/docker/daemon.json").write_text('{"data-root": "/srv/docker"}')
        place = root / "srv/docker/containers"
        for name, labels in {"ours": {instances.INSTANCE_LABEL: "u"}, "theirs": {}}.items():
            (place / name).mkdir(parents=True)
            text = json.dumps({"Name": f"/{name}", "Config": {"Labels": labels}})
            (place / name / "config.v2.json").write_text(text)
        assert instances.instance_containers(make_step("s")) == ["ours"]
        # One that cannot be read may be an instance.
        (place / "0123456789abcdef").mkdir()
        assert instances.instance_containers(make_step("s")) == ["0123456789ab", "ours"]

    @pytest.mark.parametrize(
        ("command", "variables"),
        [
            ("/usr/sbin/dockerd -H fd:// --data-root=/srv/docker", ""),
            ("/usr/sbin/dockerd -g /srv/docker", ""),
            ("/usr/sbin/dockerd -H fd:// $DOCKER_OPTS", "DOCKER_OPTS='--data-root /srv/docker'"),
            ("/usr/sbin/dockerd --config-file /etc/engine.json", ""),
        ],
    )
    def test_a_stopped_engine_is_read_where_its_unit_says(
        self,
        make_step: Make,
        programs: Programs,
        root: pathlib.Path,
        tmp_path: pathlib.Path,
        monkeypatch: pytest.MonkeyPatch,
        command: str,
        variables: str,
    ) -> None:
        programs(
            "systemctl",
            "cat <<'E'\nLoadState=loaded\nActiveState=inactive\nMainPID=0\n"
            f"ExecStart={{ path=/usr/sbin/dockerd ; argv[]={command} ; ignore_errors=no }}\nE",
        )
        monkeypatch.setattr(library_engine, "DOCKER_SOCKET", str(tmp_path / "no-engine"))
        (root / "etc/default").mkdir()
        (root / "etc/default/docker").write_text(f"# Arguments\n{variables}\n")
        (root / "etc/engine.json").write_text('{"data-root": "/srv/docker"}')
        (root / "srv/docker/containers/0123456789abcdef").mkdir(parents=True)
        assert instances.instance_containers(make_step("s")) == ["0123456789ab"]
        step = make_step("install_docker", "undo")
        step.record = {"packages": ["docker.io"]}
        with pytest.raises(faults.StepFailed, match="0123456789ab"):
            install_docker.undo(step)

    @pytest.fixture
    def occupied(self, monkeypatch: pytest.MonkeyPatch) -> None:
        names = ["nova-instance-00000001"]
        monkeypatch.setattr(instances, "instance_containers", lambda _step: names)
        monkeypatch.setattr(configure_compute, "instance_containers", lambda _step: names)

    def test_users_of_the_engine_stay_while_instances_live(self, run: Any, occupied: Any) -> None:
        run("one", name="install_docker").remember_each("users", ["nova"])
        with pytest.raises(faults.StepFailed, match="stays a Docker hypervisor"):
            install_docker.undo(run("one", "roll_back", "install_docker"))

    @pytest.mark.parametrize("mode", ["undo", "roll_back"])
    def test_a_drop_in_that_made_the_hypervisor_stays(
        self, run: Any, occupied: Any, root: pathlib.Path, mode: str
    ) -> None:
        run("one", name="configure_compute").write_file(configure_compute.DROP_IN, "x")
        with pytest.raises(faults.StepFailed, match="stays a Docker hypervisor"):
            configure_compute.undo(run("one", mode, "configure_compute"))
        assert (root / configure_compute.DROP_IN.lstrip("/")).exists()

    def test_a_drop_in_of_an_earlier_run_comes_back(
        self, run: Any, occupied: Any, programs: Programs, root: pathlib.Path
    ) -> None:
        programs("systemctl", "echo LoadState=not-found")
        docker = "[DEFAULT]\ncompute_driver = novadocker.virt.docker.DockerDriver\n"
        run("one", name="configure_compute").write_file(configure_compute.DROP_IN, docker)
        run("two", name="configure_compute").write_file(configure_compute.DROP_IN, docker + "more")
        configure_compute.undo(run("two", "roll_back", "configure_compute"))
        assert (root / configure_compute.DROP_IN.lstrip("/")).read_text() == docker


def test_a_description_tells_which_steps_have_something_to_take_back(
    run: Any, make_step: Make
) -> None:
    assert describe_host.recorded_steps(make_step("describe_host", "check")) == []

    run("one", name="configure_glance").write_file("/etc/x", "first")
    run("two", name="install_docker").remember("packages", ["docker.io"])
    run("two", name="configure_compute").remember("files", {})

    told = describe_host.recorded_steps(make_step("describe_host", "check"))
    assert told == ["configure_glance", "install_docker"]


def test_a_description_tells_which_run_changed_something_last(
    run: Any, make_step: Make, root: pathlib.Path
) -> None:
    run("one", name="install_docker").remember("packages", ["docker.io"])
    run("one", name="configure_compute").write_file("/etc/x", "first")
    run("two", name="configure_compute").write_file("/etc/x", "second")
    run("one", name="configure_glance").write_file("/etc/y", "first")
    run("one", "roll_back", "configure_glance").forget()
    (root / "var/lib/novadocker/install_driver.json").write_text("no record")

    step = make_step("describe_host", "check")
    told = describe_host.journals(step)

    assert told == {"configure_compute": "two", "install_docker": "one"}
    assert "install_driver.json" in step.facts["notes"][0]
