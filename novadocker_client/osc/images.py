# SPDX-License-Identifier: Apache-2.0
"""Commands that show docker images."""

from __future__ import annotations

import argparse
from typing import Any

from novadocker_client import images
from novadocker_client.osc import base

# Characters of a digest in a table: the algorithm, and what tells images apart.
_DIGEST = 20


class List(base.Lister):
    """List the docker images in Glance."""

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Return the images."""
        there = images.listed(self.cloud)
        if not there:
            base.tell("Glance has no docker image that you may see.")
        columns = ("ID", "Name", "Status", "Visibility", "Reference", "Digest", "Published", "Size")
        return columns, [
            (
                image.id,
                base.plain(image.name),
                image.status,
                image.visibility,
                base.plain(image.reference),
                base.shortened(base.plain(image.digest), parsed_args, _DIGEST),
                image.published,
                image.size_bytes,
            )
            for image in there
        ]
