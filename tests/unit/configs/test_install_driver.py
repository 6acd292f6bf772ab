# SPDX-License-Identifier: Apache-2.0
"""install_driver, with a real pip in a real virtual environment and wheels made for the purpose."""

from __future__ import annotations

import getpass
import pathlib
import re
import subprocess
import sys
import zipfile
from typing import Any

import install_driver
import pytest
from library import faults, instances, outcome, probes, services

from .conftest import Make


def wheel(folder: pathlib.Path, name: str, version: str, *requires: str) -> None:
    """Write a wheel that holds nothing but its metadata and one module."""
    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {item}" for item in requires]
    module = f"{name.replace('-', '_')}_module.py"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as archive:
        archive.writestr(module, "")
        archive.writestr(f"{info}/METADATA", "\n".join(lines) + "\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", f"{module},,\n{info}/METADATA,,\n{info}/WHEEL,,\n")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("wheels")
    wheel(folder, "shared-lib", "1.0")
    wheel(folder, "shared-lib", "2.0")
    wheel(folder, "docker", "7.1.0")
    wheel(folder, "nova-docker", "1.0", "docker>=7", "shared-lib")
    wheel(folder, "nova-docker", "1.1", "docker>=7", "shared-lib>=1")
    # Chosen by its version alone: no upgrade goes to it.
    wheel(folder, "nova-docker", "1.1rc1", "docker>=7", "shared-lib", "extra-lib")
    wheel(folder, "extra-lib", "1.0")
    wheel(folder, "nova-docker-greedy", "1.0", "shared-lib>=2")
    return folder


@pytest.fixture
def environment(tmp_path: pathlib.Path, wheels: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a service in an environment like Nova's, with an older shared-lib in it."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    for name in ("PIP_CONFIG_FILE", "PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL", "PIP_CONSTRAINT"):
        monkeypatch.delenv(name, raising=False)
    place = tmp_path / "nova"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    python = place / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "-q", "install"]
    subprocess.run([*pip, "shared-lib==1.0"], check=True)
    service = services.Service(
        "nova-compute.service",
        True,
        "active/running",
        getpass.getuser(),
        0,
        0,
        False,
        [str(python), str(place / "bin/nova-compute")],
        {},
    )
    monkeypatch.setattr(install_driver, "nova_service", lambda _step: service)
    monkeypatch.setattr(instances, "instance_containers", lambda _step: [])
    monkeypatch.setattr(install_driver, "restart_service", lambda *_args: None)
    return service


@pytest.fixture
def packages(environment: Any, make_step: Make) -> Any:
    def read() -> dict[str, str]:
        step = make_step("look")
        found = services.in_service_python(step, environment, probes.inventory)
        return dict(found["packages"])

    return read


def run(
    make_step: Make,
    mode: str = "apply",
    requirement: Any = "nova-docker==1.0",
    upgrade: Any = False,
    run_id: Any = "one",
) -> Any:
    step = make_step("install_driver", mode, requirement=requirement, upgrade=upgrade)
    step.run_id = run_id
    step.begin()
    outcome.work_of(mode, install_driver.converge, install_driver.undo)(step)
    return step


def test_install_repeat_and_undo(make_step: Make, packages: Any) -> None:
    before = packages()
    assert run(make_step, "check").actions
    assert packages() == before

    step = run(make_step)
    assert step.facts["driver_version"] == "1.0"
    assert packages() == {**before, "docker": "7.1.0", "nova-docker": "1.0"}

    # Satisfied: neither the same requirement nor the bare name does anything.
    assert run(make_step).actions == []
    assert run(make_step, requirement="nova-docker").actions == []

    assert run(make_step, "undo").actions
    assert packages() == before
    assert run(make_step, "undo").actions == []


def test_a_driver_that_needs_another_version_of_a_package_is_refused(
    make_step: Make, packages: Any
) -> None:
    before = packages()
    with pytest.raises(faults.StepFailed, match="held where they are"):
        run(make_step, requirement="nova-docker-greedy")
    assert packages() == before


