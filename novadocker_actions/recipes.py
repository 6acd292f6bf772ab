# SPDX-License-Identifier: Apache-2.0
"""The host steps that recipes are made of: which hosts each is for, and what a run gives it.

A recipe is a list of steps that a host runs in order for one message. Which steps, and in which
order, the workbook says for each group of nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from novadocker_actions import driver_wheel

COMPUTE_DRIVER = "novadocker.virt.docker.DockerDriver"
_LOG_OPTIONS = {"log-opts": {"max-size": "10m", "max-file": "3"}}
# Docker's own bridge and its iptables rules cut off Neutron's traffic (moby 39439, 50566), and a
# host that forwards packets routes between its networks. Instances have Neutron's ports, and
# controllers only pull and save images, so no engine of ours needs a network of its own.
_NO_NETWORK = {"bridge": "none", "iptables": False, "ip6tables": False, "ip-forward": False}
_ENGINE = {"live-restore": True, **_LOG_OPTIONS, **_NO_NETWORK}
# What an operator asks of such a network; as a host that has them in its own file, it keeps it.
_NETWORK_USERS = ("bip", "fixed-cidr", "fixed-cidr-v6", "default-gateway", "default-gateway-v6")


def _daemon(settings: dict[str, Any]) -> dict[str, Any]:
    given = settings["docker"]
    networked = given.get("icc") is False or any(given.get(key) for key in _NETWORK_USERS)
    left_out = _NO_NETWORK if networked or given.get("bridge", "none") != "none" else ()
    ours = {key: value for key, value in _ENGINE.items() if key not in left_out}
    return {**ours, **given}


def _engine(role: str, settings: dict[str, Any]) -> dict[str, Any]:
    users = ["nova"] if role == "compute" else []
    return {"daemon_settings": _daemon(settings), "users": users}


def _driver(_role: str, settings: dict[str, Any]) -> dict[str, Any]:
    places = {"url": settings["driver_url"] or "", "index": settings["driver_index"] or ""}
    return {**driver_wheel.settings(), **places}


def _compute(_role: str, _settings: dict[str, Any]) -> dict[str, Any]:
    return {"compute_driver": COMPUTE_DRIVER, "options": {}}


def _glance(_role: str, _settings: dict[str, Any]) -> dict[str, Any]:
    return {"container_formats_add": ["docker"]}


def _images(_role: str, settings: dict[str, Any]) -> dict[str, Any]:
    # Not all workflows that look for images set engines up.
    daemon = {"daemon_settings": _daemon(settings)} if "docker" in settings else {}
    return {"images": settings["images"], **daemon}


def _no_images(_role: str, _settings: dict[str, Any]) -> dict[str, Any]:
    return {"images": [], "wait_s": 0}


def _nothing(_role: str, _settings: dict[str, Any]) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class HostStep:
    """One idempotent piece of host work.

    :param name: of its script; the workbook calls it so as well
    :param roles: of the hosts that it is for
    :param settings: makes what it is given from a host's role and the workflow's settings
    """

    name: str
    roles: frozenset[str]
    settings: Callable[[str, dict[str, Any]], dict[str, Any]]


# What changes a host and can be undone: applied in this order, undone in the reverse.
CONVERTING_STEPS = (
    HostStep("install_docker", frozenset({"controller", "compute"}), _engine),
    HostStep("install_driver", frozenset({"compute"}), _driver),
    HostStep("configure_compute", frozenset({"compute"}), _compute),
    HostStep("configure_glance", frozenset({"glance"}), _glance),
)
# What only looks.
LOOKING_STEPS = (
    HostStep("describe_host", frozenset({"controller", "glance", "compute"}), _nothing),
    HostStep("check_images", frozenset({"controller"}), _images),
    HostStep("verify_host", frozenset({"compute"}), _no_images),
)
# What brings a host the package of steps that the others are run from.
PACKAGE = "install_package"
CONVERTING = frozenset(step.name for step in CONVERTING_STEPS)
# Steps that an upgrade is made of: Nova's driver, and the restart that loads it.
UPGRADING = ("install_driver", "configure_compute")
# Steps that restart what a host serves with, whatever the host itself says of it.
DISTURBING = frozenset({"configure_compute", "configure_glance"})
_BY_NAME = {step.name: step for step in (*CONVERTING_STEPS, *LOOKING_STEPS)}


def for_role(role: str) -> list[str]:
    """Return the converting steps for a host, in the order in which they are applied.

    :param role: its roles, joined by commas
    """
    roles = set(role.split(","))
    return [step.name for step in CONVERTING_STEPS if step.roles & roles]


def settings_of(
    step: str, role: str, settings: dict[str, Any], *, node: str = ""
) -> dict[str, Any]:
    """Return what a step is given on a host.

    :param step: name of a converting or a looking step
    :param role: of the host
    :param settings: the workflow's
    :param node: what Nova calls its hypervisor, where that is not the host's name
    """
    made = _BY_NAME[step].settings(role, settings)
    if step == "configure_compute" and node:
        # Under another name nova-compute would not start: "Possible rename detected".
        made["options"] = {"docker": {"node_name": node}}
    return made
