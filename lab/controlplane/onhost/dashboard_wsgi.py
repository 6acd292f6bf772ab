# SPDX-License-Identifier: Apache-2.0
"""Horizon with its static files, as the one application that ``serve_wsgi.py`` serves."""

from __future__ import annotations

from django.conf import settings
from openstack_dashboard.wsgi import application as horizon
from whitenoise import WhiteNoise

application = WhiteNoise(horizon, root=settings.STATIC_ROOT, prefix=settings.STATIC_URL)
