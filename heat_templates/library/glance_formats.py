# SPDX-License-Identifier: Apache-2.0
"""What is asked of Glance in its own Python; like the other probes it is sent there as text."""

from __future__ import annotations

from typing import Any


def glance_formats(program: str, *arguments: str) -> dict[str, Any]:
    """Return the container formats that Glance accepts, which file says so, and where it looks.

    Read as glance-api does at its start: by its command line, or under WSGI by its environment.
    """
    import os
    import sys

    sys.argv = [program]
    from glance.common import config  # noqa: F401 - registers the options
    from oslo_config import cfg
    from oslo_log import log

    if os.path.basename(program) == "glance-api":
        log.register_options(cfg.CONF)
        cfg.CONF(list(arguments), project="glance", prog="glance-api")
    else:
        from glance.common import wsgi_app

        files = wsgi_app._get_config_files()
        cfg.CONF([], project="glance", prog="glance-api", default_config_files=files)
    told = cfg.CONF.get_location("container_formats", "image_format")
    return {
        "formats": list(cfg.CONF.image_format.container_formats),
        "set_by": told.detail if told is not None and told.location.is_user_controlled else "",
        "directories": list(cfg.CONF.config_dirs),
    }
