# SPDX-License-Identifier: Apache-2.0
"""The package of host steps: whole, the same to the byte, and a program."""

from __future__ import annotations

import base64
import hashlib
import json
import lzma
import os
import pathlib
import subprocess
import sys
import zipfile

import pytest

from novadocker_actions import host_package, resources
from novadocker_actions.errors import MissingFile

TEMPLATES = pathlib.Path(__file__).parents[3] / "heat_templates"


@pytest.fixture
def package(tmp_path: pathlib.Path) -> pathlib.Path:
    """Return a place where the package is."""
    path = tmp_path / "novadocker-host.pyz"
    path.write_bytes(host_package.build())
    return path


def test_each_step_and_module_is_in_it_to_the_letter(package: pathlib.Path) -> None:
    names = [
        path.relative_to(TEMPLATES).as_posix()
        for folder in host_package.FOLDERS
        for path in (TEMPLATES / folder).glob("*.py")
    ]
    with zipfile.ZipFile(package) as archive:
        assert archive.testzip() is None
        for name in names:
            assert archive.read(name) == (TEMPLATES / name).read_bytes(), name
        assert {"configs/install_docker.py", "library/step.py", "__main__.py"} <= {
            *archive.namelist()
        }


def test_it_is_the_same_to_the_byte_whenever_it_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    first = host_package.build()
    host_package.build.cache_clear()
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setattr(os, "umask", lambda mask: 0)
    assert host_package.build() == first
    assert host_package.digest() == hashlib.sha256(first).hexdigest()


def test_one_changed_character_of_a_source_is_another_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, real = host_package.build(), resources.text

    def changed(name: str) -> str:
        return real(name) + (" " if name == "heat_templates/library/step.py" else "")

    monkeypatch.setattr(resources, "text", changed)
    assert host_package.build.__wrapped__() != first


def test_it_runs_a_step_and_each_probe_finds_its_own_text(
    package: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    # The step sends functions to the Python of a service, as text that it reads from the package.
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text("ID=debian\n")
    given = {"mode": "check", "NOVADOCKER_ROOT": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-I", package, "describe_host"],
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert json.loads(done.stdout.splitlines()[-1])["deploy_result"] == "ok", done.stderr
    code = "from library import probes; print(probes.program_text(probes.inventory))"
    shown = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "def inventory(" in shown.stdout


def test_what_a_message_carries_of_it_is_the_whole(package: pathlib.Path) -> None:
    assert lzma.decompress(base64.b85decode(host_package.compressed())) == package.read_bytes()
    # Heat's limit is 1 MiB, and each agent asks for it again until its step is done.
    assert len(host_package.compressed()) < 128 * 1024


def test_a_bundle_without_its_scripts_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "_roots", lambda: iter([pathlib.Path("/nowhere")]))
    with pytest.raises(MissingFile, match="is in none of /nowhere"):
        host_package.contents()
