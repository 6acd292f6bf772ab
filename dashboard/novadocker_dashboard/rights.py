# SPDX-License-Identifier: Apache-2.0
"""Who may do what, by the policies of the services that do it.

Each is asked for the button and again when the button is pressed. Where Horizon has no policy of a
service it allows all, and the service itself decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest
from horizon import exceptions
from openstack_dashboard import policy

Rules = tuple[tuple[str, str], ...]

_LOOK: Rules = (
    ("compute", "os_compute_api:os-hypervisors:list-detail"),
    ("compute", "os_compute_api:os-services:list"),
)
_CREATE: Rules = (("workflow", "executions:create"),)
_SERVICES: Rules = (("compute", "os_compute_api:os-services:update"),)

# Hosts and runs.
SEE: Rules = (*_LOOK, ("workflow", "executions:list"))
# Runs that change nothing, and those that take hosts out of service.
PLAN: Rules = (*_LOOK, *_CREATE)
CHANGE: Rules = (*_LOOK, *_CREATE, *_SERVICES)
# What asks a run to stop is an environment; one that is paused goes on, and one is cut off.
STOP: Rules = (*_LOOK, ("workflow", "executions:update"), ("workflow", "environments:create"))
# What approves a batch is an environment as well.
APPROVE: Rules = (*_LOOK, ("workflow", "environments:create"))
# Containers.
LIST: Rules = (("compute", "os_compute_api:servers:detail"),)
BOOT: Rules = (("compute", "os_compute_api:servers:create"),)
LOG: Rules = (("compute", "os_compute_api:os-console-output"),)
START: Rules = (("compute", "os_compute_api:servers:start"),)
HALT: Rules = (("compute", "os_compute_api:servers:stop"),)
REBOOT: Rules = (("compute", "os_compute_api:servers:reboot"),)
UPLOAD: Rules = (("image", "add_image"), ("image", "upload_image"))


def may(request: HttpRequest, rules: Rules, target: Mapping[str, Any] | None = None) -> bool:
    """Return whether the request's user may do what these rules are about.

    :param target: the thing that it is done to, as the service's policy names its fields; by
        default one of the user's own project
    """
    return bool(policy.check(rules, request, dict(target or {})))


def require(request: HttpRequest, rules: Rules) -> None:
    """Require that the request's user may do it.

    :raises NotAuthorized: of Horizon's, which answers 403 with a page that says so
    """
    if not may(request, rules):
        raise exceptions.NotAuthorized("The policy of a service does not allow it.")
