# SPDX-License-Identifier: Apache-2.0
"""What all actions share."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, TypeVar, dataclass_transform

from mistral_lib import actions

from novadocker_actions import errors
from novadocker_actions.cloud import clients

#: How long actions bear services that are away.
PATIENCE_S = 90

Action = TypeVar("Action", bound="NovadockerAction")


@dataclass_transform(eq_default=False)
def action(cls: type[Action]) -> type[Action]:
    """Make the annotated fields of a class the inputs of an action.

    The class gets no ``repr``: Mistral puts that of an action that fails into its log.
    """
    return dataclass(eq=False, repr=False)(cls)


class NovadockerAction(actions.Action):
    """An action of this bundle.

    Constructor arguments are JSON: Mistral sends an action's attributes to its executors. A refusal
    becomes an error result that is an object, which workflows do not try again; any other error is
    text, which they do, for it may be a service's bad moment or a lost executor.
    """

    #: The workflow's settings; in them the trust with which a run outlives an executor.
    settings: dict[str, Any]

    @property
    def patience_s(self) -> float:
        """How long it bears services that are away, all its requests together."""
        return PATIENCE_S

    def run(self, context: Any) -> Any:
        """Run the action.

        :param context: Mistral's action context
        :return: data for the workflow, or an error result
        """
        try:
            trust_id = self.settings.get("trust_id", "")
            return self.act(clients.connect(context, trust_id, self.patience_s))
        except errors.Refused as err:
            return actions.Result(error=err.to_dict())

    @abstractmethod
    def act(self, cloud: clients.Cloud) -> Any:
        """Do the work.

        :param cloud: the cloud's services as the caller
        """


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
