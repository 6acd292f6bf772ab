# SPDX-License-Identifier: Apache-2.0
"""What each host step is given in a run, from the workflow's settings."""

from __future__ import annotations

from typing import Any

COMPUTE_DRIVER = "novadocker.virt.docker.DockerDriver"
_LOG_OPTIONS = {"log-opts": {"max-size": "10m", "max-file": "3"}}
# Docker's own bridge and its iptables rules cut off Neutron's traffic (moby 39439, 50566), and a
# host that forwards packets routes between its networks. Instances have Neutron's ports, and
# controllers only pull and save images, so no engine of ours needs a network of its own.
_NO_NETWORK = {"bridge": "none", "iptables": False, "ip6tables": False, "ip-forward": False}
_ENGINE = {"live-restore": True, **_LOG_OPTIONS, **_NO_NETWORK}


def install_docker(role: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of install_docker for a role."""
    daemon = {**_ENGINE, **settings["docker"]}
    return {"daemon_settings": daemon, "users": ["nova"] if role == "compute" else []}


def install_driver(role: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of install_driver."""
    del role
    return {"requirement": settings["driver_requirement"], "upgrade": False}


def configure_compute(role: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of configure_compute."""
    del role, settings
    return {"compute_driver": COMPUTE_DRIVER, "options": {}}


def configure_glance(role: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of configure_glance."""
    del role, settings
    return {"container_formats_add": ["docker"]}


_MAKERS = {
    "install_docker": install_docker,
    "install_driver": install_driver,
    "configure_compute": configure_compute,
    "configure_glance": configure_glance,
}


def for_step(step: str, role: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a converting step.

    :param step: of install_docker, install_driver, configure_compute, configure_glance
    :param role: of the host: ``compute``, or the controller group's
    :param settings: the workflow's
    """
    return _MAKERS[step](role, settings)


def controller_steps(role: str) -> list[str]:
    """Return the steps for a host of the controller group, in order.

    :param role: its roles joined by a comma
    """
    roles = role.split(",")
    steps = ["install_docker"] if "controller" in roles else []
    return [*steps, "configure_glance"] if "glance" in roles else steps
