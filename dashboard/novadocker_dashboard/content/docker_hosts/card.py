# SPDX-License-Identifier: Apache-2.0
"""What Horizon's own Admin > Overview shows of Docker hosts: the last run, and hypervisors by type.

That page is Horizon's, and is whole without this: whatever goes wrong here is told in the card.
"""

from __future__ import annotations

import logging
from typing import Any

import horizon
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.translation import gettext as _

from novadocker_client import hosts
from novadocker_client.connection import Cloud
from novadocker_client.errors import ClientError
from novadocker_client.runs import Runs
from novadocker_dashboard import cloud

LOG = logging.getLogger(__name__)

# Nobody has come to that page for the card alone.
TIMEOUT_S = 5
# Horizon's own styles, by outcome.
_STYLES = {
    **dict.fromkeys(("done", "unchanged", "planned", "ready"), "success"),
    **dict.fromkeys(("partial", "drift", "findings", "stopped", "waiting", "paused"), "warning"),
    **dict.fromkeys(("failed", "refused"), "danger"),
}


def html(request: HttpRequest) -> str:
    """Return the card, "" where the user does not see the panel of Docker hosts."""
    try:
        return _drawn(_told(cloud.of(request, timeout_s=TIMEOUT_S))) if _is_for(request) else ""
    except Exception:
        # An error of ours, in which what hosts tell has a part, would take Horizon's page with it.
        LOG.exception("The card of Docker hosts on Admin > Overview cannot be made")
        return _drawn({"faults": [_("Docker hosts cannot be shown: see Horizon's log.")]})


def _drawn(told: dict[str, Any]) -> str:
    text: str = render_to_string("novadocker/docker_hosts/_card.html", told)
    # What cannot be sent is to fail here, and not with the page.
    text.encode()
    return text


def _is_for(request: HttpRequest) -> bool:
    try:
        panel = horizon.get_dashboard("admin").get_panel("docker_hosts")
    except horizon.base.NotRegistered:
        return False
    return bool(
        request.user.has_perms(panel.permissions) and panel.can_access({"request": request})
    )


def _told(user_cloud: Cloud) -> dict[str, Any]:
    told: dict[str, Any] = {"faults": []}
    try:
        runs = Runs(user_cloud)
        last = next(iter(runs.list(limit=1)), None)
        told["run"] = last and runs.waiting(last)
        told["style"] = _STYLES.get(told["run"].outcome, "default") if last else ""
        told["looked"] = True
    except ClientError as err:
        told["faults"].append(str(err))
    try:
        told["types"] = sorted(hosts.types(user_cloud).items())
    except ClientError as err:
        told["faults"].append(str(err))
    return told
