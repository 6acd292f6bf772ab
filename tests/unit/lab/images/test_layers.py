# SPDX-License-Identifier: Apache-2.0
"""Images are named by what goes into them."""

from __future__ import annotations

import pathlib

import pytest

from lab.images import layers
from lab.images.snapshots import Snapshots, input_files
from lab.machine import apt_sources
from lab.machine.apt_sources import Source
from lab.machine.progress import Progress
from lab.settings import LAB, LabSettings
from lab.stage import BundleStage

LAYER_NAMES = ["base", "node", "openstack", "controller"]


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> layers.Images:
    monkeypatch.setattr(apt_sources, "machine_release", lambda: "bookworm")
    source = Source("http://archive.example", ("bookworm",), ("main",))
    monkeypatch.setattr(apt_sources, "machine_sources", lambda _release: [source])
    monkeypatch.setattr(apt_sources, "machine_options", list)
    return layers.Images(LabSettings(cache_dir=tmp_path), Progress())


def references(built: layers.Images) -> list[str]:
    return [built.reference(name) for name in LAYER_NAMES]


def test_the_same_inputs_give_the_same_references(built: layers.Images) -> None:
    assert references(built) == references(built)
    assert all(x.startswith("ndlab-") for x in references(built))


def test_other_sources_change_every_layer(built: layers.Images) -> None:
    before = references(built)
    built.sources = [Source("http://other.example", ("bookworm",), ("main",))]
    assert not set(before) & set(references(built))


def test_another_lock_changes_the_layers_above_it_only(
    built: layers.Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = references(built)
    content = layers._content
    monkeypatch.setattr(
        layers,
        "_content",
        lambda path: "changed" if path.name == "openstack.lock" else content(path),
    )
    after = references(built)
    assert [old == new for old, new in zip(before, after, strict=True)] == [
        True,
        True,
        False,
        False,
    ]


def test_how_the_archive_is_reached_changes_nothing(built: layers.Images) -> None:
    before = references(built)
    built.options = ['Acquire::http::Proxy "http://proxy.example:3128"']
    assert references(built) == before


def test_blank_hosts_and_computes_boot_the_same_image(built: layers.Images) -> None:
    settings = built.settings
    assert built.for_host(settings.computes[0]) == built.reference("openstack")
    assert built.for_host(settings.controller) == built.reference("controller")


def test_hosts_boot_what_a_stage_has_put_on_their_image(
    built: layers.Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    upper = [layers.Layer("stage", "controller", folder="stage/images")]
    monkeypatch.setattr(layers, "_content", str)
    staged = layers.Images(built.settings, built.progress, upper)
    assert staged.for_host(built.settings.controller) == staged.reference("stage")
    assert staged.for_host(built.settings.computes[0]) == built.reference("openstack")
    assert staged.reference("controller") == built.reference("controller")


@pytest.mark.parametrize("layer", [*layers.LAYERS, *BundleStage.layers], ids=lambda x: x.name)
def test_every_file_that_a_layer_names_is_there(layer: layers.Layer) -> None:
    assert all(path.is_file() for path in layer.sources())


def test_digest_tells_where_texts_begin() -> None:
    assert layers.digest("ab", "c") != layers.digest("a", "bc")


def test_a_snapshot_depends_on_the_control_plane_and_not_on_byte_code(
    built: layers.Images, tmp_path: pathlib.Path
) -> None:
    folder = tmp_path / "lab" / "controlplane"
    (folder / "__pycache__").mkdir(parents=True)
    (folder / "units.py").write_text("one")
    (folder / "__pycache__" / "units.pyc").write_text("one")
    settings = LabSettings(cache_dir=tmp_path, checkout=tmp_path)
    assert input_files(tmp_path) == [folder / "units.py"]
    before = Snapshots(settings, built).tag
    (folder / "__pycache__" / "units.pyc").write_text("two")
    assert Snapshots(settings, built).tag == before
    (folder / "units.py").write_text("two")
    assert Snapshots(settings, built).tag != before


def test_a_snapshot_depends_on_every_file_of_the_lab() -> None:
    own = {path for path in LAB.rglob("*.py") if "__pycache__" not in path.parts}
    assert own <= set(input_files())
    assert {LAB / "wheels.lock", LAB / "images/scripts/boot"} <= set(input_files())
