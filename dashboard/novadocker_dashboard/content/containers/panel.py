# SPDX-License-Identifier: Apache-2.0
"""The panel."""

from __future__ import annotations

import horizon
from django.utils.translation import gettext_lazy as _

from novadocker_dashboard import rights


class Containers(horizon.Panel):
    """Containers, for whoever has some."""

    name = _("Containers")
    # Swift has a panel that is called by the shorter word.
    slug = "docker_containers"
    permissions = ("openstack.services.compute", "openstack.services.image")
    policy_rules = (rights.LIST,)
