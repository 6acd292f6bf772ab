# SPDX-License-Identifier: Apache-2.0
"""What an executor remembers of mailboxes."""

from __future__ import annotations

import pytest

from novadocker_actions.cloud import configs


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> configs.KnownConfigs:
    monkeypatch.setattr(configs, "KNOWN_CONFIGS", 2)
    return configs.KnownConfigs()


def config(name: str, chars: int = 10) -> dict[str, str]:
    return {"id": name, "config": "x" * chars}


def test_the_last_few_are_known(known: configs.KnownConfigs) -> None:
    for name in ("one", "two", "three"):
        assert known.put(config(name)) == config(name)
    assert known.get("one") is None
    assert known.get("three") == config("three")


def test_a_large_one_is_not_kept(known: configs.KnownConfigs) -> None:
    assert known.put(config("package", configs.KNOWN_CHARS + 1))["id"] == "package"
    assert known.get("package") is None


def test_one_that_is_deleted_is_forgotten(known: configs.KnownConfigs) -> None:
    known.put(config("one"))
    known.put(config("two"))
    known.forget("one")
    known.forget("never known")
    assert (known.get("one"), known.get("two")) == (None, config("two"))
    known.forget()
    assert known.get("two") is None
