# SPDX-License-Identifier: Apache-2.0
"""Which of the host's devices are offered."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from novadocker import exceptions
from novadocker.tests.cdi import CLASS, FULL, KIND, RANDOM, ZERO, device, write
from novadocker.virt.docker.host import cdi
from novadocker.virt.docker.host.devices import Devices, Given, Held, class_of, resource_class


@pytest.fixture(autouse=True)
def _whoever_runs_the_tests_is_trusted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cdi, "_ROOT", os.getuid())
    tmp_path.chmod(0o755)


@pytest.fixture
def ours(tmp_path: Path) -> Devices:
    return Devices([str(tmp_path)], [KIND])


def names(ours: Devices, by_engine: bool = False) -> list[str]:
    return sorted(name.partition("=")[2] for name in ours.offered(by_engine))


class TestOffered:
    def test_classes_are_named_after_kinds(self) -> None:
        assert resource_class("nvidia.com/gpu") == "CUSTOM_CDI_NVIDIA_COM_GPU"
        assert class_of("a-b.c/d_e-f=g.h") == "CUSTOM_CDI_A_B_C_D_E_F"

    def test_kinds_that_placement_could_not_tell_apart_are_a_fault(self) -> None:
        Devices([], ["a.b/c", "a.b/c", "a.b/d"]).check()
        with pytest.raises(exceptions.NotReady, match=r"a\.b/c and a-b/c"):
            Devices([], ["a.b/c", "a-b/c"]).check()

    def test_only_kinds_that_the_operator_allows(self, tmp_path: Path, ours: Devices) -> None:
        write(tmp_path, device("a"))
        assert names(ours) == ["a"]
        assert names(Devices([str(tmp_path)], [])) == []
        assert names(Devices([str(tmp_path)], ["other.example/thing"])) == []

    def test_one_name_of_each(self, tmp_path: Path, ours: Devices) -> None:
        write(
            tmp_path,
            device("0", ZERO),
            device("serial-7", ZERO),
            device("1", FULL, RANDOM),
            device("all", ZERO, FULL, RANDOM),
            device("parts", ZERO, RANDOM),
            device("half", RANDOM),
            device("in-words", env=["A=1"]),
        )
        assert names(ours) == ["half", "in-words", "serial-7"]
        _, refused, others = ours.examined(False)
        assert refused == {}
        assert {name.partition("=")[2]: reason for name, reason in others.items()} == {
            "0": f"it is {KIND}=serial-7",
            "1": f"{KIND}=half is a part of it",
            "all": "it is several devices",
            "parts": f"{KIND}=serial-7 is a part of it",
        }

    def test_a_second_name_is_no_warning(
        self, tmp_path: Path, ours: Devices, caplog: pytest.LogCaptureFixture
    ) -> None:
        write(tmp_path, device("0", ZERO), device("serial-7", ZERO), device("all", ZERO, FULL))
        assert names(ours) == ["serial-7"]
        assert caplog.text == ""
        with pytest.raises(exceptions.HostUnfit, match=f"it is {KIND}=serial-7"):
            ours.given([f"{KIND}=0"], False)

    def test_a_single_one_may_be_called_all(self, tmp_path: Path, ours: Devices) -> None:
        write(tmp_path, device("all", ZERO))
        assert names(ours) == ["all"]

    def test_a_node_that_all_have_makes_them_no_less(self, tmp_path: Path, ours: Devices) -> None:
        write(
            tmp_path,
            device("0", ZERO),
            device("1", FULL),
            containerEdits={"deviceNodes": [{"path": RANDOM}]},
        )
        assert names(ours) == ["0", "1"]

    def test_what_takes_a_hook_is_offered_where_the_engine_runs_it(
        self, tmp_path: Path, ours: Devices, caplog: pytest.LogCaptureFixture
    ) -> None:
        hooks = [{"hookName": "createContainer", "path": "/bin/true"}]
        write(tmp_path, device("a", ZERO, hooks=hooks))
        assert names(ours, by_engine=True) == ["a"]
        for _ in range(2):
            assert names(ours) == []
        assert caplog.text.count("takes hooks, which only an engine with CDI does") == 1
        with pytest.raises(exceptions.HostUnfit, match="takes hooks"):
            ours.given([f"{KIND}=a"], False)

    def test_one_that_is_not_there_is_not(self, tmp_path: Path, ours: Devices) -> None:
        write(tmp_path, device("a", "/dev/nosuch"), device("b", ZERO))
        assert names(ours) == ["b"]


class TestGiven:
    def test_edits_of_several_once(self, tmp_path: Path, ours: Devices) -> None:
        write(
            tmp_path,
            device("a", ZERO, env=["A=1"]),
            device("b", FULL, env=["B=x=y"]),
            containerEdits={"deviceNodes": [{"path": RANDOM}]},
        )
        given = ours.given([f"{KIND}=b", f"{KIND}=a"], False)
        assert given.names == (f"{KIND}=a", f"{KIND}=b")
        assert [node.source for node in given.edits.nodes] == [RANDOM, ZERO, FULL]
        assert given.variables == {"A": "1", "B": "x=y"}
        held = Held.of(given.label)
        assert (held.names, held.variables) == (given.names, ("A", "B"))
        # Each one's own, as the kernel has them.
        assert held.nodes == (frozenset({"c 1:5"}), frozenset({"c 1:7"}))
        assert given.is_in(given.label)
        assert not given.is_in("")
        assert ours.given([], False) == Given()
        assert (Given().label, Held.of("")) == ("", Held())

    def test_a_label_tells_whether_the_edits_are_others(
        self, tmp_path: Path, ours: Devices
    ) -> None:
        write(tmp_path, device("a", ZERO))
        before, named = (ours.given([f"{KIND}=a"], by_engine) for by_engine in (False, True))
        write(tmp_path, device("a", FULL))
        after, renamed = (ours.given([f"{KIND}=a"], by_engine) for by_engine in (False, True))
        assert not after.is_in(before.label)
        # The engine looks them up whenever it starts the container.
        assert renamed.is_in(named.label)
        assert not named.is_in(before.label)

    def test_one_that_is_gone_is_named(self, ours: Devices) -> None:
        with pytest.raises(exceptions.HostUnfit, match=f"{KIND}=a.*no specification"):
            ours.given([f"{KIND}=a"], False)


class TestForNova:
    def test_free_ones_and_those_in_use(self, tmp_path: Path, ours: Devices) -> None:
        assert ours.names({}, False) == {}
        write(tmp_path, device("a", ZERO), device("b", FULL))
        both = {CLASS: {f"{KIND}=a", f"{KIND}=b"}}
        assert ours.names({}, False) == both
        held = Held.of(ours.given([f"{KIND}=a"], False).label)
        assert ours.names({"server": [held]}, False) == both

    def test_one_that_is_gone_stays_its_instances(
        self, tmp_path: Path, ours: Devices, caplog: pytest.LogCaptureFixture
    ) -> None:
        write(tmp_path, device("a", ZERO), device("b", FULL))
        held = Held.of(ours.given([f"{KIND}=a"], False).label)
        # What is at its place may be the same one, by another name.
        write(tmp_path, device("other", ZERO), device("b", FULL))
        for _ in range(2):
            assert ours.names({"server": [held]}, False) == {CLASS: {f"{KIND}=a", f"{KIND}=b"}}
        assert caplog.text.count("is gone, and the server server has it: bring it back") == 1
        assert ours.names({}, False) == {CLASS: {f"{KIND}=b", f"{KIND}=other"}}

    def test_what_a_container_was_given_is_no_one_elses_whatever_it_is_called_by_now(
        self, tmp_path: Path, ours: Devices
    ) -> None:
        write(tmp_path, device("a", ZERO), device("b", FULL))
        held = Held.of(ours.given([f"{KIND}=a"], False).label)
        write(tmp_path, device("a", FULL), device("b", ZERO))
        assert ours.names({"server": [held]}, False) == {CLASS: {f"{KIND}=a"}}

    def test_one_of_two_kinds_and_of_two_paths_is_offered_once(self, tmp_path: Path) -> None:
        link = tmp_path / "by-id"
        link.symlink_to(ZERO)
        other = "other.example/thing"
        write(tmp_path, device("a", ZERO), device("by-id", str(link)))
        write(tmp_path, device("whole", ZERO), name="other.json", kind=other)
        both = Devices([str(tmp_path)], [KIND, other])
        (offered,) = both.offered(False)
        assert offered == f"{KIND}=by-id" or offered.endswith("=whole")

    def test_one_that_is_unfit_takes_no_place_of_one_that_is_not(
        self, tmp_path: Path, ours: Devices
    ) -> None:
        hooks = [{"hookName": "createContainer", "path": "/bin/true"}]
        write(tmp_path, device("0", ZERO), device("serial", ZERO, hooks=hooks))
        assert names(ours) == ["0"]

    def test_an_engine_that_goes_by_other_specifications_is_a_fault(self, ours: Devices) -> None:
        ours.check([])
        with pytest.raises(exceptions.NotReady, match="cdi-spec-dirs is /etc/cdi: make them"):
            ours.check(["/etc/cdi"])

    def test_a_kind_that_is_no_longer_allowed_stays_where_it_is_in_use(
        self, tmp_path: Path
    ) -> None:
        assert Devices([str(tmp_path)], []).names({"server": [Held((f"{KIND}=a",))]}, False) == {
            CLASS: {f"{KIND}=a"}
        }
