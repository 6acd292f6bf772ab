# SPDX-License-Identifier: Apache-2.0
"""The bundle on the controller, as an operator installs it: wheels, Mistral restarted, workbook."""

from __future__ import annotations

import time
from collections.abc import Mapping

from keystoneauth1.exceptions import ClientException
from openstack.connection import Connection
from openstack.exceptions import SDKException

from lab.client.connection import connect
from lab.errors import LabError
from lab.hosts.access import Host
from lab.images.wheelhouse import Lock, Project, Wheel
from lab.settings import LabSettings

BUNDLE = Project(
    "novadocker-deploy",
    ".",
    (
        *("setup.cfg", "setup.py", "pyproject.toml", "requirements.txt", "README.rst", "LICENSE"),
        *("workbooks", "heat_templates", "novadocker_actions", "tempest_plugin", "driver"),
    ),
)
# The operator's commands.
CLIENT = Project("novadocker-client", "novadocker_client", (".",))
PROJECTS = (BUNDLE, CLIENT)
# What hosts install beside it: the agent, and what the driver needs.
LOCKS = (
    Lock("heat_templates/agent/agent.lock", sources=("heat-agents",)),
    Lock("heat_templates/library/driver.lock"),
)
STAMP = "/etc/novadocker-lab/bundle"
MISTRAL_UNITS = ("mistral-api.service", "mistral-engine.service", "mistral-executor.service")
WORKBOOK = "workbooks/novadocker.yaml"
WORKBOOK_NAME = "novadocker"
WORKBOOK_TIMEOUT_S = 600


def install(settings: LabSettings, controller: Host, wheels: Mapping[str, Wheel]) -> bool:
    """Install the bundle and the client into the controller's OpenStack environment.

    :param wheels: by project name
    :return: whether they were others before, so that Mistral has to ``take_up`` these
    """
    if controller.run(["cat", STAMP], check=False).stdout.strip() == _stamp(wheels):
        return False
    pip = f"{settings.openstack_venv}/bin/pip"
    names = [project.name for project in PROJECTS]
    controller.run([pip, "uninstall", "--quiet", "--yes", *names], check=False)
    paths = [f"{settings.wheelhouse_mount}/{wheels[name].path.name}" for name in names]
    controller.run([pip, "install", "--quiet", *paths], timeout_s=180)
    return True


def take_up(settings: LabSettings, controller: Host, wheels: Mapping[str, Wheel]) -> None:
    """Let Mistral load the actions and the workbook of the bundle that was just installed."""
    controller.run(["systemctl", "restart", *MISTRAL_UNITS], timeout_s=240)
    try:
        load_workbook(settings, connect(settings))
    except (ClientException, SDKException) as err:
        raise LabError(f"{WORKBOOK} cannot be loaded into Mistral: {err}") from err
    controller.put(STAMP, f"{_stamp(wheels)}\n")


def _stamp(wheels: Mapping[str, Wheel]) -> str:
    return " ".join(wheels[project.name].digest for project in PROJECTS)


def load_workbook(settings: LabSettings, connection: Connection, timeout_s: float = 60) -> None:
    """Create the workbook in Mistral, or bring it up to date, for all projects.

    :param timeout_s: seconds to wait for a Mistral that is just starting
    """
    text = (settings.checkout / WORKBOOK).read_text()
    deadline = time.monotonic() + timeout_s
    while connection.workflow.get("/workflows", params={"limit": 1}).status_code >= 500:
        if time.monotonic() > deadline:
            raise LabError("Mistral does not answer: see lab logs controller mistral-api")
        time.sleep(0.3)
    there = connection.workflow.get(f"/workbooks/{WORKBOOK_NAME}")
    if there.status_code == 200 and there.json()["definition"] == text:
        return
    # To check it takes Mistral 20 s of CPU time: each task against its schema, and that schema too.
    # The functional tests have it checked.
    send = connection.workflow.put if there.status_code == 200 else connection.workflow.post
    answer = send(
        "/workbooks?scope=public&skip_validation",
        data=text.encode(),
        headers={"Content-Type": "text/plain"},
        timeout=WORKBOOK_TIMEOUT_S,
    )
    if answer.status_code >= 400:
        raise LabError(f"Mistral refuses {WORKBOOK}: {answer.text.strip()[:500]}")
