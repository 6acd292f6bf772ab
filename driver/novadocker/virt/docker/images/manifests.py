# SPDX-License-Identifier: Apache-2.0
"""Which image of an archive is for this host, by the manifests of ``docker save`` or of OCI.

An archive may name an image twice, have it for several platforms, and have other things beside it:
attestations, signatures, charts. What is for this host has to be one image in the end.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from novadocker import exceptions
from novadocker.virt.docker.images import config as image_config

# Manifests and configurations that are read to find the image.
MAX_READ = 64
# An index may point to another one; no valid image needs more than two.
MAX_DEPTH = 3

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_IMAGE_CONFIGS = (
    None,
    "",
    "application/octet-stream",
    "application/vnd.docker.container.image.v1+json",
    "application/vnd.oci.image.config.v1+json",
)
# The processors that all of an architecture can take the place of.
_BASE_VARIANTS = (None, "", "v1", "v8")

# Names of the configuration and of the layers, in the archive.
Names = tuple[str, list[str]]


class Manifests:
    """The manifests of one archive.

    :param read: returns what is in a file of JSON
    :param verify: returns the same of a file whose name is its digest
    :param machine: the host's ``uname -m``
    """

    def __init__(
        self, read: Callable[[str], Any], verify: Callable[[str], Any], machine: str
    ) -> None:
        self._read = read
        self._verify = verify
        self._architectures = image_config.architectures(machine)
        self._reads = 0

    def docker(self) -> Names:
        """Return the image that ``manifest.json`` names.

        :raises ImageRefused: it names none, or several for this host
        """
        entries = self._read("manifest.json")
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise exceptions.ImageRefused("manifest.json is not a list of images")
        # One that has several names may be there several times.
        images = {json.dumps(names): names for names in map(_docker_names, entries)}
        config, layers = self._one(
            list(images.values()), lambda names: self._config(self._read, names[0]), "images"
        )
        return safe_name(config), layers

    def oci(self) -> Names:
        """Return the image that ``index.json`` leads to.

        :raises ImageRefused: it leads to none, or to several for this host
        """
        images = dict(self._images(self._read("index.json"), 1))
        manifest = self._one(
            list(images.values()),
            lambda image: self._config(self._verify, blob_name(image.get("config"))),
            "images or platforms",
        )
        layers = manifest.get("layers")
        if not isinstance(manifest.get("config"), dict) or not isinstance(layers, list):
            raise exceptions.ImageRefused("its manifest names no configuration or no layers")
        return blob_name(manifest["config"]), [blob_name(layer) for layer in layers]

    def _one(self, images: list[Any], config: Callable[[Any], Any], what: str) -> Any:
        """Return the one image that is for this host, if there are several.

        :param config: returns the configuration of an image
        """
        if len(images) > 1:
            platforms = [(config(image), image) for image in images]
            fitting = (_of(platforms, architecture) for architecture in self._architectures)
            images = next(filter(None, fitting), [])
            if not images:
                raise exceptions.ImageRefused(
                    f"none of the {len(platforms)} {what} in it is for this host, which is "
                    f"linux/{self._architectures[0]}"
                )
        if len(images) != 1:
            raise exceptions.ImageRefused(f"there are {len(images)} {what} in it; one is wanted")
        return images[0]

    def _images(self, index: Any, depth: int) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the manifests of images that an index leads to, and their names."""
        for name in self._chosen(_descriptors(index)):
            self._count()
            manifest = self._verify(name)
            if not isinstance(manifest, dict):
                raise exceptions.ImageRefused("index.json is not an OCI index")
            if "manifests" in manifest:
                if depth == MAX_DEPTH:
                    raise exceptions.ImageRefused("its indexes are nested too deep")
                yield from self._images(manifest, depth + 1)
            elif not _is_artifact(manifest):
                yield name, manifest

    def _chosen(self, descriptors: list[dict[str, Any]]) -> list[str]:
        """Return the names of what may be for this host, each one once."""
        others = [descriptor for descriptor in descriptors if not _is_beside(descriptor)]
        unknown = [descriptor for descriptor in others if _architecture(descriptor) is None]
        fitting: list[dict[str, Any]] = []
        for architecture in self._architectures:
            fitting = fitting or [
                descriptor for descriptor in others if _architecture(descriptor) == architecture
            ]
        base = [
            descriptor
            for descriptor in fitting
            if descriptor["platform"].get("variant") in _BASE_VARIANTS
        ]
        chosen = (base or fitting) + unknown
        if others and not chosen:
            platforms = sorted({str(_architecture(descriptor)) for descriptor in others})
            raise exceptions.ImageRefused(
                f"it is for {', '.join(platforms)}, this host is linux/{self._architectures[0]}"
            )
        return list(dict.fromkeys(map(blob_name, chosen)))

    def _config(self, read: Callable[[str], Any], name: str) -> Any:
        self._count()
        return read(name)

    def _count(self) -> None:
        self._reads += 1
        if self._reads > MAX_READ:
            raise exceptions.ImageRefused(
                f"more than {MAX_READ} manifests in it may be those of the image"
            )


