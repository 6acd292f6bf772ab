# SPDX-License-Identifier: Apache-2.0
"""What users read among the events of an action, where it went another way than they asked."""

import traceback

from nova import exception, objects
from oslo_log import log as logging

from novadocker.types import Context, Instance

LOG = logging.getLogger(__name__)


def tell(context: Context, instance: Instance, host: str, event: str, fault: Exception) -> None:
    """Write an event with an error into the action that goes on.

    :param event: name of it
    :param fault: one of Nova's has a message for users; of any other they see the name
    """
    where = (context, instance.uuid, event)
    try:
        objects.InstanceActionEvent.event_start(*where, want_result=False, host=host)
        objects.InstanceActionEvent.event_finish_with_failure(
            *where,
            exc_val=fault,
            # Without one, all went well.
            exc_tb="".join(traceback.format_exception(fault)),
            want_result=False,
        )
    except exception.InstanceActionNotFound:
        LOG.debug("There is no action to tell of: %s", fault, instance=instance)
