# SPDX-License-Identifier: Apache-2.0
"""The list of containers, what is done with them, and what they print."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from novadocker_client import images
from novadocker_dashboard import pages, paging, rights
from novadocker_dashboard.content.containers import servers

LIST = "horizon:project:docker_containers:index"
# Who may do what with a container.
ACTS: Mapping[str, rights.Rules] = {
    "start": rights.START,
    "stop": rights.HALT,
    "reboot": rights.REBOOT,
}
# What Nova does in which state.
_FITTING = {"start": ("SHUTOFF",), "stop": ("ACTIVE", "ERROR"), "reboot": ("ACTIVE", "SHUTOFF")}


class ContainerList(pages.Page):
    """A tenant's containers."""

    rules = rights.LIST
    template = "novadocker/containers/list.html"
    part = "novadocker/containers/_list.html"

    def get(self, request: HttpRequest) -> HttpResponse:
        """Show a page of the list."""
        cloud = self.cloud
        names: dict[str, str] = {}
        containers: list[servers.Container] = []
        with self.asking():
            names = {image.id: image.name or image.id for image in images.listed(cloud)}
        with self.asking():
            containers = servers.listed(cloud, names)
        allowed = [act for act, rules in ACTS.items() if rights.may(request, rules)]
        page = paging.page(containers, request.GET, self.page_size)
        return self.show(
            {
                "page": page,
                "rows": [
                    (item, [act for act in allowed if item.status in _FITTING[act]])
                    for item in page
                ],
                "kept": "",
                "refresh": f"?{paging.kept(request.GET, paging.PARAMETER)}{pages.PART}=yes",
                "can_boot": rights.may(request, rights.BOOT),
                "can_upload": rights.may(request, rights.UPLOAD),
                "can_read": rights.may(request, rights.LOG),
            }
        )


class Act(pages.Page):
    """Starts, stops or reboots a container."""

    rules = rights.LIST
    back = LIST
    http_method_names = ["post"]

    def post(self, request: HttpRequest, server_id: UUID, act: str) -> HttpResponse:
        """Do it, and lead back to the list."""
        if act not in ACTS:
            raise Http404
        rights.require(request, ACTS[act])
        with self.asking():
            servers.act(self.cloud, str(server_id), act)
            return self.leave(reverse(LIST), said=_("Nova has been asked to %s it.") % act)
        return self.leave(reverse(LIST), failed=self.faults[0])


class Log(pages.Page):
    """What a container has printed."""

    rules = rights.LOG
    template = "novadocker/containers/log.html"
    part = "novadocker/containers/_log.html"
    back = LIST

    def get(self, request: HttpRequest, server_id: UUID) -> HttpResponse:
        """Show the end of it."""
        text = ""
        with self.asking():
            text = servers.log(self.cloud, str(server_id))
        return self.show(
            {"server_id": str(server_id), "text": text, "refresh": f"?{pages.PART}=yes"}
        )