def _docker_names(entry: Mapping[str, Any]) -> Names:
    config, layers = entry.get("Config"), entry.get("Layers")
    if (
        not isinstance(config, str)
        or not isinstance(layers, list)
        or not all(isinstance(layer, str) for layer in layers)
    ):
        raise exceptions.ImageRefused("manifest.json names no configuration or no layers")
    return safe_name(config), layers


def _of(platforms: list[tuple[Any, Any]], architecture: str) -> list[Any]:
    """Return the images of an architecture."""
    return [
        image
        for config, image in platforms
        if isinstance(config, dict)
        and config.get("os", "linux") == "linux"
        and config.get("architecture") == architecture
    ]


def _descriptors(index: Any) -> list[dict[str, Any]]:
    entries = index.get("manifests") if isinstance(index, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise exceptions.ImageRefused("index.json is not an OCI index")
    return entries


def _architecture(descriptor: Mapping[str, Any]) -> str | None:
    """Return the architecture of what a descriptor names; None where it does not say it."""
    platform = descriptor.get("platform")
    if not isinstance(platform, dict):
        return None
    system, architecture = platform.get("os") or "linux", platform.get("architecture")
    if not architecture and system == "linux":
        return None
    return str(architecture) if system == "linux" else f"{system}/{architecture}"


def _is_beside(descriptor: Mapping[str, Any]) -> bool:
    """Return whether a descriptor is of an attestation or another thing that is no image."""
    platform = descriptor.get("platform")
    unknown = isinstance(platform, dict) and platform.get("os") == "unknown"
    return unknown or bool(descriptor.get("artifactType"))


def _is_artifact(manifest: Mapping[str, Any]) -> bool:
    """Return whether a manifest is of something that is stored like an image, and is none."""
    config = manifest.get("config")
    kind = config.get("mediaType") if isinstance(config, dict) else None
    return bool(manifest.get("artifactType") or manifest.get("subject")) or (
        kind not in _IMAGE_CONFIGS
    )


def blob_name(descriptor: Any) -> str:
    """Return the name of the file that a descriptor is of.

    :raises ImageRefused: the descriptor has no digest of a file in the archive
    """
    digest = descriptor.get("digest") if isinstance(descriptor, dict) else None
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise exceptions.ImageRefused(f"its manifest names {digest!r}, which is no sha256 digest")
    if descriptor.get("urls"):
        raise exceptions.ImageRefused("one of its layers is to be fetched from elsewhere")
    return "blobs/sha256/" + digest[len("sha256:") :]


def safe_name(name: str) -> str:
    """Return a member's name, normalised.

    :raises ImageRefused: the name leads out of the archive
    """
    clean = posixpath.normpath(name)
    if name.startswith("/") or clean.split("/")[0] == ".." or "\0" in name:
        raise exceptions.ImageRefused(f"the archive names {name!r}, which leads out of it")
    return "" if clean == "." else clean


def parsed(data: bytes, name: str) -> Any:
    """Return what a file of JSON says.

    :raises ImageRefused: it says it in more than one way, or is no JSON
    """
    try:
        return json.loads(data, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as err:
        raise exceptions.ImageRefused(f"{name} is not clear JSON: {err}") from err


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    merged = dict(pairs)
    if len(merged) != len(pairs):
        raise ValueError("a name occurs twice in an object")
    return merged
