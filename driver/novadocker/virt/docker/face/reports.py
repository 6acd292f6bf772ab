# SPDX-License-Identifier: Apache-2.0
"""Events of an action that tell the user where it went differently than asked for."""

from __future__ import annotations

import traceback

from nova import exception, objects
from oslo_log import log as logging

from novadocker.types import Context, Instance

LOG = logging.getLogger(__name__)

ENDED, ENDED_EVENT = "workload_ended", "compute_workload_ended"


def tell(context: Context, instance: Instance, host: str, event: str, fault: Exception) -> None:
    """Add an event with an error to the action that is under way.

    :param event: name of the event
    :param fault: of Nova's exceptions users see the message, of others the name only
    """
    where = (context, instance.uuid, event)
    try:
        objects.InstanceActionEvent.event_start(*where, want_result=False, host=host)
        objects.InstanceActionEvent.event_finish_with_failure(
            *where,
            exc_val=fault,
            # Without a traceback the event would count as a success.
            exc_tb="".join(traceback.format_exception(fault)),
            want_result=False,
        )
    except exception.InstanceActionNotFound:
        LOG.debug("There is no action to tell of: %s", fault, instance=instance)


def ended(context: Context, instance: Instance, host: str, reason: str, failed: bool) -> None:
    """Make an action that says why a workload has ended by itself.

    :param context: an administrator's; nobody has asked for it
    :param failed: whether it is an error
    """
    where = (context, instance.uuid, ENDED)
    objects.InstanceAction.action_start(*where, want_result=False)
    if failed:
        tell(context, instance, host, ENDED_EVENT, exception.NovaException(reason))
    else:
        event = (context, instance.uuid, ENDED_EVENT)
        objects.InstanceActionEvent.event_start(*event, want_result=False, host=host)
        objects.InstanceActionEvent.event_finish(*event, want_result=False)
    objects.InstanceAction.action_finish(context, instance.uuid, want_result=False)
