# SPDX-License-Identifier: Apache-2.0
import json
from typing import Any

import pytest

from novadocker import exceptions
from novadocker.virt.docker import image_config

DIGEST = f"sha256:{'a' * 64}"


def config(**fields: Any) -> dict[str, Any]:
    return {"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": [DIGEST]}, **fields}


@pytest.mark.parametrize(
    ("machine", "architecture"),
    [("x86_64", "amd64"), ("aarch64", "arm64"), ("loongarch64", "loongarch64")],
)
def test_an_image_is_for_this_machine(machine: str, architecture: str) -> None:
    assert image_config.check(config(architecture=architecture), machine) == [DIGEST]
    with pytest.raises(exceptions.ImageRefused, match=f"this host is linux/{architecture}"):
        image_config.check(config(architecture="mips"), machine)


def test_an_image_without_an_operating_system_is_for_linux() -> None:
    described = config()
    del described["os"]
    assert image_config.check(described, "x86_64") == [DIGEST]


@pytest.mark.parametrize(
    "rootfs", [None, [], {}, {"diff_ids": {}}, {"diff_ids": [DIGEST, 1]}, {"diff_ids": ["sha256:"]}]
)
def test_digests_of_layers_have_to_be_some(rootfs: Any) -> None:
    with pytest.raises(exceptions.ImageRefused, match="no valid digests"):
        image_config.check(config(rootfs=rootfs), "x86_64")


def test_names_of_layers_may_not_be_there_twice() -> None:
    rootfs = {"diff_ids": [DIGEST], "DIFF_IDS": []}
    with pytest.raises(exceptions.ImageRefused, match="different cases"):
        image_config.check(config(rootfs=rootfs), "x86_64")
    with pytest.raises(exceptions.ImageRefused, match="different cases"):
        image_config.check(config(config={"Cmd": [], "cmd": []}), "x86_64")


def test_what_has_no_volumes_stays_as_it_is() -> None:
    written = b'{ "config": {"Cmd": ["sh"]}, "Volumes": {} }'
    assert image_config.without_volumes(written) is written
    assert image_config.without_volumes(b'{"config": null}') == b'{"config": null}'


@pytest.mark.parametrize(("key", "name"), [("config", "Volumes"), ("Config", "VOLUMES")])
def test_volumes_are_taken_out_however_they_are_written(key: str, name: str) -> None:
    written = json.dumps({key: {name: {"/data": {}}, "Cmd": ["sh"]}, "os": "linux"}).encode()
    found = json.loads(image_config.without_volumes(written))
    assert found == {key: {"Cmd": ["sh"]}, "os": "linux"}
