# SPDX-License-Identifier: Apache-2.0
"""Configuration of the documentation; most of the reference is written from the code."""

import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(TOP / "doc" / "ext"), str(TOP), str(TOP / "driver")]

project = "novadocker-deploy"
author = "novadocker-deploy maintainers"
copyright = author
extensions = ["novadocker_reference", "cliff.sphinxext"]
root_doc = "index"
exclude_patterns: list[str] = []
html_theme = "alabaster"
html_theme_options = {
    "description": "Docker containers as Nova instances, on your running cloud",
    "fixed_sidebar": True,
    "page_width": "1100px",
}
html_show_sourcelink = False
nitpicky = True
