# SPDX-License-Identifier: Apache-2.0
"""Deletion of an instance while something else is done with it.

Nova takes a lock to build an instance and to delete it, and none for what takes long in between: a
user who deletes a server that is being rescued, resized, rebooted or started is heard at once, and
what was under way would leave containers that nobody knows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from nova import context as nova_context
from nova import exception, objects
from nova.compute import task_states
from oslo_log import log as logging

from novadocker.types import Context, Instance, NetworkInfo
from novadocker.virt.docker.parts import Parts

LOG = logging.getLogger(__name__)


@contextlib.contextmanager
def heeded(
    parts: Parts, context: Context, instance: Instance, network_info: NetworkInfo
) -> Iterator[None]:
    """Remove all that there is of an instance at the end, where its user has deleted it meanwhile.

    Nova says so in its database before it asks for the deletion: whoever is not deleted by now is
    deleted whole by what comes.
    """
    try:
        yield
    finally:
        if _is_deleted(instance):
            LOG.warning("It was deleted meanwhile: removing what there is", instance=instance)
            parts.consoles.close(instance.uuid)
            parts.instances.destroy(instance, network_info or [], quiet=True, aside=True)
            parts.migrations.forget_left(context, instance)


def _is_deleted(instance: Instance) -> bool:
    try:
        stored = objects.Instance.get_by_uuid(nova_context.get_admin_context(), instance.uuid)
    except exception.InstanceNotFound:
        return True
    except Exception as err:  # noqa: BLE001 - of Nova's database or its messages
        LOG.warning("Whether it was deleted meanwhile is not known: %s", err, instance=instance)
        return False
    return bool(stored.task_state == task_states.DELETING)
