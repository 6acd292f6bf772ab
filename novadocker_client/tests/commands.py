# SPDX-License-Identifier: Apache-2.0
"""Commands as OpenStackClient runs them, in the process of a test."""

from __future__ import annotations

import io
import types
from typing import Any, NamedTuple

import pytest


class Ended(NamedTuple):
    """What a command gave."""

    code: int
    out: str
    told: str


def ended(
    command: type[Any], argv: tuple[str, ...], manager: Any, capsys: pytest.CaptureFixture[str]
) -> Ended:
    """Run a command and return what it gave.

    :param manager: OpenStackClient's client manager, as far as the command asks it
    """
    app = types.SimpleNamespace(client_manager=manager, stdout=io.StringIO())
    known = command(app, None)
    code = known.run(known.get_parser("openstack docker").parse_args(argv))
    return Ended(code, app.stdout.getvalue(), capsys.readouterr().err)
