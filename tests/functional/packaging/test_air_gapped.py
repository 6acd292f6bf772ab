# SPDX-License-Identifier: Apache-2.0
"""A host without any network gets the driver from the archive, and from nothing else.

The programs of host and enrolment are the real ones, run where there is no network but the
loopback; the host is a root directory, and Nova's environment one that lacks what Nova's lacks.
"""

from __future__ import annotations

import getpass
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from novadocker_actions import driver_wheel, host_package, resources
from novadocker_actions.cmd import bundle
from novadocker_actions.enrolment import agent

LOCK = resources.path("heat_templates/library/driver.lock")
# What of the tests' own environment Nova's is without.
LACKING = ("docker", "nova_docker", "novadocker", "__editable__")
UNIT = """\
LoadState=loaded
ActiveState=inactive
User={user}
MainPID=0
ExecStart={{ path={program} ; argv[]={program} ; ignore_errors=no }}
"""


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive, made where there is an index, as it is unpacked where there is none."""
    place = tmp_path_factory.mktemp("site")
    wheels = place / "wheels"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "-q"]
    subprocess.run(
        [*pip, "--require-hashes", "--no-deps", "--dest", str(wheels), "-r", str(LOCK)], check=True
    )
    archive = place / "novadocker.tar"
    assert bundle.main(["make", "--wheels", str(wheels), str(archive)]) == 0
    assert bundle.main(["unpack", str(archive), str(place / "unpacked")]) == 0
    return place / "unpacked"


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """The program nova-compute in an environment that lacks the Docker SDK and the driver."""
    place = tmp_path / "nova"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    (packages,) = place.glob("lib/python*/site-packages")
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not path.name.startswith(LACKING) and path.suffix != ".pth":
            (packages / path.name).symlink_to(path)
    program = place / "bin/nova-compute"
    program.write_text(f"#!{place}/bin/python\n")
    return program


class Host:
    """A host below a directory."""

    def __init__(self, place: Path, program: Path) -> None:
        self.root, self.program = place / "root", program
        for name in ("etc", "var/lib", "var/log"):
            (self.root / name).mkdir(parents=True)
        unit = UNIT.format(user=getpass.getuser(), program=program)
        systemctl = place / "bin/systemctl"
        systemctl.parent.mkdir()
        systemctl.write_text(
            f'#!/bin/sh\ncase "$*" in *" nova-compute.service") cat <<E\n{unit}E\n'
            ";; *) echo LoadState=not-found;; esac\n"
        )
        systemctl.chmod(0o755)

    def run(self, step: str, mode: str, settings: dict[str, Any], *wheels: Path) -> dict[str, Any]:
        """Run a step as enrolment does, with no network; return its outcome."""
        done = subprocess.run(
            ["unshare", "--net", *([] if os.geteuid() == 0 else ["-r"]), "python3", "-"],
            input=agent.step_script(step, mode, settings, 300, wheels),
            env={**os.environ, "NOVADOCKER_ROOT": str(self.root)},
            capture_output=True,
            text=True,
            check=False,
        )
        outcome: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        outcome["reason"] = json.loads(outcome["report"])["reason"]
        return outcome

    def bring(self, folder: Path) -> None:
        """Bring the wheels of a folder as `novadocker-enroll update --wheels` does."""
        wheels = driver_wheel.for_hosts(folder)
        named = {wheel.path.name: wheel.sha256 for wheel in wheels}
        settings = {"wheels": named, "driver": wheels[0].sha256}
        done = self.run("bring_wheels", "apply", settings, *(wheel.path for wheel in wheels))
        assert done["deploy_result"] == "ok", done["reason"]

    def install(self, mode: str) -> dict[str, Any]:
        """Run install_driver as a workflow has it run."""
        return self.run("install_driver", mode, {**driver_wheel.settings(), "url": "", "index": ""})

    def listing(self) -> list[str]:
        """Return all files of Nova's environment."""
        top = self.program.parents[1]
        return sorted(str(path) for path in top.rglob("*") if "__pycache__" not in path.parts)


@pytest.fixture
def host(tmp_path: Path, environment: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host whose systemctl knows nova-compute."""
    real = resources.text

    def text(name: str) -> str:
        said = real(name)
        if name == "heat_templates/library/step.py":
            return said.replace("/usr/local/sbin:", f"{tmp_path}/bin:/usr/local/sbin:")
        # The containers of this machine's engine are not this host's.
        return said.replace("/run/docker.sock", f"{tmp_path}/no-engine")

    monkeypatch.setattr(resources, "text", text)
    for cached in (host_package.build, host_package.compressed):
        monkeypatch.setattr(host_package, cached.__name__, cached.__wrapped__)
    return Host(tmp_path, environment)


def test_the_driver_is_installed_and_taken_out_from_the_archive_alone(
    host: Host, unpacked: Path
) -> None:
    before = host.listing()
    host.bring(unpacked / "wheels")
    for mode, changed in (("check", "true"), ("apply", "true"), ("apply", "false")):
        done = host.install(mode)
        assert (done["deploy_result"], done["changed"]) == ("ok", changed), done["reason"]
    python = host.program.with_name("python")
    told = "import docker, importlib.metadata as m; print(m.version('nova-docker'))"
    assert subprocess.run([python, "-c", told], check=False).returncode == 0
    done = host.install("undo")
    assert done["deploy_result"] == "ok", done["reason"]
    assert host.listing() == before


@pytest.mark.parametrize("pattern", ["docker-*.whl", "nova_docker-*.whl"])
def test_a_wheel_with_one_byte_changed_is_refused_by_its_name(
    host: Host, unpacked: Path, pattern: str
) -> None:
    before = host.listing()
    host.bring(unpacked / "wheels")
    wheels = (host.root / "usr/local/lib/novadocker/wheels").glob(f"*/{pattern}")
    (wheel,) = {path.resolve() for path in wheels}
    data = bytearray(wheel.read_bytes())
    data[len(data) // 2] ^= 1
    wheel.write_bytes(data)
    done = host.install("check")
    assert done["deploy_result"] == "failed"
    assert f"{wheel.name} is not the wheel that is meant, or was altered" in done["reason"]
    assert "take it away, then run `novadocker-enroll update`" in done["reason"]
    assert host.listing() == before


def test_what_the_archive_lacks_is_named_with_what_can_be_done(
    host: Host, unpacked: Path, tmp_path: Path
) -> None:
    few = tmp_path / "few"
    few.mkdir()
    (requests,) = (unpacked / "wheels").glob("requests-*.whl")
    (few / requests.name).write_bytes(requests.read_bytes())
    host.bring(few)
    done = host.install("check")
    assert done["deploy_result"] == "failed"
    assert "docker" in done["reason"]
    assert "`novadocker-enroll update --wheels DIRECTORY`" in done["reason"]
