# SPDX-License-Identifier: Apache-2.0
"""Where the bundle's data files are: in a checkout, or installed under share/novadocker."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from novadocker_actions import errors

_CHECKOUT = Path(__file__).resolve().parent.parent


def _roots() -> Iterator[Path]:
    yield _CHECKOUT
    yield Path(sys.prefix) / "share" / "novadocker"
    # A distribution's Python installs wheels below /usr/local while sys.prefix is /usr.
    yield Path(sys.prefix) / "local" / "share" / "novadocker"


def path(name: str) -> Path:
    """Return where a data file is.

    :param name: path below the bundle, such as ``workbooks/novadocker.yaml``
    :raises MissingFile: when it is in none of the known places
    """
    roots = list(_roots())
    for root in roots:
        candidate = root / name
        if candidate.is_file():
            return candidate
    looked = ", ".join(str(root) for root in roots)
    raise errors.MissingFile(f"{name} is in none of {looked}. Install novadocker-deploy again.")


def text(name: str) -> str:
    """Return the text of a data file.

    :param name: path below the bundle
    :raises MissingFile: when it is in none of the known places
    """
    return path(name).read_text(encoding="utf-8")


def names(folder: str, pattern: str) -> list[str]:
    """Return the names of the files in a folder of the bundle, in order.

    :param folder: path below the bundle
    :param pattern: which of them, such as ``*.py``
    :raises MissingFile: when there are none in any of the known places
    """
    roots = list(_roots())
    for root in roots:
        files = sorted(path.name for path in (root / folder).glob(pattern))
        if files:
            return files
    looked = ", ".join(str(root) for root in roots)
    raise errors.MissingFile(
        f"{folder}/{pattern} is in none of {looked}. Install novadocker-deploy again."
    )
