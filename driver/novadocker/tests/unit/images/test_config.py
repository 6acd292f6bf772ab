# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from typing import Any

import pytest

from novadocker import exceptions
from novadocker.virt.docker.images import config as image_config

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


def test_what_has_nothing_to_take_out_stays_as_it_is() -> None:
    written = b'{ "config": {"Cmd": ["sh"]}, "Volumes": {} }'
    assert image_config.cleaned(written) is written
    assert image_config.cleaned(b'{"config": null}') == b'{"config": null}'


@pytest.mark.parametrize(
    "name",
    ["Volumes", "VOLUMES", "Labels", "labels", "Healthcheck", "OnBuild", "ExposedPorts"],
)
@pytest.mark.parametrize("key", ["config", "Config"])
def test_what_has_no_meaning_is_taken_out_however_it_is_written(key: str, name: str) -> None:
    written = json.dumps({key: {name: {"/data": {}}, "Cmd": ["sh"]}, "os": "linux"}).encode()
    config = json.loads(image_config.cleaned(written))
    assert config == {key: {"Cmd": ["sh"]}, "os": "linux"}


def test_a_health_check_that_can_be_run_stays() -> None:
    written = json.dumps({"config": {"Healthcheck": {"Test": ["CMD", "true"]}}}).encode()
    assert image_config.cleaned(written) is written


@pytest.mark.parametrize(("key", "name"), [("config", "Env"), ("Config", "env")])
def test_an_image_asks_no_runtime_for_devices(key: str, name: str) -> None:
    kept = ["PATH=/bin", "CUDA_VISIBLE_DEVICES=0", "MY_NVIDIA_VISIBLE_DEVICES=all"]
    asked = ["NVIDIA_VISIBLE_DEVICES=all", "AMD_VISIBLE_DEVICES=all", "NVIDIA_VISIBLE_DEVICES"]
    written = json.dumps({key: {name: [*asked, *kept]}}).encode()
    assert json.loads(image_config.cleaned(written)) == {key: {name: kept}}
    written = json.dumps({key: {name: kept}}).encode()
    assert image_config.cleaned(written) is written


@pytest.mark.parametrize(
    "directory", ["/proc/self/fd/8", "proc/1/cwd", "/sys", "//x/../proc/", "/proc/../sys/fs"]
)
@pytest.mark.parametrize(("key", "name"), [("config", "WorkingDir"), ("Config", "workingdir")])
def test_a_working_directory_of_the_kernels_is_refused(key: str, name: str, directory: str) -> None:
    with pytest.raises(exceptions.ImageRefused, match="its working directory is"):
        image_config.check(config(**{key: {name: directory}}), "x86_64")


@pytest.mark.parametrize("directory", ["", None, "/", "/process", "/srv/proc", "/proc/../srv"])
def test_other_working_directories_are_taken(directory: str | None) -> None:
    assert image_config.check(config(config={"WorkingDir": directory}), "x86_64")


@pytest.mark.parametrize("name", ["OS", "Os"])
def test_the_operating_system_is_read_in_any_case(name: str) -> None:
    described = config(**{name: "windows"})
    del described["os"]
    with pytest.raises(exceptions.ImageRefused, match="it is for windows"):
        image_config.check(described, "x86_64")
