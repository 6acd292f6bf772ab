# SPDX-License-Identifier: Apache-2.0
"""Restart policies: what is asked for, and what the engine takes."""

from __future__ import annotations

import pytest

from novadocker.virt.docker.engine import restarts


@pytest.mark.parametrize(
    ("asked", "name", "most"),
    [
        ("no", "no", 0),
        ("always", "always", 0),
        ("on-failure", "on-failure", 0),
        ("on-failure:1", "on-failure", 1),
        ("on-failure:100", "on-failure", 100),
    ],
)
def test_what_there_is(asked: str, name: str, most: int) -> None:
    assert restarts.policy(asked) == {"Name": name, "MaximumRetryCount": most}


@pytest.mark.parametrize(
    "asked", ["", "yes", "Always", "always:3", "on-failure:0", "on-failure:-1", "on-failure:many"]
)
def test_what_there_is_not(asked: str) -> None:
    with pytest.raises(ValueError, match=repr(asked)):
        restarts.policy(asked)


def test_who_has_none() -> None:
    for had in ({}, {"HostConfig": {}}, {"HostConfig": {"RestartPolicy": {"Name": ""}}}):
        assert restarts.of(had) == restarts.NO
