# SPDX-License-Identifier: Apache-2.0
"""What goes into the checkout's wheels, and when they are built again."""

from __future__ import annotations

import pathlib
import subprocess
from typing import Any

import pytest

from lab.images import wheelhouse
from lab.images.wheelhouse import Project
from lab.settings import LabSettings


@pytest.fixture
def checkout(tmp_path: pathlib.Path) -> pathlib.Path:
    folder = tmp_path / "checkout"
    (folder / "package" / "__pycache__").mkdir(parents=True)
    (folder / "build").mkdir()
    for name in ("setup.cfg", "package/a.py", "package/__pycache__/a.pyc", "build/b", "other"):
        (folder / name).write_text(name)
    return folder


def test_sources_are_the_named_paths_without_results(checkout: pathlib.Path) -> None:
    assert wheelhouse.source_files(checkout, ("setup.cfg", "package")) == [
        "package/a.py",
        "setup.cfg",
    ]
    assert wheelhouse.source_files(checkout, (".",)) == ["other", "package/a.py", "setup.cfg"]


def test_git_tells_what_is_ignored_and_what_is_new(checkout: pathlib.Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(checkout)], check=True)
    (checkout / ".gitignore").write_text("other\n")
    assert wheelhouse.source_files(checkout, (".",)) == [".gitignore", "package/a.py", "setup.cfg"]


def test_content_name_and_mode_change_the_digest(checkout: pathlib.Path) -> None:
    def digest() -> str:
        return wheelhouse.sources_digest(checkout, wheelhouse.source_files(checkout, (".",)))

    seen = [digest()]
    (checkout / "other").write_text("changed")
    seen.append(digest())
    (checkout / "other").chmod(0o755)
    seen.append(digest())
    (checkout / "other").rename(checkout / "another")
    seen.append(digest())
    assert len(set(seen)) == 4


def test_a_wheel_is_built_again_only_when_its_sources_changed(
    checkout: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []

    def build_copy(copy: pathlib.Path, out: pathlib.Path, project: Project, _log: Any) -> None:
        assert (copy / "package" / "a.py").is_file()
        built.append(project.name)
        out.mkdir()
        (out / f"a_project-{len(built)}-py3-none-any.whl").write_text("wheel")

    monkeypatch.setattr(wheelhouse, "_build_copy", build_copy)
    settings = LabSettings(cache_dir=tmp_path / "cache", checkout=checkout)
    project = Project("a-project", ".", ("setup.cfg", "package"))
    first = wheelhouse._build(settings, project)
    assert wheelhouse._build(settings, project) == first
    (checkout / "package" / "a.py").write_text("changed")
    second = wheelhouse._build(settings, project)
    assert len(built) == 2
    assert second.digest != first.digest
    assert [x.name for x in settings.wheelhouse.glob("*.whl")] == [second.path.name]
