# SPDX-License-Identifier: Apache-2.0
"""The command that tells where the dashboard is."""

from __future__ import annotations

import argparse
from typing import Any

from novadocker_client.errors import NotFound
from novadocker_client.osc import base

# Where the plug-in's pages are below the dashboard's own address.
PANEL = "admin/docker_hosts/"


class Show(base.ShowOne):
    """Show the address of the dashboard's page of Docker hosts."""

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Return the address."""
        url = self.cloud.dashboard_url()
        if not url:
            raise NotFound(
                "Keystone",
                "know a dashboard",
                "its catalog has no service of type dashboard. Runs are shown by: openstack "
                "docker run list",
            )
        return ("url",), (f"{url}/{PANEL}",)
