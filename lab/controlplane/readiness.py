# SPDX-License-Identifier: Apache-2.0
"""Waiting until the cloud answers, by asking it: no step of the lab sleeps for a guessed time."""

from __future__ import annotations

import datetime
import functools
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from typing import TypeVar

import keystoneauth1.exceptions
import openstack.exceptions
from openstack.connection import Connection

from lab.client import connection as operator
from lab.controlplane.site import APIS
from lab.errors import HostError, LabError
from lab.settings import OVN, OVS, LabSettings

# Services report each 10 s: an older report is one of before the lab was stopped.
FRESH_S = 25
# Far more than it takes: the machine may have other work to do.
READY_S = 900
# As Neutron calls what wires a host's ports.
AGENT_TYPES = {OVS: "Open vSwitch agent", OVN: "OVN Controller agent"}
NOT_READY = (
    LabError,
    OSError,
    keystoneauth1.exceptions.ClientException,
    openstack.exceptions.SDKException,
)


T = TypeVar("T")


class NotReadyError(HostError):
    """Something of the cloud does not answer yet."""


def wait_ready(settings: LabSettings, timeout_s: float = READY_S) -> None:
    """Return when all APIs, services and agents of the plan's hosts work.

    :raises HostError: naming what is missing, when the time is over
    """
    deadline = time.monotonic() + timeout_s
    address = settings.controller.address
    for api in APIS:
        _until(deadline, functools.partial(check_api, f"http://{address}:{api.port}/"))
    connection: Connection = _until(deadline, lambda: operator.connect(settings))
    hosts = {host.name for host in settings.computes}
    checks: tuple[Callable[[], None], ...] = (
        lambda: check_workflows(connection),
        lambda: check_orchestration(connection),
        lambda: check_agents(connection, hosts, settings.networking),
        lambda: check_compute(connection, hosts),
    )
    for check in checks:
        _until(deadline, check)


def _until(deadline: float, attempt: Callable[[], T]) -> T:
    while True:
        try:
            return attempt()
        except NOT_READY as err:
            if time.monotonic() > deadline:
                raise HostError(
                    f"the cloud is not ready: {err}; see: python -m lab logs controller"
                ) from err
        time.sleep(0.3)


def check_api(url: str) -> None:
    """Raise NotReadyError unless an API answers."""
    try:
        with urllib.request.urlopen(url, timeout=10):
            return
    except urllib.error.HTTPError as err:
        # Without a token some say 401, and a list of versions is a 300.
        if err.code < 500:
            return
        raise NotReadyError(f"{url}: HTTP status {err.code}") from err
    except OSError as err:
        raise NotReadyError(f"{url}: {err}") from err


def check_workflows(connection: Connection) -> None:
    """Run an action through Mistral's engine and executor."""
    # A synchronous action is answered by the engine when the executor has run it.
    answer = connection.workflow.post(
        "/action_executions",
        json={"name": "std.noop", "params": '{"run_sync": true, "save_result": false}'},
        timeout=30,
    )
    if answer.status_code >= 400:
        raise NotReadyError(f"Mistral cannot run an action: HTTP status {answer.status_code}")


def check_orchestration(connection: Connection) -> None:
    """Raise NotReadyError unless Heat's engine answers."""
    answer = connection.orchestration.get("/services", timeout=30)
    if answer.status_code >= 400:
        raise NotReadyError(f"Heat's engine does not answer: HTTP status {answer.status_code}")


def check_agents(connection: Connection, hosts: Iterable[str], networking: str) -> None:
    """Raise NotReadyError unless what wires the ports of each host has reported just now."""
    kind = AGENT_TYPES[networking]
    fresh = {
        agent.host
        for agent in connection.network.agents(agent_type=kind)
        if agent.is_alive and age_s(agent.last_heartbeat_at) < FRESH_S
    }
    _require(f"the {kind}", hosts, fresh)


def check_compute(connection: Connection, hosts: Iterable[str]) -> None:
    """Raise NotReadyError unless Nova's services have reported just now."""
    fresh = {
        (service.binary, service.host)
        for service in connection.compute.services()
        if service.state == "up" and age_s(service.updated_at) < FRESH_S
    }
    for binary in ("nova-conductor", "nova-scheduler"):
        if not any(binary == there for there, _ in fresh):
            raise NotReadyError(f"{binary} does not report")
    _require("nova-compute", hosts, {host for there, host in fresh if there == "nova-compute"})


def age_s(reported: str | None) -> float:
    """Return how long ago a service's report was made, in seconds (times are UTC)."""
    if not reported:
        return float("inf")
    moment = datetime.datetime.fromisoformat(reported)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return (datetime.datetime.now(datetime.UTC) - moment).total_seconds()


def _require(what: str, hosts: Iterable[str], fresh: set[str]) -> None:
    missing = sorted(set(hosts) - fresh)
    if missing:
        raise NotReadyError(f"{what} does not report on: {', '.join(missing)}")
