# SPDX-License-Identifier: Apache-2.0
"""Images on their way into a real Docker Engine: none that is hostile leaves anything there."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from novadocker import exceptions
from novadocker.tests import amounts, hostile
from novadocker.tests.archives import Parts
from novadocker.virt.docker.engine import client
from novadocker.virt.docker.images import spool
from novadocker.virt.docker.images.store import Images
from tests.functional.driver import busybox, own_engine

pytestmark = pytest.mark.docker

HOSTILE = {**hostile.ARCHIVES, **amounts.ARCHIVES}


class Store:
    """Images of a Glance that holds one archive."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._place = spool.Spool(str(directory), "host")
        self.spool = Path(self._place.path)
        self.archive = b""
        self.fetched = 0
        self.allow(hostile.LIMIT)
        monkeypatch.setattr("nova.virt.images.fetch", self._fetch)

    def allow(self, max_bytes: int) -> None:
        """Take images up to a size, packed or unpacked."""
        self.images = Images(
            client.Engine(own_engine.given_url()), self._place, None, None, max_bytes
        )

    def _fetch(self, _context: Any, _image: str, path: str, _certificates: Any = None) -> None:
        self.fetched += 1
        Path(path).write_bytes(self.archive)

    def ensure(self, archive: bytes, image_id: str, **meta: Any) -> Any:
        self.archive = archive
        described = {"id": image_id, "container_format": "docker", "disk_format": "raw", **meta}
        return self.images.ensure(None, {"checksum": "f" * 32, "size": len(archive), **described})


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    return Store(tmp_path / "spool", monkeypatch)


def state(engine: docker.DockerClient) -> tuple[set[str], set[str]]:
    """List what of ours there is in the engine: tags, and images without a name."""
    tags = {tag for image in engine.images.list() for tag in image.tags}
    unnamed = {image.id for image in engine.images.list(filters={"dangling": True})}
    return {tag for tag in tags if tag.startswith("nova-glance/")}, unnamed


@pytest.fixture(scope="module")
def refused() -> Iterator[list[str]]:
    """Takes down what was refused, and tells how many when all of them have been there."""
    names: list[str] = []
    yield names
    print(
        f"\nfigures: {len(names)} of {len(HOSTILE)} hostile archives refused, nothing of "
        "them left on the disk or in the engine"
    )


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_a_hostile_image_is_refused_and_leaves_nothing(
    name: str, store: Store, engine: docker.DockerClient, refused: list[str]
) -> None:
    make, fault = HOSTILE[name]
    if name in amounts.ARCHIVES:
        store.allow(amounts.LIMIT)
    before = state(engine)
    image_id = str(uuid.uuid4())
    with pytest.raises(exceptions.ImageRefused) as caught:
        store.ensure(make(), image_id)
    assert fault in str(caught.value)
    assert caught.value.image_id == image_id
    assert state(engine) == before
    assert list(store.spool.iterdir()) == []
    refused.append(name)


def test_what_the_engine_refuses_leaves_nothing(store: Store, engine: docker.DockerClient) -> None:
    before = state(engine)
    # Of no interest to us, and not to the engine's taste.
    parts = Parts(config={"created": "yesterday"})
    with pytest.raises(exceptions.ImageRefused, match="engine refuses"):
        store.ensure(parts.docker(), str(uuid.uuid4()))
    assert state(engine) == before
    assert list(store.spool.iterdir()) == []


def test_a_tag_of_the_hosts_cannot_be_taken(store: Store, engine: docker.DockerClient) -> None:
    image_id = str(uuid.uuid4())
    hijack = Parts(
        manifest={"RepoTags": ["novadocker-test-victim:latest"]},
        extra=[("repositories", b'{"novadocker-test-victim": {"latest": "0"}}')],
    )
    image = store.ensure(hijack.docker(), image_id)
    try:
        assert image.fetched
        assert engine.images.list("novadocker-test-victim") == []
        assert engine.images.get(image.id).tags == [f"nova-glance/{image_id}:{'f' * 16}"]
    finally:
        engine.images.remove(image.id, force=True)


def test_an_image_is_fetched_once(store: Store, engine: docker.DockerClient) -> None:
    image_id = str(uuid.uuid4())
    archive = Parts().docker()
    first = store.ensure(archive, image_id)
    try:
        again = store.ensure(archive, image_id)
        assert (first.fetched, again.fetched, again) == (True, False, first)
        assert store.fetched == 1
        assert list(store.spool.iterdir()) == []
    finally:
        engine.images.remove(first.id, force=True)


@pytest.mark.parametrize("layout", ["docker", "oci"])
def test_an_image_of_either_layout_can_be_started(
    layout: str, store: Store, engine: docker.DockerClient
) -> None:
    parts = Parts(
        layers=[busybox.root_layer()],
        config={"config": {"Cmd": ["echo", "hello"], "Env": ["PATH=/bin"]}},
    )
    image = store.ensure(getattr(parts, layout)(), str(uuid.uuid4()))
    try:
        assert engine.containers.run(image.id, network_mode="none", remove=True) == b"hello\n"
    finally:
        engine.images.remove(image.id, force=True)


def test_volumes_of_an_image_are_part_of_its_files(
    store: Store, engine: docker.DockerClient
) -> None:
    parts = Parts(
        layers=[busybox.root_layer()],
        config={"config": {"Cmd": ["touch", "/data"], "Volumes": {"/data": {}}}},
    )
    image = store.ensure(parts.docker(), str(uuid.uuid4()))
    box = engine.containers.create(image.id, network_mode="none")
    try:
        assert box.attrs["Mounts"] == []
    finally:
        box.remove()
        engine.images.remove(image.id, force=True)


@pytest.mark.parametrize(
    ("meta", "fault"),
    [
        ({"container_format": "bare"}, "container_format"),
        ({"container_format": "compressed"}, "container_format"),
        ({"disk_format": "qcow2"}, "disk_format"),
        ({"size": hostile.LIMIT + 1}, "max_image_size_gb"),
    ],
)
def test_what_glance_says_is_enough_to_refuse(
    meta: dict[str, Any], fault: str, store: Store
) -> None:
    with pytest.raises(exceptions.ImageRefused, match=fault):
        store.ensure(Parts().docker(), str(uuid.uuid4()), **meta)
    assert store.fetched == 0
