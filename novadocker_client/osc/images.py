# SPDX-License-Identifier: Apache-2.0
"""Commands that show docker images."""

from __future__ import annotations

import argparse
from typing import Any

from novadocker_client import images
from novadocker_client.osc import base


class List(base.Lister):
    """List the docker images in Glance."""

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Return the images."""
        columns = ("ID", "Name", "Status", "Visibility", "Reference", "Digest", "Published", "Size")
        return columns, [
            (
                image.id,
                base.plain(image.name),
                image.status,
                image.visibility,
                base.plain(image.reference),
                base.plain(image.digest),
                image.published,
                image.size_bytes,
            )
            for image in images.listed(self.cloud)
        ]
