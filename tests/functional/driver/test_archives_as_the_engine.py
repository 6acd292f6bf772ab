# SPDX-License-Identifier: Apache-2.0
"""What the engine loads boots here, what it refuses does not: on a corpus of archives.

Each archive is given to the engine and to the driver, and each difference is a decision.
"""

from __future__ import annotations

import dataclasses
import io
import json
import platform
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from novadocker import exceptions
from novadocker.tests import hostile
from novadocker.virt.docker.images import archive, compression
from tests.functional.driver import corpus, own_engine
from tests.functional.driver.builders import Builders

pytestmark = [pytest.mark.docker, pytest.mark.proof]

LIMIT = 64 << 20
# How real builders write, and in which name the report has them.
REAL = {
    "engines_own": "docker save of this engine",
    "skopeo_docker_archive": "skopeo docker-archive",
    "skopeo_oci_archive": "skopeo oci-archive",
    "skopeo_layers_of_zstd": "skopeo oci, zstd",
    "skopeo_two_tags": "skopeo oci, two tags",
    "podman_docker_archive": "podman save, docker-archive",
    "podman_oci_archive": "podman save, oci-archive",
}
# These make an image of their own.
OWN = {
    "buildah_docker_archive": "buildah docker-archive",
    "buildah_oci_archive": "buildah oci-archive",
    "umoci_repacked": "umoci",
    "without_padding": "docker save, cut at the end",
}
# Why the two differ: who takes it, words of the other one's refusal, and the reason.
DECISIONS: tuple[tuple[str, str, str], ...] = (
    (
        "driver",
        r"/json: no such file or directory",
        "engines before 25 load no OCI layout: the driver writes each image as they take it",
    ),
    (
        "driver",
        r"unexpected EOF|invalid tar header|archive/tar",
        "engines before 23 do not unpack zstd: the driver does, by the program of that name",
    ),
    (
        "driver",
        r"invalid reference format",
        "names in an archive are nobody's to choose: the driver gives the image one of its own",
    ),
    (
        "driver",
        r"parsing time",
        "the driver does not read when an image was made: it tells the engine's refusal on loading",
    ),
    (
        "engine",
        r"it is for linux/",
        "it is for another processor, or does not say for which: it would not start",
    ),
    (
        "engine",
        r"the archive has no file",
        "the engine takes a layer that it has of another image, so that what is loaded depends on "
        "what others have loaded",
    ),
    ("engine", r"it has 0 layers", "it has no file that could be started"),
    (
        "engine",
        r"more than 1048576 bytes",
        "a configuration of megabytes is read at each start, and kept in memory by the engine",
    ),
    (
        "engine",
        r"does not have the digest in its name|does not have the digest",
        "it was altered: a digest that the archive names is not that of the content",
    ),
    ("engine", r"has '.*' twice|in different cases", "two readers could see two images in it"),
    ("engine", r"\d images", "which of several images is meant cannot be told"),
    (
        "engine",
        r"where the kernel's files are",
        "a working directory below /proc leads to files of the host (CVE-2024-21626)",
    ),
    ("engine", r"leads out of it", "names that leave an image are only good for an attack"),
    ("engine", r"not a plain file", "no builder writes links or devices beside layers"),
    (
        "engine",
        r"belong to the host's kernel",
        "attributes of the kind trusted are the overlay file system's own orders",
    ),
    (
        "engine",
        r"meant for all its files|sparse",
        "readers disagree about such headers, so what was looked at would not be what is unpacked",
    ),
    (
        "engine",
        r"max_image_size_gb",
        "it is larger than the operator allows ([docker]max_image_size_gb)",
    ),
)


@dataclasses.dataclass
class Row:
    """What became of one archive.

    :param engine: why the engine refuses it, empty when it takes it
    :param driver: why the driver does
    """

    builder: str
    image: str
    engine: str
    driver: str

    @property
    def reason(self) -> str:
        """Return why the two differ, empty when nobody has decided that."""
        taken, said = ("driver", self.engine) if self.engine else ("engine", self.driver)
        return next(
            (why for by, words, why in DECISIONS if by == taken and re.search(words, said)), ""
        )

    def __str__(self) -> str:
        """Return the difference as a line."""
        taken, said = ("driver", self.engine) if self.engine else ("engine", self.driver)
        return f"{self.builder}: {self.image}: the {taken} alone takes it ({said[:160]})"


