# SPDX-License-Identifier: Apache-2.0
"""This host's service in Nova: out of scheduling while its engine is away, and back again.

As with Nova's libvirt driver, what an operator has disabled stays disabled, and only what was
disabled here is enabled here.
"""

from __future__ import annotations

from typing import Any

from nova import context as nova_context
from nova import exception, objects
from oslo_log import log as logging

LOG = logging.getLogger(__name__)

# By "AUTO:" Nova's own drivers mark what they have disabled by themselves.
PREFIX = "AUTO: Docker: "
# Of the column in Nova's database.
_MOST_CHARACTERS = 255


def disable(virtapi: Any, host: str, reason: str) -> None:
    """Take a host out of scheduling, unless it is.

    :param virtapi: Nova's way back into nova-compute
    :param reason: is shown by ``openstack compute service list --long``
    """
    _set(virtapi, host, (PREFIX + " ".join(reason.split()))[:_MOST_CHARACTERS])


def enable(virtapi: Any, host: str) -> None:
    """Put a host back into scheduling that was taken out by :func:`disable`."""
    _set(virtapi, host, None)


def _set(virtapi: Any, host: str, reason: str | None) -> None:
    context = nova_context.get_admin_context()
    try:
        service = objects.Service.get_by_compute_host(context, host)
    except exception.ComputeHostNotFound:
        LOG.debug("Nova does not know the service of %s yet", host)
        return
    except Exception as err:  # noqa: BLE001 - of the conductor, and of what carries its messages
        LOG.warning("Whether the service of %s is enabled is not known: %s", host, err)
        return
    ours = bool(service.disabled and (service.disabled_reason or "").startswith(PREFIX))
    if service.disabled and not ours:
        LOG.debug("The service of %s was disabled by an operator, and stays so", host)
        return
    if not service.disabled and reason is None:
        return
    service.disabled, service.disabled_reason = reason is not None, reason
    service.save()
    LOG.warning("The service is %s: %s", "disabled" if reason else "enabled", reason or "ready")
    try:
        virtapi.update_compute_provider_status(
            context, service.compute_node.uuid, enabled=not service.disabled
        )
    except Exception as err:  # noqa: BLE001 - of Placement's and Keystone's clients
        # The periodic update of the host's resources sets the trait as well.
        LOG.warning("Placement does not know it yet: %s", err)
