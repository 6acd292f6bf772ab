# SPDX-License-Identifier: Apache-2.0
"""What is true of the hosts and the trusts, against what a run says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from openstack.connection import Connection

from lab.hosts.access import Host
from lab.settings import LabSettings
from novadocker_client import hosts as novadocker_hosts
from novadocker_client.connection import Cloud
from novadocker_client.runs import SUCCESS, Run
from tests.lab.proofs.faults import AGGREGATE

OURS = ("novadocker: ", "novadocker failed: ")
_PARTS = """
test -e /etc/nova/nova-compute.conf.d/90-novadocker.conf && echo drop-in
systemctl is-active --quiet docker.service && echo engine
{venv}/bin/python -c 'import novadocker' 2>/dev/null && echo driver
true
"""
# What a host has that is a whole Docker hypervisor, and what disturbs one of another kind.
WHOLE = frozenset({"drop-in", "engine", "driver", "aggregate", "docker"})
OF_DOCKER = frozenset({"drop-in", "aggregate", "docker"})


@dataclass(frozen=True)
class Compute:
    """A compute host as it is.

    :param parts: what it has of what makes a Docker hypervisor
    :param reason: why it is out of service
    """

    name: str
    parts: frozenset[str]
    up: bool
    enabled: bool
    reason: str

    @property
    def is_docker(self) -> bool:
        """Whether it is a whole Docker hypervisor."""
        return self.parts == WHOLE and self.up

    @property
    def is_other(self) -> bool:
        """Whether it is a whole hypervisor of another kind; what was staged disturbs nobody."""
        return self.up and not self.parts & OF_DOCKER

    def is_as_wanted(self, workflow: str) -> bool:
        """Return whether it is what a workflow makes of it."""
        return self.is_docker if workflow == "deploy" else self.is_other


def look(cloud: Connection, hosts: Mapping[str, Host], settings: LabSettings) -> dict[str, Compute]:
    """Return the compute hosts as they are, by name."""
    aggregate = cloud.compute.find_aggregate(AGGREGATE)
    members = set(aggregate.hosts or ()) if aggregate else set()
    script = _PARTS.format(venv=settings.openstack_venv)
    computes = {}
    for known in novadocker_hosts.listed(Cloud(cloud)).hosts:
        if not known.status:
            continue
        parts = {*hosts[known.name].run(["bash", "-c", script]).stdout.split()}
        parts |= {"aggregate"} if known.name in members else set()
        parts |= {"docker"} if known.is_docker else set()
        computes[known.name] = Compute(
            known.name,
            frozenset(parts),
            known.state == "up",
            known.status == "enabled",
            known.reason,
        )
    return computes


def violations(computes: Mapping[str, Compute], run: Run) -> list[str]:
    """Return what is not as it has to be after a run, whatever it met."""
    wrong = []
    for host in computes.values():
        if host.enabled and not (host.is_docker or host.is_other):
            wrong.append(f"{host.name} is in service and not whole: {host}")
        if not host.enabled and not host.reason.startswith(OURS):
            wrong.append(f"{host.name} is out of service, and it is not told why: {host}")
    if run.state == SUCCESS and run.report.state in ("failed", "refused"):
        wrong.append(f"the run is a success, and its report is {run.report.state}")
    for row in run.report.rows:
        if run.state == SUCCESS and row.role != "compute" and row.state in ("failed", "unknown"):
            wrong.append(f"the run is a success, and the controller {row.host} is {row.state}")
        compute = computes.get(row.host)
        if compute is None or row.role != "compute":
            continue
        as_told = compute.is_as_wanted(run.workflow) and compute.enabled
        if row.state in ("ok", "unchanged") and run.workflow != "verify" and not as_told:
            wrong.append(f"{row.host} is told to be {row.state}, and is {compute}")
        if row.rolled_back and not (compute.is_docker or compute.is_other):
            wrong.append(f"{row.host} is told to be as it was, and is {compute}")
        if row.state == "failed" and not row.reason:
            wrong.append(f"{row.host} failed, and it is not told why")
    return wrong


def trusts_left(cloud: Connection) -> list[str]:
    """Return the trusts that the administrator's runs have left, each of which ends by itself."""
    trustor = {"trustor_user_id": cloud.current_user_id}
    trusts = cloud.identity.get("/OS-TRUST/trusts", params=trustor).json()["trusts"]
    return [str(trust["id"]) for trust in trusts if trust.get("expires_at")]
