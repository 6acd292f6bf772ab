# SPDX-License-Identifier: Apache-2.0
"""The pages in the lab's Horizon."""

from __future__ import annotations

import pathlib
import re
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lab.images import wheelhouse
from lab.settings import LAB, LabSettings
from lab.stage import dashboard


def pins(lock: pathlib.Path) -> dict[str, str]:
    rows = re.findall(r"^([\w.-]+)==(\S+)", lock.read_text(), re.M)
    return {canonicalize_name(name): version for name, version in rows}


def test_the_plug_in_is_made_of_its_package_and_not_of_its_tests() -> None:
    folder = LabSettings().checkout / dashboard.PLUGIN.folder
    files = wheelhouse.source_files(folder, dashboard.PLUGIN.paths)
    assert "novadocker_dashboard/pages.py" in files
    assert "novadocker_dashboard/static/novadocker/pages.js" in files
    assert not [name for name in files if name.startswith("tests/")]


def test_horizons_environment_has_what_the_pages_want() -> None:
    locked = pins(LAB / "dashboard.lock")
    ours = {project.name for project in dashboard.PROJECTS}
    for project in dashboard.PROJECTS:
        path = LabSettings().checkout / project.folder / "pyproject.toml"
        for text in tomllib.loads(path.read_text())["project"]["dependencies"]:
            wanted = Requirement(text)
            if wanted.name not in ours:
                assert wanted.specifier.contains(locked[canonicalize_name(wanted.name)]), text


def test_horizon_and_the_services_have_the_same_releases_of_what_both_have() -> None:
    services, horizon = pins(LAB / "openstack.lock"), pins(LAB / "dashboard.lock")
    both = services.keys() & horizon.keys()
    assert len(both) > 30
    assert {name: horizon[name] for name in both} == {name: services[name] for name in both}


def test_it_is_switched_on_as_the_pages_say() -> None:
    page = (LabSettings().checkout / "doc/source/admin/dashboard.rst").read_text()
    for word in ("enabled/_*.py", "local_settings.d/_*.py", "collectstatic --noinput"):
        assert word in page
        assert word in dashboard.SWITCH_ON
