# SPDX-License-Identifier: Apache-2.0
"""The list of docker images in Glance, from which some are preloaded."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from novadocker_client import images
from novadocker_client.images import Image
from novadocker_client.meanings import WORKFLOWS
from novadocker_dashboard import pages, paging, rights
from novadocker_dashboard.content.docker_hosts import starting


class ImageList(pages.Page):
    """All docker images that the user sees."""

    rules = rights.SEE
    template = "novadocker/docker_hosts/images.html"

    def get(self, request: HttpRequest) -> HttpResponse:
        """Show a page of the list."""
        listed: list[Image] = []
        with self.asking():
            listed = images.listed(self.cloud)
        return self.show(
            {
                "tab": "images",
                "page": paging.page(listed, request.GET, self.page_size),
                "preload": WORKFLOWS["preload_images"],
                "can_preload": rights.may(request, starting.STARTED["preload_images"]),
            }
        )
