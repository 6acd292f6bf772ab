# SPDX-License-Identifier: Apache-2.0
"""Images that instances are made anew from."""

from __future__ import annotations

from typing import Any

import pytest

from novadocker import exceptions
from novadocker.tests import make
from novadocker.tests.fake_engine import MOST_LAYERS
from novadocker.virt.docker.engine import kept, names

CONFIG = {
    "Cmd": ["serve"],
    "Entrypoint": ["/entry"],
    "Env": ["PATH=/bin", "QUOTED=a 'b' \"c\" $d"],
    "User": "7",
    "WorkingDir": "/srv",
    "StopSignal": "SIGINT",
    "Volumes": {"/data": {}},
}


@pytest.fixture
def deep(spawn: Any, engine: Any) -> Any:
    """An instance of an image with as many layers as the engine takes."""
    engine.add_image(f"nova-glance/{make.IMAGE_ID}:{'a' * 16}", CONFIG, MOST_LAYERS)
    return spawn(make.instance())


def layers(engine: Any, image: str) -> int:
    return len(engine.images[image]["RootFS"]["Layers"])


def test_many_layers_become_one(docker_driver: Any, engine: Any, deep: Any) -> None:
    name = names.workload_name(deep.uuid)
    image = docker_driver.parts.kept.keep(name, deep.uuid)
    # One for all files, one for what runs.
    assert layers(engine, image) == 2
    assert docker_driver.parts.kept.find(deep.uuid) == image
    assert engine.images[image]["RepoTags"] == [f"{kept.REPOSITORY}:{deep.uuid}"]
    helper = {"command", "entrypoint", "environment", "user", "working_dir", "stop_signal"}
    assert helper <= engine.helpers[-1].keys()
    assert engine.helpers[-1]["environment"] == CONFIG["Env"]
    assert engine.helpers[-1]["volumes"] == ["/data"]
    assert engine.names() == {name, names.sandbox_name(deep.uuid)}


def test_few_layers_stay(docker_driver: Any, engine: Any, spawn: Any) -> None:
    instance = spawn(make.instance())
    image = docker_driver.parts.kept.keep(names.workload_name(instance.uuid), instance.uuid)
    assert layers(engine, image) == 2
    assert "export" not in engine.calls


def test_one_of_many_layers_lives_on(docker_driver: Any, engine: Any, deep: Any) -> None:
    before = set(engine.images)
    for _ in range(3):
        engine._remove_container(names.sandbox_name(deep.uuid), force=True)
        docker_driver.power_on(None, deep, [])
    assert engine._find(names.workload_name(deep.uuid))["State"]["Running"]
    docker_driver.destroy(None, deep, [])
    assert set(engine.images) == before


def test_one_that_is_made_anew_for_ever_has_few_layers(
    docker_driver: Any, engine: Any, spawn: Any
) -> None:
    instance = spawn(make.instance())
    for _ in range(2 * MOST_LAYERS):
        docker_driver.parts.instances.recreate(instance)
        assert layers(engine, engine._find(names.workload_name(instance.uuid))["Image"]) <= 64


@pytest.mark.parametrize("verb", ["import_image_from_data", "commit", "remove_image"])
def test_a_fault_leaves_the_instance_and_goes_with_it(
    verb: str, docker_driver: Any, engine: Any, deep: Any
) -> None:
    before = set(engine.images)
    name = names.workload_name(deep.uuid)
    engine._pause(name)
    engine.failing[verb] = exceptions.EngineError("no space left on device", 500)
    with pytest.raises(exceptions.EngineError, match="no space"):
        docker_driver.parts.kept.keep(name, deep.uuid)
    engine.failing.clear()
    assert engine._find(name)
    docker_driver.destroy(None, deep, [])
    assert engine.names() == set()
    assert set(engine.images) == before


@pytest.mark.parametrize("frozen", [True, False])
def test_it_is_frozen_where_the_option_says_so(
    frozen: bool, new_driver: Any, option: Any, engine: Any, spawn: Any, deep: Any
) -> None:
    option("snapshot_freeze", frozen)
    docker_driver = new_driver()
    name = names.workload_name(deep.uuid)
    export, seen = engine._export, []
    engine._export = lambda name: [
        seen.append(engine._find(name)["State"]["Status"]),
        export(name),
    ][1]
    engine.calls.clear()
    docker_driver.parts.kept.keep(name, deep.uuid)
    engine.add_image(f"nova-glance/{make.IMAGE_ID}:{'a' * 16}", CONFIG)
    other = names.workload_name(spawn(make.instance()).uuid)
    docker_driver.parts.workloads.commit(other, "x", "y")
    assert seen == ["paused" if frozen else "running"]
    assert engine.calls.count("pause") == engine.calls.count("unpause") == 2 * frozen
    assert engine._find(name)["State"]["Status"] == "running"


def test_images_of_others_stay(docker_driver: Any, engine: Any, spawn: Any) -> None:
    instance = spawn(make.instance())
    label = {"Labels": {f"{names.LABEL}uuid": instance.uuid}}
    others = {
        engine.add_image("nova-glance/evil:x", label),
        engine.add_image(f"nova-docker/snapshot:{instance.uuid}", label),
    }
    engine.add_image(f"{kept.REPOSITORY}:{instance.uuid}")
    docker_driver.destroy(None, instance, [])
    assert others <= set(engine.images)
    assert f"{kept.REPOSITORY}:{instance.uuid}" not in str(engine.images)
