# SPDX-License-Identifier: Apache-2.0
"""Removal of images that no instance has used for long."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from typing import Any

from oslo_log import log as logging
from oslo_utils import fileutils

from novadocker import exceptions
from novadocker.virt.docker.engine import client
from novadocker.virt.docker.images import store

LOG = logging.getLogger(__name__)


def expired(tags: Mapping[str, float], in_use: set[str], now: float, min_age_s: float) -> list[str]:
    """Return the tags that may be removed.

    :param tags: when each of the driver's tags was last used, in seconds since the epoch
    :param in_use: ids of Glance images that instances of this host were made from
    """
    return sorted(
        tag for tag, used in tags.items() if image_id(tag) not in in_use and now - used >= min_age_s
    )


def image_id(tag: str) -> str:
    """Return the id of the Glance image that a tag names."""
    return tag.rsplit(":", 1)[0][len(store.REPOSITORY) + 1 :]


class ImageCache:
    """Remembers when images were last used, and removes unused ones.

    :param path: file for the times
    :param images: who fetches them
    """

    def __init__(self, engine: client.Engine, path: str, images: store.Images) -> None:
        self._engine = engine
        self._images = images
        self._path = path

    def tags(self) -> list[str]:
        """Return the driver's tags in the engine, in one request."""
        return [
            tag
            for image in self._engine.call("images", filters={"reference": f"{store.REPOSITORY}/*"})
            for tag in image.get("RepoTags") or []
            if tag.startswith(f"{store.REPOSITORY}/")
        ]

    def update(
        self, all_instances: list[Any], host: str, remove_unused: bool, min_age_s: float
    ) -> None:
        """Note the images in use, and remove those that are unused for long.

        :param all_instances: instances of this host, and perhaps of others
        :param host: name of this host
        :param remove_unused: whether images may be removed at all
        :param min_age_s: seconds that an image must have been unused
        """
        now = time.time()
        in_use = {
            instance.image_ref
            for instance in all_instances
            if instance.host == host and instance.image_ref
        }
        known = self._read()
        tags = {tag: now if image_id(tag) in in_use else known.get(tag, now) for tag in self.tags()}
        for tag in expired(tags, in_use, now, min_age_s) if remove_unused else []:
            with self._images.lock(image_id(tag)):
                if self._images.is_awaited(image_id(tag)):
                    tags[tag] = now
                elif self._is_removed(tag):
                    LOG.info("Removed image %s, which was not used for %d seconds", tag, min_age_s)
                    del tags[tag]
        self._write(tags)

    def _is_removed(self, tag: str) -> bool:
        """Remove an image, and return whether it is gone."""
        try:
            # By tag: the engine keeps layers of other images, and images that containers use.
            self._engine.call("remove_image", tag)
        except exceptions.Conflict as err:
            LOG.info("Image %s stays: %s", tag, err)
            return False
        except exceptions.NotFound:
            pass
        return True

    def _read(self) -> dict[str, float]:
        try:
            with open(self._path, encoding="utf-8") as source:
                times = json.load(source)
        except (OSError, ValueError):
            return {}
        return {tag: float(used) for tag, used in times.items()} if isinstance(times, dict) else {}

    def _write(self, tags: Mapping[str, float]) -> None:
        part = f"{self._path}.part"
        try:
            fileutils.ensure_tree(os.path.dirname(self._path), mode=0o700)
            with open(part, "w", encoding="utf-8") as out:
                json.dump(tags, out)
            os.replace(part, self._path)
        except OSError as err:
            LOG.warning("When images were last used cannot be kept in %s: %s", self._path, err)
            with contextlib.suppress(OSError):
                os.unlink(part)
