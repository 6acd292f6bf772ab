# SPDX-License-Identifier: Apache-2.0
"""Commands that show hosts."""

from __future__ import annotations

import argparse
from typing import Any

from novadocker_client import hosts
from novadocker_client.hosts import Host
from novadocker_client.osc import base


class List(base.Lister):
    """List compute hosts and enrolled hosts."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser of its options."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("--docker", action="store_true", help="Only Docker hypervisors.")
        parser.add_argument("--disabled", action="store_true", help="Only those out of service.")
        parser.add_argument("--pool", metavar="NAME", help="Only those enrolled in this pool.")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Return the hosts."""
        listing = hosts.listed(self.cloud)
        for fault in listing.faults:
            base.tell(f"Not known is how hosts are enrolled: {fault}")
        columns = ("Name", "Type", "State", "Status", "Instances", "Pool", "Roles", "Reason")
        return columns, [
            (
                host.name,
                host.hypervisor_type,
                host.state,
                host.status,
                host.instances,
                host.enrolment.pool if host.enrolment else "",
                ", ".join(host.enrolment.roles) if host.enrolment else "",
                base.plain(host.reason),
            )
            for host in listing.hosts
            if _wanted(host, parsed_args)
        ]


def _wanted(host: Host, parsed_args: argparse.Namespace) -> bool:
    pool = host.enrolment.pool if host.enrolment else ""
    return (
        (host.is_docker or not parsed_args.docker)
        and (host.status == "disabled" or not parsed_args.disabled)
        and (pool == parsed_args.pool or not parsed_args.pool)
    )


class Show(base.ShowOne):
    """Show a host: its hypervisor, its service, its enrolment."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser of its options."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("host", metavar="HOST", help="Name of the host in Nova.")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Return the host."""
        host = hosts.get(self.cloud, parsed_args.host)
        enrolment = host.enrolment
        shown = {
            "name": host.name,
            "hypervisor_type": host.hypervisor_type,
            "hypervisor_version": host.hypervisor_version,
            "instances": host.instances,
            "state": host.state,
            "status": host.status,
            "reason": base.plain(host.reason),
            "run": host.run_id,
            "availability_zone": host.availability_zone,
            "pool": enrolment.pool if enrolment else "",
            "roles": ", ".join(enrolment.roles) if enrolment else "",
            "agent_answered_at": enrolment.answered_at if enrolment else "",
            "last_message": enrolment.mailbox if enrolment else "",
        }
        return tuple(shown), tuple(shown.values())
