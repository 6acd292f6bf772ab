# SPDX-License-Identifier: Apache-2.0
"""Horizon's own test settings, with the plug-in switched on as an operator does it."""

from __future__ import annotations

import pathlib

import openstack_dashboard.enabled
from horizon.test.settings import *  # noqa: F403
from openstack_dashboard.test.settings import *  # noqa: F403
from openstack_dashboard.test.settings import HORIZON_CONFIG
from openstack_dashboard.utils import settings as settings_utils

import novadocker_dashboard.enabled

SNIPPETS = "local_settings.d"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django.contrib.messages",
    "django.contrib.humanize",
    "openstack_auth",
    "compressor",
    "horizon",
    "openstack_dashboard",
]
settings_utils.update_dashboards(
    [openstack_dashboard.enabled, novadocker_dashboard.enabled], HORIZON_CONFIG, INSTALLED_APPS
)
for snippet in sorted(
    (pathlib.Path(novadocker_dashboard.__file__).parent / SNIPPETS).glob("_*.py")
):
    # As Horizon's own settings do it.
    exec(snippet.read_text())
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
POLICY_CHECK_FUNCTION = "openstack_auth.policy.check"
# Styles are Horizon's: to compile them takes longer than all tests.
COMPRESS_ENABLED = False
