# SPDX-License-Identifier: Apache-2.0
"""An engine without images, and a Glance that has one."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from novadocker.tests.archives import Parts
from novadocker.tests.fake_engine import FakeEngine
from novadocker.tests.make import HOST
from novadocker.virt.docker.images import spool
from novadocker.virt.docker.images.store import Images


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def fetch(monkeypatch: pytest.MonkeyPatch) -> mock.MagicMock:
    def copy(_context: Any, _image: str, path: str, _certificates: Any = None) -> None:
        Path(path).write_bytes(fake.archive)

    fake = mock.MagicMock(side_effect=copy)
    fake.archive = Parts().docker()
    monkeypatch.setattr("nova.virt.images.fetch", fake)
    return fake


@pytest.fixture
def store(engine: FakeEngine, glance: Any, tmp_path: Path) -> Images:
    return Images(engine, spool.Spool(str(tmp_path / "spool"), HOST), glance, None, 1 << 20)
