# SPDX-License-Identifier: Apache-2.0
"""Configuration of the documentation; most of the reference is written from the code."""

import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(TOP / "doc" / "ext"), str(TOP), str(TOP / "driver")]

project = "novadocker-deploy"
author = "novadocker-deploy maintainers"
copyright = author
extensions = ["novadocker_reference", "cliff.sphinxext", "openstackdocstheme"]
root_doc = "index"
exclude_patterns: list[str] = []
html_theme = "openstackdocs"
# Nobody's visits are counted.
html_theme_options = {"analytics_tracking_code": "", "root_title": "novadocker-deploy"}
# The licence at the foot of each page is this project's.
templates_path = ["templates"]
openstackdocs_auto_name = False
openstackdocs_auto_version = False
html_show_sourcelink = False
nitpicky = True
