# SPDX-License-Identifier: Apache-2.0
"""The package of host steps: one file that is installed on hosts and runs what messages name.

A zip archive that Python runs (PEP 441), with the steps, their library and the agent's program in
it. Hosts know it by its digest, which each message asks for, so it is the same to the byte for the
same sources: nothing is compressed, and no time, owner or order of a directory is in it.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import zipfile
import zlib

from novadocker_actions import resources

FOLDERS = ("agent", "configs", "library")
_ROOT = "heat_templates"
_START = b"#!/usr/bin/env python3\n"
_ENTRY = "__main__.py"
# What comes before it has no time in a zip archive.
_TIME = (1980, 1, 1, 0, 0, 0)
_FILE_MODE = 0o100644


def contents() -> dict[str, str]:
    """Return the texts of the package by the names that they have in it.

    :raises MissingFile: when the bundle lacks a folder
    """
    found = {f"{folder}/__init__.py": "" for folder in FOLDERS}
    for folder in FOLDERS:
        for name in resources.names(f"{_ROOT}/{folder}", "*.py"):
            found[f"{folder}/{name}"] = resources.text(f"{_ROOT}/{folder}/{name}")
    found[_ENTRY] = found.pop(f"agent/{_ENTRY}")
    return dict(sorted(found.items()))


@functools.cache
def build() -> bytes:
    """Return the package."""
    data = io.BytesIO()
    data.write(_START)
    with zipfile.ZipFile(data, "w", zipfile.ZIP_STORED) as archive:
        for name, text in contents().items():
            entry = zipfile.ZipInfo(name, _TIME)
            entry.create_system, entry.external_attr = 3, _FILE_MODE << 16
            archive.writestr(entry, text.encode())
    return data.getvalue()


@functools.cache
def digest() -> str:
    """Return the SHA-256 of the package, as messages ask for it and hosts name its file."""
    return hashlib.sha256(build()).hexdigest()


@functools.cache
def compressed() -> str:
    """Return the package as a message carries it: compressed (zlib), as base64."""
    return base64.b64encode(zlib.compress(build(), 9)).decode()
