# SPDX-License-Identifier: Apache-2.0
"""Configuration of the release notes."""

project = "novadocker-deploy release notes"
author = "novadocker-deploy maintainers"
copyright = author
extensions = ["reno.sphinxext"]
root_doc = "index"
html_theme = "alabaster"
html_show_sourcelink = False
