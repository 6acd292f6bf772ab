# SPDX-License-Identifier: Apache-2.0
"""The card of Docker hosts, for Horizon's own Admin > Overview."""

from __future__ import annotations

from typing import Any

from django import template

from novadocker_dashboard.content.docker_hosts import card

register = template.Library()


@register.inclusion_tag("novadocker/docker_hosts/_card.html", takes_context=True)
def novadocker_card(context: template.Context) -> dict[str, Any]:
    """Return what the card shows."""
    request = context.get("request")
    return card.of(request) if request else {}
