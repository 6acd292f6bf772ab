# SPDX-License-Identifier: Apache-2.0
"""The commands that make each service's schema, as data for onhost/migrate.py."""

from __future__ import annotations

import json
from typing import Any

from lab.controlplane.site import REGION, Cloud

ENTRY_POINTS = {
    "glance-manage": "glance.cmd.manage:main",
    "heat-manage": "heat.cmd.manage:main",
    "keystone-manage": "keystone.cmd.manage:main",
    "mistral-db-manage": "mistral.db.sqlalchemy.migration.cli:main",
    "neutron-db-manage": "neutron.db.migration.cli:main",
    "nova-manage": "nova.cmd.manage:main",
    "placement-manage": "placement.cmd.manage:main",
}
NEUTRON_FILES = ("/etc/neutron/neutron.conf", "/etc/neutron/plugins/ml2/ml2_conf.ini")
CELL_EXISTS = 2


def chains(cloud: Cloud) -> str:
    """Return the chains of commands by the user that runs them, as JSON.

    It holds the admin's password: to be passed by standard input only.
    """
    url = cloud.url("identity")
    neutron_files = [part for path in NEUTRON_FILES for part in ("--config-file", path)]
    return json.dumps(
        {
            # The longest chains first: there are fewer processors than chains.
            "neutron": [_command("neutron-db-manage", *neutron_files, "upgrade", "heads")],
            "keystone": [
                _command("keystone-manage", "fernet_setup"),
                _command("keystone-manage", "credential_setup"),
                _command("keystone-manage", "db_sync"),
                _command(
                    "keystone-manage",
                    "bootstrap",
                    "--bootstrap-password",
                    cloud.passwords["admin"],
                    "--bootstrap-region-id",
                    REGION,
                    "--bootstrap-public-url",
                    url,
                    "--bootstrap-internal-url",
                    url,
                    "--bootstrap-admin-url",
                    url,
                ),
            ],
            "nova": [
                _command("nova-manage", "api_db", "sync"),
                _command(
                    "nova-manage",
                    "cell_v2",
                    "map_cell0",
                    "--database_connection",
                    cloud.database("nova_cell0"),
                ),
                _command("nova-manage", "db", "sync"),
                _command(
                    "nova-manage",
                    "cell_v2",
                    "create_cell",
                    "--name",
                    "cell1",
                    accept=(0, CELL_EXISTS),
                ),
            ],
            "glance": [_command("glance-manage", "db_sync")],
            "heat": [_command("heat-manage", "db_sync")],
            "mistral": [_command("mistral-db-manage", "upgrade", "head")],
            "placement": [_command("placement-manage", "db", "sync")],
        }
    )


def _command(*argv: str, accept: tuple[int, ...] = (0,)) -> dict[str, Any]:
    return {"call": ENTRY_POINTS[argv[0]], "argv": argv, "accept": accept}
