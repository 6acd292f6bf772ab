# SPDX-License-Identifier: Apache-2.0
"""novadocker-bundle: all that a site without an index needs, in one archive with checksums."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from novadocker_actions import site_archive
from novadocker_actions.errors import NovadockerError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    arguments = build_parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except (NovadockerError, OSError) as err:
        print(f"novadocker-bundle: {err}", file=sys.stderr)
        return 1
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="novadocker-bundle",
        description="Put wheels and images into one archive, see that it is whole, unpack it.",
    )
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    make = verbs.add_parser("make", help="make an archive, where there is an index")
    make.add_argument(
        "--wheels",
        type=Path,
        action="append",
        required=True,
        metavar="DIRECTORY",
        help="has the wheels of the bundle, its client and what both need, of what the driver "
        "needs, and of the agent; may be repeated. The driver's own is added",
    )
    make.add_argument(
        "--image",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="an image as docker save wrote it; may be repeated",
    )
    make.add_argument("archive", type=Path, help="file to write, such as novadocker.tar")
    make.set_defaults(run=run_make)

    verify = verbs.add_parser("verify", help="see that an archive is whole")
    verify.add_argument("archive", type=Path)
    verify.set_defaults(run=run_verify)

    unpack = verbs.add_parser("unpack", help="see that an archive is whole, then unpack it")
    unpack.add_argument("archive", type=Path)
    unpack.add_argument("directory", type=Path, help="where to; must be empty, or not there")
    unpack.set_defaults(run=run_unpack)
    return parser


def run_make(arguments: argparse.Namespace) -> None:
    """Make an archive."""
    digest = site_archive.make(arguments.archive, arguments.wheels, arguments.image)
    print(f"{arguments.archive}: made; carry this SHA-256 by another way: {digest}")


def run_verify(arguments: argparse.Namespace) -> None:
    """See that an archive is whole."""
    names = site_archive.verify(arguments.archive)
    print(f"{arguments.archive}: {len(names)} files, each as its checksum says")


def run_unpack(arguments: argparse.Namespace) -> None:
    """Unpack an archive that is whole."""
    names = site_archive.unpack(arguments.archive, arguments.directory)
    print(f"{arguments.directory}: {len(names)} files; give its folder wheels to --wheels")


if __name__ == "__main__":
    sys.exit(main())
