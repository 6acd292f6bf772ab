# SPDX-License-Identifier: Apache-2.0
"""The inputs with which a run does what an earlier one has shown, or has failed to do."""

from __future__ import annotations

from typing import Any

from novadocker_client import meanings, reports
from novadocker_client.errors import BadInput
from novadocker_client.runs import Run


def deploy_inputs(plan: Run) -> dict[str, Any]:
    """Return the inputs with which deploy does what a plan showed, and nothing else.

    :param plan: a run of plan that has ended
    :raises BadInput: when it is none, or made no plan, or its execution is gone
    """
    _require_execution("plan", plan, "Plan anew.")
    digest = plan.report.plan_digest
    if plan.workflow != "plan" or plan.outcome != "planned" or not digest:
        raise BadInput(
            "plan",
            f"{plan.id} is a run of {plan.workflow} that is {plan.outcome}.",
            "Give a run of plan that has made a plan.",
        )
    taken = meanings.WORKFLOWS["deploy"].inputs
    given = {name: value for name, value in plan.inputs.items() if name in taken}
    return {**given, "plan_digest": digest}


def like_inputs(run: Run) -> dict[str, Any]:
    """Return the inputs that another run had, for who is to look at them and begin one like it.

    :raises BadInput: when its execution is gone
    """
    _require_execution("like", run, "Give the inputs anew.")
    return dict(run.inputs)


def failed_inputs(run: Run, workflow: str) -> dict[str, Any]:
    """Return the inputs with which a workflow does again what it failed to do, on no other host.

    They are the earlier run's, and in the place of what selected its hosts are the compute hosts
    that have failed in it, or of which it could not say how they ended.

    :param run: that has ended
    :param workflow: that is to run, name without the workbook's
    :raises BadInput: when it is a run of another workflow, no such host is known of it, its report
        is not whole any more, or its execution is gone
    """

    def refused(problem: str, remedy: str) -> BadInput:
        return BadInput("failed_of", f"{run.id} {problem}.", remedy)

    if run.workflow != workflow or not run.ended:
        raise refused(
            f"is a run of {run.workflow} that is {run.outcome}",
            f"Give a run of {workflow} that has ended.",
        )
    _require_execution("failed_of", run, "Name the hosts with --hosts instead.")
    if not run.report.rows:
        raise refused(
            "has no report",
            "`openstack docker recover` takes up what it has left; name the hosts with --hosts.",
        )
    if run.report.cut_short:
        raise refused(
            "has but the beginning of its report left", "Name the hosts with --hosts instead."
        )
    failed = [row for row in run.report.rows if row.state in (reports.FAILED, reports.UNKNOWN)]
    hosts = sorted({row.host for row in failed if row.role == "compute"})
    if not hosts:
        raise refused(
            "has no compute host that failed",
            f"Give what it left out to {workflow} itself, with the inputs of before.",
        )
    taken = set(meanings.WORKFLOWS[workflow].inputs) - {*meanings.SELECTING, "plan_digest"}
    return {**{name: run.inputs[name] for name in run.inputs if name in taken}, "hosts": hosts}


def _require_execution(name: str, run: Run, remedy: str) -> None:
    """Refuse to begin a run by what is kept of one, which others in the project can make."""
    if run.kept:
        raise BadInput(
            name, f"Mistral has {run.id} no more, and what is kept of it is to be read.", remedy
        )
