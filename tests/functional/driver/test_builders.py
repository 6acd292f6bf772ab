# SPDX-License-Identifier: Apache-2.0
"""Archives that real builders wrote: what the engine loads boots here, too, and is the same."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import docker
import pytest

from novadocker.virt.docker.engine import client
from novadocker.virt.docker.images import spool
from novadocker.virt.docker.images.store import Images
from tests.functional.driver import own_engine
from tests.functional.driver.builders import Builders

pytestmark = pytest.mark.docker

LIMIT = 64 << 20


@pytest.fixture
def builders(tmp_path: Path) -> Builders:
    return Builders(tmp_path)


@pytest.mark.field_case("K8.1")
@pytest.mark.parametrize("name", sorted(name for name in vars(Builders) if "_" in name.strip("_")))
def test_what_a_builder_wrote_is_the_image_that_the_engine_loads(
    name: str, builders: Builders, engine: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: Path = getattr(builders, name)()
    monkeypatch.setattr(
        "nova.virt.images.fetch",
        lambda _context, _image, path, _certs=None: Path(path).write_bytes(made.read_bytes()),
    )
    place = spool.Spool(str(builders.directory / "spool"), "host")
    images = Images(client.Engine(own_engine.given_url()), place, None, None, LIMIT)
    meta = {"id": str(uuid.uuid4()), "container_format": "docker", "size": made.stat().st_size}
    ours = engine.images.get(images.ensure(None, meta).id)
    theirs: Any = None
    try:
        assert engine.containers.run(ours.id, network_mode="none", remove=True) == b"hello\n"
        try:
            (theirs,) = engine.images.load(made.read_bytes())
        except docker.errors.DockerException as err:
            # Engines before 25 load no OCI layouts; the driver writes all as they take it.
            print(f"figures: the engine does not load {name}, the driver does: {err}")
            return
        assert theirs.attrs["RootFS"] == ours.attrs["RootFS"]
        assert theirs.attrs["Config"]["Cmd"] == ours.attrs["Config"]["Cmd"]
    finally:
        for identity in {image.id for image in (theirs, ours) if image is not None}:
            engine.images.remove(identity, force=True)
