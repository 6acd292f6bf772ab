# SPDX-License-Identifier: Apache-2.0
"""A host step tries an engine's settings with the real engine, and nothing of it is left."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import engine_values

sys.path.append(str(Path(__file__).parents[3] / "heat_templates"))

from library import faults, scratch_engine
from library import step as steps

OURS = {
    "live-restore": True,
    "log-opts": {"max-size": "10m", "max-file": "3"},
    "bridge": "none",
    "iptables": False,
    "ip6tables": False,
    "ip-forward": False,
}

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("dockerd"), reason="needs root and dockerd"
)


@pytest.fixture
def attempt(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that tries settings beside flags of the unit."""

    def run(settings: dict[str, Any], *flags: str) -> steps.Step:
        command = [str(shutil.which("dockerd")), *flags]
        for name in ("engine_command", "engine_program"):
            value = command if name == "engine_command" else command[0]
            monkeypatch.setattr(scratch_engine, name, lambda _step, value=value: value)
        step = steps.Step("install_docker", "check")
        scratch_engine.try_settings(step, settings)
        return step

    return run


def listing() -> list[str]:
    """Return what a trial could leave behind; other engines of the machine come and go."""
    traces = [
        f"{path} {path.lstat().st_mtime_ns}"
        for place in ("/etc", "/opt/containerd")
        for path in [Path(place), *Path(place).glob("*")]
        if path.exists()
    ]
    traces += [
        str(path)
        for place in ("/run", "/var/lib")
        for path in Path(place).glob("*novadocker-trial*")
    ]
    traces += Path("/etc/passwd").read_text().splitlines()
    traces += [
        line for line in Path("/proc/mounts").read_text().splitlines() if "novadocker-trial" in line
    ]
    for command in (["ip", "-br", "address"], ["iptables-save"]):
        shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        traces += [line for line in shown.splitlines() if "198.51.100." in line]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            traces += [path.read_text()] if "novadocker-trial" in path.read_text() else []
        except OSError:
            continue
    return traces


@pytest.mark.field_case("K1.2")
@pytest.mark.parametrize(
    ("settings", "flags"),
    [
        (OURS, ()),
        (OURS, ("-H", "fd://", "--containerd=/run/containerd/containerd.sock")),
        ({**OURS, "log-driver": "journald", "log-opts": {"tag": "x"}}, ()),
        ({"icc": False, "userland-proxy": False, "no-new-privileges": True}, ()),
        ({"bip": "198.51.100.1/24"}, ("--live-restore",)),
        ({**OURS, "userns-remap": "default"}, ()),
        ({**OURS, "data-root": "/srv/docker", "hosts": ["tcp://0.0.0.0:2375"]}, ()),
    ],
)
def test_what_the_engine_takes_is_taken_and_leaves_nothing(
    attempt: Any, settings: dict[str, Any], flags: tuple[str, ...]
) -> None:
    before = listing()
    step = attempt(settings, *flags)
    assert listing() == before
    assert step.facts == {}


@pytest.mark.field_case("K1.2")
@pytest.mark.parametrize(
    ("settings", "flags", "said"),
    [
        ({**OURS, "icc": False}, (), "--iptables=false with --icc=false"),
        ({**OURS, "bip": "198.51.100.1/24"}, (), "-b & --bip"),
        ({**OURS, "log-driver": "journald"}, (), "unknown log opt 'max-"),
        ({"log-opts": {"max-file": 3}}, (), "cannot unmarshal number"),
        ({"data_root": "/srv"}, (), "match any configuration option: data_root"),
        ({"insecure-registries": "reg:5000"}, (), "cannot unmarshal string"),
        (OURS, ("--live-restore",), "live-restore is set in /etc/docker/daemon.json and as a flag"),
        (OURS, ("--no-such-flag",), "unknown flag: --no-such-flag"),
    ],
)
def test_what_the_engine_refuses_is_told_in_its_words_and_leaves_nothing(
    attempt: Any, settings: dict[str, Any], flags: tuple[str, ...], said: str
) -> None:
    before = listing()
    with pytest.raises(faults.StepFailed) as caught:
        attempt(settings, *flags)
    assert said in str(caught.value)
    assert "/etc/docker/daemon.json" in str(caught.value)
    assert listing() == before


# What each trial costs is little, and all of them together are more than a run of tests has.
@pytest.mark.proof
@pytest.mark.parametrize("settings", [settings for settings, _ in engine_values.REFUSED])
def test_what_a_run_is_refused_the_engine_refuses(attempt: Any, settings: dict[str, Any]) -> None:
    with pytest.raises(faults.StepFailed, match="engine"):
        attempt(settings)


@pytest.mark.proof
@pytest.mark.parametrize(
    "settings", [*engine_values.TAKEN, *(settings for settings, _ in engine_values.LATE)]
)
def test_what_a_run_may_give_the_engine_starts_with(attempt: Any, settings: dict[str, Any]) -> None:
    assert attempt(settings).facts == {}


@pytest.mark.proof
@pytest.mark.parametrize("settings", engine_values.OF_THE_HOST)
def test_what_is_left_to_the_host_is_told_there(attempt: Any, settings: dict[str, Any]) -> None:
    with pytest.raises(faults.StepFailed, match="the engine refuses the settings"):
        attempt(settings)
