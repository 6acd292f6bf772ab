# SPDX-License-Identifier: Apache-2.0
"""The tests' settings for a browser: Horizon's styles are compiled at the first page."""

from __future__ import annotations

import os

from openstack_dashboard.theme_settings import get_theme_static_dirs

from tests.settings import *  # noqa: F403
from tests.settings import AVAILABLE_THEMES, ROOT_PATH, STATICFILES_DIRS, THEME_COLLECTION_DIR

ALLOWED_HOSTS = ["127.0.0.1"]
COMPRESS_ENABLED = True
COMPRESS_OFFLINE = False
# As Horizon's own settings have it, and those of its tests have not.
COMPRESS_OUTPUT_DIR = "dashboard"
COMPRESS_PRECOMPILERS = (("text/scss", "horizon.utils.scss_filter.ScssFilter"),)
COMPRESS_FILTERS = {"css": ("compressor.filters.css_default.CssAbsoluteFilter",), "js": ()}
STATICFILES_DIRS = [
    *STATICFILES_DIRS,
    *get_theme_static_dirs(AVAILABLE_THEMES, THEME_COLLECTION_DIR, ROOT_PATH),
]
# Where they are put.
STATIC_ROOT = COMPRESS_ROOT = os.environ["NOVADOCKER_STATIC"]
