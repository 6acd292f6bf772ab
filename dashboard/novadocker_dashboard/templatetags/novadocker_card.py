# SPDX-License-Identifier: Apache-2.0
"""The card of Docker hosts, for Horizon's own Admin > Overview."""

from __future__ import annotations

from django import template

from novadocker_dashboard.content.docker_hosts import card

register = template.Library()


@register.simple_tag(takes_context=True)
def novadocker_card(context: template.Context) -> str:
    """Return the card, which is none for who does not see the panel of Docker hosts."""
    request = context.get("request")
    return card.html(request) if request else ""
