# SPDX-License-Identifier: Apache-2.0
"""Horizon's sidebar, so that keyboards and screen readers get through it."""

from __future__ import annotations

from django import template
from horizon.templatetags.horizon import horizon_nav

register = template.Library()
# What stands in it and who sees it is Horizon's; its template has links without an address.
register.inclusion_tag("novadocker/_sidebar.html", takes_context=True, name="novadocker_sidebar")(
    horizon_nav
)
