# SPDX-License-Identifier: Apache-2.0
"""Pages that begin a run: from chosen hosts, or a deploy from the plan that was looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from novadocker_client import again, hosts
from novadocker_client.errors import BadInput
from novadocker_client.meanings import SELECTING, WORKFLOWS, Workflow
from novadocker_client.runs import Run, Runs
from novadocker_dashboard import pages, rights, sending
from novadocker_dashboard.content.docker_hosts.inputs import InputsForm

# What is begun from chosen hosts, and who may. Deploy is not among it: it takes a plan.
STARTED: Mapping[str, rights.Rules] = {
    "plan": rights.PLAN,
    "verify": rights.PLAN,
    "precheck": rights.PLAN,
    "undeploy": rights.CHANGE,
    "recover": rights.CHANGE,
    "preload_images": rights.CHANGE,
}
START = "horizon:admin:docker_hosts:start"
LIST = "horizon:admin:docker_hosts:runs"
RUN = "horizon:admin:docker_hosts:run"
IMAGES = "horizon:admin:docker_hosts:images"
PUBLISH = "horizon:admin:docker_hosts:publish"


class Start(pages.Page):
    """The inputs of a run, with the hosts that were chosen.

    ``without`` is what the form does not ask for, ``given`` what the run gets besides.
    """

    rules = rights.SEE
    template = "novadocker/docker_hosts/start.html"
    without: tuple[str, ...] = ()
    given: Mapping[str, Any] = {}
    leads_back = "horizon:admin:docker_hosts:index"

    def get(self, request: HttpRequest, workflow: str) -> HttpResponse:
        """Show the form without hosts, or with the inputs of another run."""
        self._require(workflow)
        initial: Mapping[str, Any] = {}
        if like := request.GET.get("like"):
            with self.asking():
                initial = again.like_inputs(Runs(self.cloud).get(like))
        return self._form(workflow, self._filled(workflow, initial))

    def post(self, request: HttpRequest, workflow: str) -> HttpResponse:
        """Show the form with the chosen hosts, or begin the run when it has been filled in."""
        self._require(workflow)
        if sending.FIELD not in request.POST:
            chosen = request.POST.getlist("host")
            if "all" in request.POST:
                chosen = request.POST.get("all_names", "").split()
            initial: dict[str, Any] = {"hosts": chosen}
            if images := request.POST.getlist("image"):
                initial["images"] = images
                with self.asking():
                    listing = hosts.listed(self.cloud)
                    initial["hosts"] = [host.name for host in listing.hosts if host.is_docker]
            return self._form(workflow, self._filled(workflow, initial))
        form = InputsForm(workflow, request.POST, without=self.without)
        if not form.is_valid():
            return self._form(workflow, form, status=400)
        try:
            with (
                self.asking(),
                sending.once(request.user.id, request.POST[sending.FIELD]) as sent,
            ):
                run = Runs(self.cloud).start(
                    workflow,
                    {**form.inputs(), **self.given},
                    description=form.cleaned_data["description"],
                )
                sent.result = run.id
                return self.leave(
                    _address(run.id), said=_("%s has begun.") % self.words(workflow).title
                )
        except sending.SentBefore as err:
            return self.leave(_address(err.result), failed=str(err))
        return self._form(workflow, form, status=pages.NOT_DONE)

    def words(self, workflow: str) -> Workflow:
        """Return what it is called, and does."""
        return WORKFLOWS[workflow]

    def _filled(self, workflow: str, given: Mapping[str, Any]) -> InputsForm:
        return InputsForm(workflow, given=given, without=self.without)

    def _require(self, workflow: str) -> None:
        if workflow not in STARTED:
            raise Http404
        rights.require(self.request, STARTED[workflow])

    def _action(self, workflow: str) -> str:
        return str(reverse(START, args=[workflow]))

    def _form(self, workflow: str, form: InputsForm, status: int = 200) -> HttpResponse:
        return self.show(
            {
                "action": self._action(workflow),
                "leads_back": reverse(self.leads_back),
                "words": self.words(workflow),
                "form": form,
                "once": self.request.POST.get(sending.FIELD) or sending.token(),
            },
            status,
        )


class Publish(Start):
    """The images that are to be published, with no host."""

    without = (*SELECTING, "aggregate")
    given: Mapping[str, Any] = {"preload": False}
    leads_back = IMAGES

    def words(self, workflow: str) -> Workflow:
        """Return what it is called, and does: the first part of a preload."""
        return replace(
            super().words(workflow),
            title=_("Publish images"),
            meaning=_("Publish Docker images in Glance. No compute host is asked."),
        )

    def _action(self, workflow: str) -> str:
        return str(reverse(PUBLISH))


class Deploy(pages.Page):
    """Does what a plan showed, and nothing else."""

    rules = rights.CHANGE
    template = "novadocker/docker_hosts/deploy.html"
    back = LIST

    def get(self, request: HttpRequest, run_id: UUID) -> HttpResponse:
        """Show what would be done."""
        return self._page(str(run_id))

    def post(self, request: HttpRequest, run_id: UUID) -> HttpResponse:
        """Begin the deploy, unless the plan is another one or is being deployed."""
        plan_id = str(run_id)
        try:
            with self.asking():
                run = self._begin(plan_id, request.POST.get("digest", ""))
                return self.leave(_address(run.id), said=_("Deploy has begun."))
        except sending.SentBefore as err:
            return self.leave(_address(err.result), failed=str(err))
        return self._page(plan_id, status=pages.NOT_DONE)

    def _begin(self, plan_id: str, seen: str) -> Run:
        manager = Runs(self.cloud)
        inputs = again.deploy_inputs(manager.get(plan_id))
        digest = inputs["plan_digest"]
        if seen != digest:
            raise BadInput("plan", "it is not the one that you looked at.", "Look at it again.")
        # Whoever sends it: what one operator has begun, another does not begin beside it.
        with sending.once("deploy", plan_id, digest) as sent:
            for run in manager.list(workflow="deploy", outputs=False):
                if not run.ended and run.inputs.get("plan_digest") == digest:
                    raise sending.SentBefore(run.id)
            run = manager.start("deploy", inputs, description=f"plan {plan_id}")
            sent.result = run.id
        return run

    def _page(self, plan_id: str, status: int = 200) -> HttpResponse:
        context: dict[str, Any] = {"run_id": plan_id}
        with self.asking():
            plan = Runs(self.cloud).get(plan_id)
            digest = again.deploy_inputs(plan)["plan_digest"]
            context.update(plan=plan, digest=digest, rows=plan.report.rows)
        return self.show(context, status)


def _address(run_id: str) -> str:
    return str(reverse(RUN, args=[run_id]) if run_id else reverse(LIST))
