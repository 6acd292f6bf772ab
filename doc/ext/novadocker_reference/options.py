# SPDX-License-Identifier: Apache-2.0
"""A page for each section of options of the driver."""

from __future__ import annotations

from oslo_config import cfg

from novadocker_reference import rst


def pages(sections: list[tuple[str, list[cfg.Opt]]]) -> dict[str, str]:
    """Return the pages by section.

    :param sections: what `oslo.config.opts` of the driver lists
    """
    return {name: options_page(name, options) for name, options in sections}


def options_page(section: str, options: list[cfg.Opt]) -> str:
    """Return the page of one section."""
    return rst.page(
        f".. _options-{section}:\n",
        rst.title(f"[{section}]"),
        "For ``nova-compute`` on Docker hosts.\n",
        rst.table(
            ("Option", "Type", "Default", "Meaning"),
            [
                (
                    f"``{option.name}``",
                    f"``{option.type}``",
                    rst.literal(option.default),
                    rst.prose(option.help),
                )
                for option in options
            ],
        ),
    )
