# SPDX-License-Identifier: Apache-2.0
"""What of the checkout is the bundle."""

from __future__ import annotations

from lab.images import wheelhouse
from lab.settings import LabSettings
from lab.stage import bundle


def test_the_bundles_paths_are_in_this_checkout() -> None:
    settings = LabSettings()
    for project in bundle.PROJECTS:
        assert wheelhouse.source_files(settings.checkout / project.folder, project.paths)
