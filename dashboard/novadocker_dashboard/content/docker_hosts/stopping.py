# SPDX-License-Identifier: Apache-2.0
"""The page that stops a run."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from novadocker_client import hosts
from novadocker_client.runs import Runs
from novadocker_dashboard import pages, rights
from novadocker_dashboard.content.docker_hosts import starting

# What the second of the two buttons sends.
NOW = "now"


class Stop(pages.Page):
    """Asks whether a run is to end with what is under way, or to be cut off where it is."""

    rules = rights.STOP
    template = "novadocker/docker_hosts/stop.html"
    back = starting.LIST

    def get(self, request: HttpRequest, run_id: UUID) -> HttpResponse:
        """Show what stopping it leaves."""
        context: dict[str, Any] = {"run_id": str(run_id), "now": NOW}
        with self.asking():
            context["run"] = Runs(self.cloud).get(str(run_id))
            context["out_of_service"] = hosts.disabled_by(self.cloud, str(run_id))
        return self.show(context)

    def post(self, request: HttpRequest, run_id: UUID) -> HttpResponse:
        """Stop it."""
        back = reverse(starting.RUN, args=[run_id])
        with self.asking():
            manager = Runs(self.cloud)
            stop = manager.stop if NOW in request.POST else manager.ask_to_stop
            if stop(str(run_id)).ended:
                return self.leave(back, said=_("The run is stopped where it was."))
            return self.leave(back, said=_("The run ends with what is under way."))
        return self.leave(back, failed=self.faults[0])
