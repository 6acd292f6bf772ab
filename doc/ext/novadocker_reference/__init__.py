# SPDX-License-Identifier: Apache-2.0
"""Sphinx extension: writes the reference pages from the code before the documents are read.

Pages of workflows come from the workbooks, those of actions from the entry points, those of host
steps from the scripts' SETTINGS, those of templates from their HOT parameters, those of the
driver's options from its code, and those of Tempest from recorded runs. They go to
``reference/generated``, which git ignores.
"""

from __future__ import annotations

from pathlib import Path

from sphinx.application import Sphinx

from novadocker import conf
from novadocker_actions.plan import inputs
from novadocker_client import meanings
from novadocker_reference import actions, field, host_steps, options, tempest, templates, workflows

GENERATED = Path("reference") / "generated"


def write_pages(target: Path, pages: dict[str, str]) -> None:
    """Make the directory hold exactly these pages; leave unchanged ones alone.

    :param pages: text by file name without suffix
    """
    target.mkdir(parents=True, exist_ok=True)
    for old in target.glob("*.rst"):
        if old.stem not in pages:
            old.unlink()
    for name, text in pages.items():
        page = target / f"{name}.rst"
        if not page.exists() or page.read_text() != text:
            page.write_text(text)


def generate(app: Sphinx) -> None:
    """Write all reference pages."""
    source = Path(app.srcdir)
    top = source.parent.parent
    accepted = {
        name: f"{meanings.INPUTS[name].meaning} {remedy}" if name in meanings.INPUTS else remedy
        for name, (_, _, remedy) in inputs.FIELDS.items()
    }
    write_pages(source / GENERATED / "workflows", workflows.pages(top / "workbooks", accepted))
    write_pages(source / GENERATED / "actions", actions.pages(top / "pyproject.toml"))
    write_pages(source / GENERATED / "steps", host_steps.pages(top / "heat_templates" / "configs"))
    write_pages(source / GENERATED / "field", field.pages(top / "doc" / "results" / "field"))
    write_pages(source / GENERATED / "options", options.pages(conf.list_opts()))
    write_pages(source / GENERATED / "tempest", tempest.pages(top / "doc" / "results"))
    write_pages(source / GENERATED / "templates", templates.pages(top / "heat_templates"))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("builder-inited", generate)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
