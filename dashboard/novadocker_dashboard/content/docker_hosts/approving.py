# SPDX-License-Identifier: Apache-2.0
"""The page that lets a run go on that waits between two batches."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from novadocker_client.runs import Runs
from novadocker_dashboard import pages, rights
from novadocker_dashboard.content.docker_hosts import starting

# The field with the batch that was looked at.
BATCH = "batch"


class Approve(pages.Page):
    """Asks whether the batch that a run waits before is to be begun."""

    rules = rights.APPROVE
    template = "novadocker/docker_hosts/approve.html"
    back = starting.LIST

    def get(self, request: HttpRequest, run_id: UUID) -> HttpResponse:
        """Show what it waits for."""
        context: dict[str, Any] = {"run_id": str(run_id), "field": BATCH}
        with self.asking():
            manager = Runs(self.cloud)
            context["run"] = manager.waiting(manager.get(str(run_id)))
        return self.show(context)

    def post(self, request: HttpRequest, run_id: UUID) -> HttpResponse:
        """Approve the batch that was looked at, and no other."""
        back = reverse(starting.RUN, args=[run_id])
        batch = request.POST.get(BATCH, "")
        with self.asking():
            Runs(self.cloud).approve(str(run_id), int(batch) if batch.isdecimal() else 0)
            return self.leave(back, said=_("Batch %s is approved.") % batch)
        return self.leave(back, failed=self.faults[0])
