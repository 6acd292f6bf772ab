# SPDX-License-Identifier: Apache-2.0
"""A container's configuration is laid out at each start, and taken back at the next."""

from __future__ import annotations

import getpass
import grp
import json
import os
from pathlib import Path
from typing import Any

import pytest

from lab.stage.kolla.onhost import set_configs

OWNER = f"{getpass.getuser()}:{grp.getgrgid(os.getgid()).gr_name}"


@pytest.fixture
def container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for a container's root, with a file of the image's."""
    for name in ("files", "etc"):
        (tmp_path / name).mkdir()
    (tmp_path / "etc/own.conf").write_text("the image's")
    monkeypatch.setattr(set_configs, "CONFIG", tmp_path / "files/config.json")
    monkeypatch.setattr(set_configs, "RUN_COMMAND", tmp_path / "run_command")
    monkeypatch.setattr(set_configs, "DEFAULTS", tmp_path / "defaults")
    monkeypatch.setenv("KOLLA_CONFIG_STRATEGY", "COPY_ALWAYS")
    return tmp_path


def write(container: Path, *names: str, **more: Any) -> None:
    """Write config.json with an entry for each name: the same below files/ and below etc/."""
    entries = [
        {
            "source": f"{container}/files/{name}",
            "dest": f"{container}/etc/{name}",
            "owner": OWNER,
            "perm": "0640",
            **more.get("entry", {}),
        }
        for name in names
    ]
    config = {"command": "serve --now", "config_files": entries, **more.get("config", {})}
    (container / "files/config.json").write_text(json.dumps(config))


def test_files_are_copied_with_their_modes_and_the_command_is_told(container: Path) -> None:
    (container / "files/new.conf").write_text("x")
    write(container, "new.conf")
    assert set_configs.main([]) == 0
    assert (container / "etc/new.conf").read_text() == "x"
    assert (container / "etc/new.conf").stat().st_mode & 0o777 == 0o640
    assert (container / "run_command").read_text() == "serve --now"


def test_a_directory_is_copied_with_all_below_it_and_can_be_searched(container: Path) -> None:
    (container / "files/site/deep").mkdir(parents=True)
    (container / "files/site/deep/one.py").write_text("1")
    (container / "etc/site").mkdir()
    (container / "etc/site/stale.py").write_text("")
    write(container, "site")
    assert set_configs.main([]) == 0
    assert not (container / "etc/site/stale.py").exists()
    assert (container / "etc/site/deep/one.py").read_text() == "1"
    assert (container / "etc/site/deep").stat().st_mode & 0o777 == 0o750


def test_what_is_no_longer_named_is_gone_or_the_images_own_again(container: Path) -> None:
    for name in ("own.conf", "new.conf"):
        (container / "files" / name).write_text("laid over")
    write(container, "own.conf", "new.conf")
    for _ in range(2):
        assert set_configs.main([]) == 0
    assert (container / "etc/own.conf").read_text() == "laid over"

    write(container)
    assert set_configs.main([]) == 0

    assert (container / "etc/own.conf").read_text() == "the image's"
    assert not (container / "etc/new.conf").exists()


def test_a_source_that_is_not_there_is_refused_unless_it_is_optional(container: Path) -> None:
    write(container, "absent.conf")
    with pytest.raises(set_configs.ConfigError, match="there is no .*absent.conf"):
        set_configs.main([])
    write(container, "absent.conf", entry={"optional": True})
    assert set_configs.main([]) == 0


def test_directories_are_made_and_permissions_set(container: Path) -> None:
    (container / "state/sub").mkdir(parents=True)
    (container / "state/sub/file").write_text("")
    config = {
        "directories": [{"path": f"{container}/logs", "owner": OWNER, "perm": "2775"}],
        "permissions": [
            {"path": f"{container}/sta*", "owner": OWNER, "perm": "0600", "recurse": True}
        ],
    }
    write(container, config=config)
    assert set_configs.main([]) == 0
    assert (container / "logs").stat().st_mode & 0o7777 == 0o2775
    assert (container / "state/sub").stat().st_mode & 0o777 == 0o700
    assert (container / "state/sub/file").stat().st_mode & 0o777 == 0o600


def test_check_says_whether_a_restart_would_change_anything(container: Path) -> None:
    source = container / "files/new.conf"
    source.write_text("old")
    write(container, "new.conf")
    set_configs.main([])
    assert set_configs.main(["--check"]) == 0
    source.write_text("new")
    assert set_configs.main(["--check"]) == 1


def test_another_strategy_is_refused(container: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(container)
    monkeypatch.setenv("KOLLA_CONFIG_STRATEGY", "COPY_ONCE")
    with pytest.raises(set_configs.ConfigError, match="COPY_ONCE"):
        set_configs.main([])
