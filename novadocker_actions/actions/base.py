# SPDX-License-Identifier: Apache-2.0
"""What all actions share."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar, dataclass_transform

from mistral_lib import actions

from novadocker_actions import errors
from novadocker_actions.cloud import clients, pages
from novadocker_actions.plan import rows

# How long actions bear services that are away. It is the only measure of that: workflows repeat
# an action for no other reason than that its executor was lost.
PATIENCE_S = 90
# How long those bear it that are in the middle of a change: as long as an upgrade of a service.
LONG_PATIENCE_S = 900

# What ends an action, and is not mended by its being tried again.
Fault = errors.Refused | errors.CloudError | errors.PageLost
Action = TypeVar("Action", bound="NovadockerAction")


@dataclass_transform(eq_default=False)
def action(cls: type[Action]) -> type[Action]:
    """Make the annotated fields of a class the inputs of an action.

    The class gets no ``repr``: Mistral puts that of an action that fails into its log.
    """
    return dataclass(eq=False, repr=False)(cls)


class NovadockerAction(actions.Action):
    """An action of this bundle.

    Constructor arguments are JSON: Mistral sends an action's attributes to its executors. A
    refusal, and what a service answered at last, become an error result that is an object, which
    workflows do not try again; any other error is text, which they do: it may be a lost executor.
    """

    # The workflow's settings; in them the trust with which a run outlives an executor.
    settings: dict[str, Any]
    # Of those that are about a batch of hosts: as they are, packed, or what names their page.
    rows: Any

    @property
    def patience_s(self) -> float:
        """Return how long an action bears services that are away, all its requests together."""
        return PATIENCE_S

    def run(self, context: Any) -> Any:
        """Run the action.

        :param context: Mistral's action context
        :return: data for the workflow, or an error result
        """
        try:
            # Who begins a run has no settings yet.
            trust_id = getattr(self, "settings", {}).get("trust_id", "")
            cloud = clients.connect(context, trust_id, self.patience_s)
            if isinstance(getattr(self, "rows", None), dict):
                self.rows = pages.read(cloud.workflow, self.rows)
            return self.act(cloud)
        except (errors.Refused, errors.CloudError, errors.PageLost) as err:
            if isinstance(getattr(self, "rows", None), dict):
                # Its page was not read: who the hosts are is not known, and their batch is lost.
                return actions.Result(error=err.to_dict())
            return self.failed(err)

    def failed(self, fault: Fault) -> Any:
        """Return what a workflow is given when the action could not be done.

        :param fault: a refusal, what a service answered at last, or that a page is lost
        """
        return actions.Result(error=fault.to_dict())

    @abstractmethod
    def act(self, cloud: clients.Cloud) -> Any:
        """Do the work.

        :param cloud: the cloud's services as the caller
        """


class ChangingAction(NovadockerAction):
    """An action on hosts in the middle of a change.

    A service that stays away for too long is no host's fault: hosts are given back as unknown, and
    the run goes on with what it can still do for them.
    """

    # Name of the task, for the reason.
    task: ClassVar[str] = ""

    @property
    def patience_s(self) -> float:
        """Return how long an action bears services that are away, all its requests together."""
        return LONG_PATIENCE_S

    def failed(self, fault: Fault) -> Any:
        """Return the hosts, those that were well until now as unknown."""
        host_rows = rows.read(self.rows)
        for row in host_rows:
            if row.ok or row.pending is not None:
                row.lose(self.task, str(fault))
        return rows.batch(host_rows)


class PlainAction(NovadockerAction):
    """An action that only computes: it asks no service."""

    def run(self, context: Any) -> Any:
        """Run the action without a connection to the cloud."""
        del context
        try:
            return self.compute()
        except errors.Refused as err:
            return actions.Result(error=err.to_dict())

    def act(self, cloud: clients.Cloud) -> Any:
        """Do the work."""
        del cloud
        return self.compute()

    @abstractmethod
    def compute(self) -> Any:
        """Return the result."""
