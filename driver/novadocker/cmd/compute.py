# SPDX-License-Identifier: Apache-2.0
"""``nova-compute-docker``: nova-compute for installations without the ``.pth`` file."""

from __future__ import annotations

from novadocker import _alias


def main() -> None:
    """Make the driver known under ``nova.virt``, then run nova-compute."""
    _alias.install()
    # Nova monkey-patches the interpreter when this is imported: not before the alias is installed.
    from nova.cmd import compute

    compute.main()
