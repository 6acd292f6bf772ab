# SPDX-License-Identifier: Apache-2.0
"""``nova-compute-docker``: nova-compute for those who do not want a ``.pth`` file."""

from novadocker import _alias


def main() -> None:
    """Make the driver known under ``nova.virt``, then be nova-compute."""
    _alias.install()
    # Nova patches (or poisons) the interpreter when this is imported: not before the alias, not by
    # us.
    from nova.cmd import compute

    compute.main()