@pytest.mark.parametrize("version", ["1.7build1", "2.36+ds", "1.0.0-dirty", "0.1~rc1"])
def test_a_version_of_the_distribution_s_own_kind_is_no_hindrance_and_stays(
    make_step: Make, packages: Any, environment: Any, version: str
) -> None:
    site = next(pathlib.Path(environment.python).parents[1].glob("lib/python*/site-packages"))
    info = site / "distro_info-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: distro-info\nVersion: {version}\n"
    )
    before = packages()
    assert before["distro-info"] == version
    assert run(make_step).facts["driver_version"] == "1.0"
    assert packages() == {**before, "docker": "7.1.0", "nova-docker": "1.0"}


def test_only_a_driver_that_nova_compute_may_have_loaded_disturbs(
    make_step: Make, packages: Any
) -> None:
    assert run(make_step, "check").facts["disturbs"] is False
    assert run(make_step).facts["disturbs"] is False
    assert run(make_step).facts["disturbs"] is False
    found = run(make_step, "check", requirement="nova-docker==1.1", run_id="two").facts
    assert found["disturbs"] is True
    assert "nova-compute.service may have the driver loaded" in found["disturbed"][0]


def test_an_unknown_driver_is_refused_with_what_pip_said(make_step: Make, environment: Any) -> None:
    with pytest.raises(faults.StepFailed, match="nova-dokcer"):
        run(make_step, requirement="nova-dokcer")


def test_a_version_that_was_there_before_comes_back(
    make_step: Make, packages: Any, environment: Any, wheels: Any
) -> None:
    pip = [sys.executable, "-m", "pip", "--python", environment.python, "-q", "install"]
    subprocess.run([*pip, "--no-deps", "nova-docker==1.0"], check=True)
    before = packages()
    step = run(make_step, requirement="nova-docker", upgrade=True)
    assert step.facts["driver_version"] == "1.1"
    assert packages() == {**before, "docker": "7.1.0", "nova-docker": "1.1"}
    run(make_step, "undo")
    assert packages() == before


def test_an_upgrade_that_is_rolled_back_brings_the_version_before(
    make_step: Make, packages: Any, environment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    restarts = []
    monkeypatch.setattr(install_driver, "restart_service", lambda *_args: restarts.append(1))
    monkeypatch.setattr(instances, "instance_containers", lambda _step: ["instance"])
    before = packages()
    run(make_step)
    run(make_step, requirement="nova-docker==1.1", run_id="two")
    assert packages()["nova-docker"] == "1.1"
    assert restarts == []

    run(make_step, "roll_back", run_id="two")
    assert packages() == {**before, "docker": "7.1.0", "nova-docker": "1.0"}
    # What runs may have loaded the version that is gone.
    assert restarts == [1]

    monkeypatch.setattr(instances, "instance_containers", lambda _step: [])
    run(make_step, "undo", run_id="three")
    assert packages() == before


def test_an_upgrade_that_brought_a_dependency_is_rolled_back_under_instances(
    make_step: Make, packages: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(make_step)
    before = packages()
    run(make_step, requirement="nova-docker==1.1rc1", run_id="two")
    assert packages() == {**before, "nova-docker": "1.1rc1", "extra-lib": "1.0"}
    monkeypatch.setattr(instances, "instance_containers", lambda _step: ["instance"])

    run(make_step, "roll_back", run_id="two")

    assert packages() == before


@pytest.mark.parametrize("mode", ["undo", "roll_back"])
def test_a_driver_is_not_taken_from_under_its_instances(
    make_step: Make, packages: Any, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    run(make_step)
    monkeypatch.setattr(instances, "instance_containers", lambda _step: ["instance"])
    with pytest.raises(faults.StepFailed, match="stays a Docker hypervisor"):
        run(make_step, mode)
    assert packages()["nova-docker"] == "1.0"


def test_a_changed_package_is_named() -> None:
    with pytest.raises(faults.StepFailed, match=r"oslo.config 9 -> 10"):
        install_driver.refuse_differences({"oslo.config": "9"}, {"oslo.config": "10"}, {"x"})


@pytest.mark.parametrize(
    ("requirement", "good"),
    [
        ("nova-docker", True),
        ("nova-docker>=1.0,<2", True),
        ("nova_docker ~= 1.2", True),
        ("--index-url http://evil", False),
        ("nova-docker @ http://evil/x.whl", False),
        ("a; b", False),
    ],
)
def test_a_requirement_is_a_name_with_versions_and_nothing_else(
    requirement: Any, good: Any
) -> None:
    pattern = install_driver.SETTINGS["properties"]["requirement"]["pattern"]
    assert bool(re.search(pattern, requirement)) is good
