# SPDX-License-Identifier: Apache-2.0
"""Instances of as many layers as a real Docker Engine takes."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import docker
import pytest

from novadocker.tests.archives import Parts, tar
from novadocker.virt.docker.engine import client, containers, isolation, kept, names
from novadocker.virt.docker.host.facts import HostFacts
from tests.functional.driver import busybox, own_engine

pytestmark = pytest.mark.docker

MOST_LAYERS = 125
CONFIG = {
    "Cmd": ["600"],
    "Entrypoint": ["/bin/sleep"],
    "Env": ["PATH=/bin", "QUOTED=a 'b' \"c\" $d \\ e"],
    "User": "7:7",
    "WorkingDir": "/tmp",
    "StopSignal": "SIGKILL",
}


@pytest.fixture
def engine() -> Iterator[docker.DockerClient]:
    engine = own_engine.given(timeout_s=600)
    yield engine
    engine.close()


@pytest.fixture
def box(engine: docker.DockerClient) -> Iterator[tuple[str, Any]]:
    """A running container of an image that takes no further layer."""
    uuid_ = str(uuid.uuid4())
    layers = [busybox.root_layer()]
    layers += [tar((f"of/{number}", b"x")) for number in range(MOST_LAYERS - 1)]
    inner = {**CONFIG, "Env": [*CONFIG["Env"], f"TEST={uuid_}"]}
    (image,) = engine.images.load(Parts(layers=layers, config={"config": inner}).docker())
    container = engine.containers.run(
        image.id,
        name=names.workload_name(uuid_),
        detach=True,
        network_mode="none",
        labels={f"{names.LABEL}uuid": uuid_},
    )
    yield uuid_, container
    container.remove(force=True)
    engine.images.remove(image.id, force=True)


def test_many_layers_become_one_with_all_files_and_the_same_command(
    engine: docker.DockerClient, box: tuple[str, Any]
) -> None:
    uuid_, old = box
    assert old.exec_run(["sh", "-c", "echo own >/tmp/own"], user="0").exit_code == 0
    low = client.Engine(own_engine.given_url())
    workloads = containers.Containers(low, HostFacts("host"), isolation.Isolation(()))
    keeping = kept.Kept(low, workloads, flatten_layers=64)
    with pytest.raises(docker.errors.APIError, match="max depth exceeded"):
        old.commit("nova-docker/instance", uuid_)
    image = engine.images.get(keeping.keep(names.workload_name(uuid_), uuid_))
    try:
        assert len(image.attrs["RootFS"]["Layers"]) <= 2
        config, wanted = image.attrs["Config"], old.image.attrs["Config"]
        for key in CONFIG:
            assert config[key] == wanted[key], key
        again = engine.containers.create(image.id, network_mode="none")
        try:
            again.start()
            told = again.exec_run(["sh", "-c", 'cat own /of/0 /of/123; echo "$QUOTED"; id -u'])
            assert told.output.decode() == "own\nxxa 'b' \"c\" $d \\ e\n7\n"
        finally:
            again.remove(force=True)
        old.reload()
        assert old.status == "running"
    finally:
        keeping.forget(uuid_)
    assert not engine.images.list(all=True, filters={"label": f"{names.LABEL}uuid={uuid_}"})
    assert [
        container.name for container in engine.containers.list(all=True) if uuid_ in container.name
    ] == [old.name]
