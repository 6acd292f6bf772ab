# SPDX-License-Identifier: Apache-2.0
"""The pages of runs: the list, one of them while it goes on and when it has ended, its report."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from novadocker_client import meanings
from novadocker_client.progress import Progress
from novadocker_client.reports import junit
from novadocker_client.reports import page as html
from novadocker_client.runs import RUNNING, Run, Runs
from novadocker_dashboard import pages, paging, rights
from novadocker_dashboard.content.docker_hosts import remembered, starting
from novadocker_dashboard.content.docker_hosts.grid import grid, phases


class RunList(pages.Page):
    """Runs, the newest first."""

    rules = rights.SEE
    template = "novadocker/docker_hosts/runs.html"
    part = "novadocker/docker_hosts/_runs.html"

    def get(self, request: HttpRequest) -> HttpResponse:
        """Show a page of the list."""
        summaries: list[remembered.Summary] = []
        with self.asking():
            summaries = remembered.listed(
                request, self.cloud, self.page_size, request.GET.get("marker", "")
            )
        older = summaries[-1].run.id if len(summaries) == self.page_size else ""
        return self.show(
            {
                "tab": "runs",
                "runs": summaries,
                "older": older,
                "newest": "marker" in request.GET,
                "refresh": _refresh(request, "marker"),
            }
        )


class RunPage(pages.Page):
    """A run: what it does, its hosts at its steps, and what it says at its end."""

    rules = rights.SEE
    template = "novadocker/docker_hosts/run.html"
    part = "novadocker/docker_hosts/_run.html"
    back = starting.LIST

    def get(self, request: HttpRequest, run_id: UUID) -> HttpResponse:
        """Show the run, and a page of its hosts."""
        context: dict[str, Any] = {"run_id": str(run_id), "refresh": _refresh(request, *_KEPT)}
        with self.asking():
            run = Runs(self.cloud).get(str(run_id))
            told = Progress()
            with self.asking():
                # The rest is there without it.
                told = remembered.looked(request, self.cloud, run)
                run = replace(run, hold=told.hold if run.state == RUNNING else None)
            context.update(self._run(run, told), **self._grid(run, told))
        return self.show(context)

    def _run(self, run: Run, told: Progress) -> dict[str, Any]:
        return {
            "run": run,
            "words": meanings.WORKFLOWS.get(run.workflow),
            "meaning": meanings.OUTCOMES.get(run.outcome, ""),
            "inputs": sorted(run.inputs.items()),
            "report": run.report,
            "phases": phases(told.tasks),
            "can_approve": run.hold and rights.may(self.request, rights.APPROVE),
            "can_stop": not run.ended and rights.may(self.request, rights.STOP),
            "can_deploy": run.workflow == "plan"
            and run.outcome == "planned"
            and not run.kept
            and rights.may(self.request, rights.CHANGE),
            "can_plan": run.ended
            and not run.kept
            and run.workflow in ("plan", "deploy")
            and rights.may(self.request, rights.PLAN),
        }

    def _grid(self, run: Run, told: Progress) -> dict[str, Any]:
        query = self.request.GET
        hosts = grid(told, run.report)
        state, name = query.get("state", ""), query.get("name", "").strip()
        page = paging.page(hosts.chosen(state, name), query, self.page_size)
        return {
            "steps": hosts.titles(),
            "groups": hosts.groups(),
            "state": state,
            "name": name,
            "hosts": len(hosts.lines),
            "page": page,
            "rows": [(line, hosts.squares(line)) for line in page],
            "kept": paging.kept(query, "state", "name"),
        }


class ReportFile(pages.Page):
    """A run's report as a file."""

    rules = rights.SEE
    back = starting.LIST

    def get(self, request: HttpRequest, run_id: UUID, form: str) -> HttpResponse:
        """Return the file, or the way back where it cannot be read."""
        if form not in ("json", "junit", "html"):
            raise Http404
        back = reverse(starting.RUN, args=[run_id])
        with self.asking():
            run = Runs(self.cloud).get(str(run_id))
        if self.faults:
            return self.leave(back, failed=self.faults[0])
        if not run.report.data:
            return self.leave(back, failed=_("It has no report: it is %s.") % run.outcome)
        text, kind, ending = _written(run, form)
        response = HttpResponse(text, content_type=kind)
        name = f"{meanings.WORKBOOK}-{run.workflow}-{run.id}.{ending}"
        response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
        return response


_KEPT = ("state", "name", paging.PARAMETER)


def _refresh(request: HttpRequest, *names: str) -> str:
    return f"?{paging.kept(request.GET, *names)}{pages.PART}=yes"


def _written(run: Run, form: str) -> tuple[str, str, str]:
    title = f"{meanings.WORKBOOK}.{run.workflow}"
    if form == "json":
        return run.report.to_json(), "application/json", "json"
    if form == "junit":
        return junit.write(run.report, title, run.message), "application/xml", "xml"
    return html.write(run.report, f"{title} {run.id}", run.message), "text/html", "html"
