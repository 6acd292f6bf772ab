# SPDX-License-Identifier: Apache-2.0
"""The pages of the bundle in the controller's Horizon, as an operator installs them."""

from __future__ import annotations

from collections.abc import Mapping

from lab.hosts.access import Host
from lab.images.wheelhouse import Project, Wheel
from lab.settings import LabSettings
from lab.stage.bundle import CLIENT

PLUGIN = Project(
    "novadocker-dashboard",
    "dashboard",
    ("pyproject.toml", "README.rst", "LICENSE", "novadocker_dashboard"),
)
PROJECTS = (CLIENT, PLUGIN)
VENV = "/opt/horizon"
STAMP = "/etc/novadocker-lab/dashboard"
SWITCH_ON = f"""\
set -e
cd {VENV}/site-packages
cp novadocker_dashboard/enabled/_*.py openstack_dashboard/local/enabled/
cp novadocker_dashboard/local_settings.d/_*.py openstack_dashboard/local/local_settings.d/
DJANGO_SETTINGS_MODULE=openstack_dashboard.settings runuser -u horizon -- \
    {VENV}/bin/python -m django collectstatic --noinput --verbosity 0
systemctl try-restart --no-block horizon
"""


def install(settings: LabSettings, controller: Host, wheels: Mapping[str, Wheel]) -> None:
    """Install the pages into Horizon's environment and switch them on; nothing if they are there.

    :param wheels: by project name
    """
    stamp = " ".join(wheels[project.name].digest for project in PROJECTS)
    if controller.run(["cat", STAMP], check=False).stdout.strip() == stamp:
        return
    pip = f"{VENV}/bin/pip"
    names = [project.name for project in PROJECTS]
    controller.run([pip, "uninstall", "--quiet", "--yes", *names], check=False)
    paths = [f"{settings.wheelhouse_mount}/{wheels[name].path.name}" for name in names]
    controller.run([pip, "install", "--quiet", *paths], timeout_s=180)
    controller.run(["sh", "-c", SWITCH_ON], timeout_s=180)
    controller.put(STAMP, f"{stamp}\n")
