# SPDX-License-Identifier: Apache-2.0
"""The machine's package index, as a build may use it."""

from __future__ import annotations

import pathlib

import pytest

from lab.errors import ImageError
from lab.machine import python_index


def test_remote_indexes_are_carried_and_local_ones_dropped() -> None:
    config = (
        "global.index-url='https://index.example/simple'\n"
        "global.extra-index-url='file:///srv/simple https://more.example/simple'\n"
        "global.find-links='/srv/wheels'\n"
    )
    assert python_index.index_environment(config, {}) == {
        "PIP_INDEX_URL": "https://index.example/simple",
        "UV_DEFAULT_INDEX": "https://index.example/simple",
        "PIP_EXTRA_INDEX_URL": "https://more.example/simple",
        "UV_INDEX": "https://more.example/simple",
    }


def test_nothing_configured_sets_nothing() -> None:
    assert python_index.index_environment("", {"PATH": "/bin"}) == {}


def test_an_index_on_disk_alone_sets_nothing() -> None:
    assert python_index.index_environment("global.index-url='file:///srv/simple'", {}) == {}


def test_proxies_and_uvs_own_settings_win() -> None:
    environ = {
        "https_proxy": "http://proxy.example:3128",
        "UV_DEFAULT_INDEX": "https://uv.example/",
    }
    variables = python_index.index_environment("global.index-url='https://pip.example/'", environ)
    assert variables["https_proxy"] == "http://proxy.example:3128"
    assert variables["UV_DEFAULT_INDEX"] == "https://uv.example/"
    assert variables["PIP_INDEX_URL"] == "https://pip.example/"


def test_the_environment_of_pip_wins_over_its_files() -> None:
    config = ":env:.index-url='https://env.example/'\nglobal.index-url='https://file.example/'\n"
    assert python_index.index_environment(config, {})["PIP_INDEX_URL"] == "https://env.example/"


def test_the_machines_ca_bundle_is_the_one_it_names(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("certificates")
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    assert python_index.ca_bundle() == bundle


def test_a_uv_that_is_a_script_is_not_taken_into_a_build(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "uv"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "bin" / "python"))
    with pytest.raises(ImageError, match="uv is not installed"):
        python_index.uv_program()
