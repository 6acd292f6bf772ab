# SPDX-License-Identifier: Apache-2.0
"""Reading the operator's credentials."""

from __future__ import annotations

from lab.client.connection import parse_openrc


def test_openrc_is_read_as_a_shell_would() -> None:
    text = "# comment\nexport OS_USERNAME=admin\nexport OS_PASSWORD='a b=c'\nOS_REGION_NAME=R\n\n"
    assert parse_openrc(text) == {
        "OS_USERNAME": "admin",
        "OS_PASSWORD": "a b=c",
        "OS_REGION_NAME": "R",
    }
