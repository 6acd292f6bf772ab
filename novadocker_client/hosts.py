# SPDX-License-Identifier: Apache-2.0
"""Compute hosts and controllers: what Nova knows of them, and how they are enrolled in Heat."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import heatclient.exc
from openstack.exceptions import raise_from_response

from novadocker_client.connection import COMPUTE_MICROVERSION, HEAT, NOVA, Cloud
from novadocker_client.errors import ClientError, NotFound, asking

# What Nova calls a Docker hypervisor.
DOCKER = "docker"
# Tag of the stacks that hold enrolled hosts, and what their names begin with.
STACK_TAG = "novadocker-hosts"
STACK_PREFIX = "novadocker-hosts-"
# How the reason begins for which runs take a host out of service, or leave it so.
_REASONS = ("novadocker: ", "novadocker failed: ")
_RUN_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Enrolment:
    """A host's enrolment.

    :param pool: its pool, or the stack's name where it is of another kind
    :param roles: what the host is: controller, glance, compute
    :param mailbox: Heat's state of the last message to it, "" where it is not known
    :param answered_at: when that state changed, as Heat tells it
    """

    pool: str
    roles: tuple[str, ...] = ()
    server_id: str = ""
    deployment_id: str = ""
    mailbox: str = ""
    answered_at: str = ""


@dataclass(frozen=True)
class Host:
    """A host.

    :param hypervisor_type: what Nova tells, "" where it has no hypervisor for it
    :param instances: how many there are on it, whoever they belong to
    :param state: of its compute service: up or down, "" where it has none
    :param status: of its compute service: enabled or disabled
    :param reason: why it is out of service
    :param enrolment: None where it is not enrolled, or that is not known
    """

    name: str
    hypervisor_type: str = ""
    hypervisor_version: str = ""
    instances: int = 0
    state: str = ""
    status: str = ""
    reason: str = ""
    availability_zone: str = ""
    enrolment: Enrolment | None = None

    @property
    def is_docker(self) -> bool:
        """Return whether the host is a Docker hypervisor."""
        return self.hypervisor_type == DOCKER

    @property
    def run_id(self) -> str:
        """Return the run that has taken the host out of service, "" where none has."""
        if self.status != "disabled" or not self.reason.startswith(_REASONS):
            return ""
        match = _RUN_ID.search(self.reason)
        return match.group() if match else ""


@dataclass(frozen=True)
class Listing:
    """Hosts, and what could not be learned of them.

    :param faults: services that did not answer; what they know is missing in the hosts
    """

    hosts: tuple[Host, ...] = ()
    faults: tuple[ClientError, ...] = field(default=())


def listed(cloud: Cloud) -> Listing:
    """Return all hosts by name, those that Nova knows and those that are enrolled.

    Nova is asked twice, and Heat twice and once a pool, however many hosts there are.

    :raises ClientError: when Nova does not tell; that Heat does not is told in the listing
    """
    hosts = {host.name: host for host in _computes(cloud)}
    faults: list[ClientError] = []
    try:
        for name, enrolment in _enrolled(cloud):
            hosts[name] = replace(hosts.get(name, Host(name)), enrolment=enrolment)
    except ClientError as err:
        faults.append(err)
    return Listing(tuple(hosts[name] for name in sorted(hosts)), tuple(faults))


def get(cloud: Cloud, name: str) -> Host:
    """Return a host.

    :raises NotFound: when neither Nova nor Heat knows it
    """
    listing = listed(cloud)
    for host in listing.hosts:
        if host.name == name:
            return host
    told = ["it has no compute service, nor is it enrolled", *map(str, listing.faults)]
    raise NotFound(NOVA, f"know the host {name}", "; ".join(told))


def disabled_by(cloud: Cloud, run_id: str) -> list[str]:
    """Return the hosts that a run has taken out of service and not put back.

    :raises ClientError: when Nova does not tell
    """
    return sorted(host.name for host in _computes(cloud) if host.run_id == run_id)


def types(cloud: Cloud) -> Mapping[str, int]:
    """Return how many hypervisors Nova has of each type.

    :raises ClientError: when Nova does not tell
    """
    return Counter(str(item.get("hypervisor_type") or "") for item in _hypervisors(cloud))


def _hypervisors(cloud: Cloud) -> list[Mapping[str, Any]]:
    with asking(NOVA, "list hypervisors"):
        return list(_records(cloud, "/os-hypervisors/detail", "hypervisors"))


def _computes(cloud: Cloud) -> Iterator[Host]:
    hypervisors = {
        str(item["service"]["host"]): item for item in _hypervisors(cloud) if item.get("service")
    }
    with asking(NOVA, "list compute services"):
        services = list(_records(cloud, "/os-services", "services", binary="nova-compute"))
    for known in services:
        item = hypervisors.get(str(known["host"]), {})
        yield Host(
            name=str(known["host"]),
            hypervisor_type=str(item.get("hypervisor_type") or ""),
            hypervisor_version=str(item.get("hypervisor_version") or ""),
            instances=int(item.get("running_vms") or 0),
            # Of a cell that does not answer, Nova tells no more than the name.
            state=str(known.get("state") or "unknown"),
            status=str(known.get("status") or "unknown"),
            reason=str(known.get("disabled_reason") or ""),
            availability_zone=str(known.get("zone") or ""),
        )


def _records(cloud: Cloud, path: str, key: str, **query: str) -> Iterator[Mapping[str, Any]]:
    # The SDK takes milliseconds to make an object of each of them, which is seconds for a thousand.
    nova = cloud.connection.compute
    marker: dict[str, str] = {}
    while True:
        answer = nova.get(path, params={**query, **marker}, microversion=COMPUTE_MICROVERSION)
        raise_from_response(answer)
        told = answer.json()
        yield from told[key]
        if not any(link.get("rel") == "next" for link in told.get(f"{key}_links") or ()):
            return
        marker = {"marker": str(told[key][-1]["id"])}


def _enrolled(cloud: Cloud) -> Iterator[tuple[str, Enrolment]]:
    with asking(HEAT, "list the stacks of enrolled hosts"):
        stacks = list(cloud.heat.stacks.list(tags=STACK_TAG))
    if not stacks:
        return
    with asking(HEAT, "list deployments"):
        deployments = {item.id: item.to_dict() for item in cloud.heat.software_deployments.list()}
    for stack in stacks:
        pool = str(stack.stack_name).removeprefix(STACK_PREFIX)
        for name, mailbox in _inventory(cloud, stack.identifier).items():
            deployment = deployments.get(mailbox.get("deployment_id"), {})
            yield (
                str(name),
                Enrolment(
                    pool=pool,
                    roles=tuple(map(str, mailbox.get("roles") or ())),
                    server_id=str(mailbox.get("server_id") or ""),
                    deployment_id=str(mailbox.get("deployment_id") or ""),
                    mailbox=str(deployment.get("status") or ""),
                    answered_at=str(
                        deployment.get("updated_time") or deployment.get("creation_time") or ""
                    ),
                ),
            )


def _inventory(cloud: Cloud, stack: str) -> Mapping[str, Mapping[str, Any]]:
    with asking(HEAT, f"show the hosts of the stack {stack}"):
        try:
            output = cloud.heat.stacks.output_show(stack, "inventory")
        except heatclient.exc.HTTPNotFound:
            # It is being made, or deleted at this moment.
            return {}
    return dict(output["output"].get("output_value") or {})
