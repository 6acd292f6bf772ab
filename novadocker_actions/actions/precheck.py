# SPDX-License-Identifier: Apache-2.0
"""The action that looks at services and hosts through the cloud's APIs alone."""

from __future__ import annotations

from typing import Any

from novadocker_actions.actions.base import NovadockerAction, action
from novadocker_actions.cloud import apis, nova, pages
from novadocker_actions.cloud.clients import Cloud
from novadocker_actions.errors import CloudError
from novadocker_actions.plan import order, rows
from novadocker_actions.plan.rows import HostRow


@action
class CheckCloud(NovadockerAction):
    """Find what the cloud's own APIs show to be in the way, of all hosts, enrolled or not.

    :param selected: from select_hosts
    :param settings: the workflow's
    """

    selected: dict[str, Any]
    settings: dict[str, Any]

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return what was selected, with what was found of its hosts, and findings of services."""
        told = apis.findings(cloud, self.settings["trust_id"])
        services = {item["host"]: item for item in nova.services(cloud.compute)}
        shown = nova.by_host(cloud.compute)
        try:
            dead = apis.dead_agents(cloud)
        except CloudError:
            # That Neutron does not answer is told as a finding of its own.
            dead = {}
        run_id, changed = self.settings["run_id"], {}
        for name in ("pages", "apart"):
            host_rows = [
                HostRow.from_dict(row)
                for page in self.selected[name]
                for row in pages.read(cloud.workflow, page)
            ]
            for row in host_rows:
                if row.role == "compute":
                    service, items = services.get(row.host, {}), shown.get(row.host, [])
                    row.findings += _of_host(service, items, dead.get(row.host, []))
                    if name == "apart":
                        # Of the others, their own descriptions say as what their instances live.
                        order.note_occupied(row)
            cut = order.by_host(rows.write(host_rows))
            changed[name] = pages.keep(cloud.workflow, run_id, cut)
        return {"selected": {**self.selected, **changed}, "findings": told}


def _of_host(service: dict[str, Any], shown: list[dict[str, Any]], dead: list[str]) -> list[str]:
    told = []
    if service.get("state") != "up":
        told.append("Nova shows its compute service down")
    elif nova.left_out_by(service):
        told.append(f"out of service: {service['disabled_reason']}; recover or deploy it")
    if not shown:
        told.append("Nova has no hypervisor for it")
    told += [f"{binary} of Neutron is not alive there" for binary in dead]
    return told
