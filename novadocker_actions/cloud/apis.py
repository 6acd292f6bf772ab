# SPDX-License-Identifier: Apache-2.0
"""What the cloud's own APIs tell of whether a run can work, before any host is enrolled."""

from __future__ import annotations

from collections.abc import Callable

from oslo_config import cfg

from novadocker_actions.cloud import glance, messages, operators
from novadocker_actions.cloud.clients import Cloud
from novadocker_actions.errors import CloudError, NovadockerError

# What enrolment makes a stack of.
HEAT_TYPES = (
    "OS::Heat::DeployedServer",
    "OS::Heat::SoftwareConfig",
    "OS::Heat::SoftwareDeployment",
)
# What a run needs of a field of Mistral's.
FIELD_KB = 64


def findings(cloud: Cloud, trust_id: str) -> list[str]:
    """Return what is wrong with the services and the caller, each as a sentence.

    :param cloud: the services as the caller
    :param trust_id: with which the run outlives an executor, "" without one
    """
    told = []
    for name, check in _CHECKS.items():
        try:
            told += [f"{name}: {fault}" for fault in check(cloud)]
        except NovadockerError as err:
            told.append(f"{name}: {err}")
    if not trust_id:
        told.append(
            "Keystone: you cannot let Mistral's service user act for you, so a run ends with the "
            "first executor that is lost: start it with a password, or with an unrestricted "
            "application credential"
        )
    return told


def _caller(cloud: Cloud) -> list[str]:
    operators.require(cloud)
    return []


def _message_key(_cloud: Cloud) -> list[str]:
    messages.sign("a message to nobody")
    return []


def _mistral(cloud: Cloud) -> list[str]:
    # Pages of a large run are kept there.
    cloud.workflow.environments.list(fields=["name"])
    limit_kb = _field_limit_kb()
    if 0 <= limit_kb < FIELD_KB:
        return [
            f"[engine] execution_field_size_limit_kb is {limit_kb}, and a run needs {FIELD_KB}: "
            "raise it in mistral.conf"
        ]
    return []


def _field_limit_kb() -> int:
    try:
        return int(cfg.CONF.engine.execution_field_size_limit_kb)
    except cfg.Error:
        # Another release of Mistral, or none in this process.
        return FIELD_KB


def _nova(cloud: Cloud) -> list[str]:
    cloud.compute.get("/os-aggregates")
    return []


def _placement(cloud: Cloud) -> list[str]:
    if not cloud.placement.in_catalog():
        return ["the catalog has none for you, so builds that have only a claim are not seen"]
    cloud.placement.get("/traits", params={"name": "startswith:CUSTOM_"})
    return []


def _glance(cloud: Cloud) -> list[str]:
    glance.accepts_docker(cloud.image)
    return []


def _neutron(cloud: Cloud) -> list[str]:
    if not cloud.network.in_catalog():
        return ["the catalog has none for you, and containers get their networks from it"]
    dead_agents(cloud)
    return []


def _heat(cloud: Cloud) -> list[str]:
    known = {item.resource_type for item in cloud.orchestration.resource_types.list()}
    told, lacking = [], [name for name in HEAT_TYPES if name not in known]
    if lacking:
        told.append(
            f"it does not let you use {', '.join(lacking)}, and hosts are enrolled by these"
        )
    try:
        engines = list(cloud.orchestration.services.list())
    except CloudError as err:
        # Only administrators may see them.
        if err.status != 403:
            raise
        return told
    if not any(engine.status == "up" for engine in engines):
        told.append("none of its engines is up")
    return told


_CHECKS: dict[str, Callable[[Cloud], list[str]]] = {
    "Caller": _caller,
    "Key for messages": _message_key,
    "Mistral": _mistral,
    "Nova": _nova,
    "Placement": _placement,
    "Glance": _glance,
    "Neutron": _neutron,
    "Heat": _heat,
}


def dead_agents(cloud: Cloud) -> dict[str, list[str]]:
    """Return the agents of Neutron that are not alive, by host; none where that is not told.

    :param cloud: the services as the caller
    """
    if not cloud.network.in_catalog():
        return {}
    try:
        agents = cloud.network.get("/v2.0/agents")["agents"]
    except CloudError as err:
        # Some drivers of Neutron have none.
        if err.status not in (403, 404):
            raise
        return {}
    dead: dict[str, list[str]] = {}
    for agent in agents:
        if not agent.get("alive", True):
            dead.setdefault(str(agent["host"]), []).append(str(agent["binary"]))
    return dead
