# SPDX-License-Identifier: Apache-2.0
"""The panel."""

from __future__ import annotations

import horizon
from django.utils.translation import gettext_lazy as _

from novadocker_dashboard import rights


class DockerHosts(horizon.Panel):
    """Hosts and runs, for administrators."""

    name = _("Docker hosts")
    slug = "docker_hosts"
    permissions = ("openstack.services.compute", "openstack.services.workflowv2")
    # Horizon lets whoever one of them allows see it: these count together.
    policy_rules = (rights.SEE,)
