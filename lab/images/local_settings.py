# SPDX-License-Identifier: Apache-2.0
"""Horizon's settings on the controller, which its layer puts where an operator has them."""

from __future__ import annotations

STATE = "/var/lib/horizon"

# It is reached by its name, by its address, and through a port of the machine's loopback.
ALLOWED_HOSTS = ["*"]
LOCAL_PATH = STATE
STATIC_ROOT = f"{STATE}/static"
# Styles are made once, with the image.
COMPRESS_OFFLINE = True
OPENSTACK_KEYSTONE_URL = "http://controller:5000/v3"
# A session holds a token and a catalog: a cookie is too small for both.
SESSION_ENGINE = "django.contrib.sessions.backends.cache"
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
        "LOCATION": f"{STATE}/cache",
    }
}
# Services log to the journal.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}