class Both:
    """The engine, and what the driver has in front of it."""

    def __init__(self) -> None:
        # An engine that is slow, as on a busy machine, has refused nothing.
        self.engine = docker.DockerClient(base_url=own_engine.given_url(), timeout=600)

    def judge(self, builder: str, image: str, data: bytes, limit: int = LIMIT) -> Row:
        """Give an archive to both; where both take it, see that it is the same image."""
        ours, fault = driver_finds(data, limit)
        theirs, refusal = self._engine_loads(data)
        if not fault and not refusal:
            assert ours in theirs, f"{builder}: {image}: another image"
        return Row(builder, image, refusal, fault)

    def _engine_loads(self, data: bytes) -> tuple[list[Any], str]:
        """Return what the engine has loaded, or why it refuses."""
        try:
            loaded = self.engine.images.load(data)
        except (docker.errors.DockerException, OSError) as err:
            return [], str(err) or type(err).__name__
        told = [
            (image.attrs["RootFS"].get("Layers", []), shown(image.attrs["Config"]))
            for image in loaded
        ]
        for name in {image.id for image in loaded}:
            self.engine.images.remove(name, force=True)
        return told, "" if loaded else "it loads nothing of it"


def driver_finds(data: bytes, limit: int) -> tuple[Any, str]:
    """Return the layers and settings of the one image that the driver finds, or why it refuses."""
    try:
        with compression.plain(io.BytesIO(data)) as reader:
            bounded = compression.Bounded(reader, "the archive", limit)
            plain = io.BytesIO(b"".join(iter(bounded.read, b"")))
        image = archive.Archive(plain, limit).image(platform.machine())
    except exceptions.ImageRefused as err:
        return None, str(err)
    layers = [layer.diff_id for layer in image.layers]
    return (layers, shown(json.loads(image.config).get("config"))), ""


def shown(config: dict[str, Any] | None) -> dict[str, Any]:
    """Return the settings that are an image's own, and not the driver's to take away."""
    kept = ("Cmd", "Entrypoint", "Env", "User", "WorkingDir", "StopSignal")
    return {name: (config or {}).get(name) or None for name in kept}


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    """The two that are compared."""
    both = Both()
    yield both
    both.engine.close()


@pytest.fixture(scope="module")
def rows() -> Iterator[list[Row]]:
    """What became of all archives; the figures are printed at the end."""
    rows: list[Row] = []
    yield rows
    print()
    for builder in dict.fromkeys(row.builder for row in rows):
        mine = [row for row in rows if row.builder == builder]
        engine, driver = (sum(not getattr(x, who) for x in mine) for who in ("engine", "driver"))
        print(f"by {builder}: {len(mine)} archives, engine takes {engine}, driver takes {driver}")
    different = [row for row in rows if bool(row.engine) != bool(row.driver)]
    for reason in sorted({row.reason for row in different}):
        of_it = [row for row in different if row.reason == reason]
        print(f"difference: {len(of_it)} archives: {reason or 'NO REASON'}")
        for row in of_it:
            print(f"    {row}")
    taken = {who: sum(not getattr(row, who) for row in rows) for who in ("engine", "driver")}
    print(
        f"figures: {len(rows)} archives of {len({row.builder for row in rows})} builders: the "
        f"engine takes {taken['engine']}, the driver {taken['driver']}; {len(different)} "
        f"differences, {sum(not row.reason for row in different)} without a reason"
    )


def decided(rows: list[Row], new: list[Row]) -> None:
    """Take rows down, and require that each difference is a decision."""
    rows.extend(new)
    different = [row for row in new if bool(row.engine) != bool(row.driver)]
    assert [str(row) for row in different if not row.reason] == []


@pytest.mark.parametrize("builder", sorted(REAL))
def test_of_a_real_builder(builder: str, both: Both, tmp_path: Path, rows: list[Row]) -> None:
    new = []
    for number, (image, make) in enumerate(corpus.IMAGES.items()):
        place = tmp_path / str(number)
        place.mkdir()
        made = getattr(Builders(place, make()), builder)()
        new.append(both.judge(REAL[builder], image, made.read_bytes()))
    decided(rows, new)


@pytest.mark.parametrize("builder", sorted(OWN))
def test_of_a_builder_with_an_image_of_its_own(
    builder: str, both: Both, tmp_path: Path, rows: list[Row]
) -> None:
    made = getattr(Builders(tmp_path), builder)()
    decided(rows, [both.judge(OWN[builder], "its own", made.read_bytes())])


@pytest.mark.parametrize("writer", sorted(corpus.WRITERS))
def test_as_a_builder_writes(writer: str, both: Both, rows: list[Row]) -> None:
    write = corpus.WRITERS[writer]
    images = corpus.IMAGES.items()
    decided(rows, [both.judge(writer, image, write(make())) for image, make in images])


def test_of_peculiar_ones(both: Both, rows: list[Row]) -> None:
    made = corpus.PECULIAR.items()
    decided(rows, [both.judge("by hand", image, make()) for image, make in made])


@pytest.mark.parametrize("name", sorted(hostile.ARCHIVES))
def test_hostile_ones_are_refused_whatever_the_engine_does(
    name: str, both: Both, rows: list[Row]
) -> None:
    make, fault = hostile.ARCHIVES[name]
    row = both.judge("hostile", name, make(), hostile.LIMIT)
    assert fault in row.driver
    decided(rows, [row])
