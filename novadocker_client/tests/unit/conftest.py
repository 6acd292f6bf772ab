# SPDX-License-Identifier: Apache-2.0
"""A cloud for each test."""

from __future__ import annotations

import pytest

from novadocker_client import runs
from novadocker_client.connection import Cloud
from novadocker_client.tests.fake_cloud import FakeCloud


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeCloud:
    """The services."""
    monkeypatch.setattr(runs, "POLL_S", 0.01)
    return FakeCloud()


@pytest.fixture
def cloud(fake: FakeCloud) -> Cloud:
    """What the client sees of them."""
    return fake.cloud()
