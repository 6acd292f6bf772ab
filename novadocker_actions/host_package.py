# SPDX-License-Identifier: Apache-2.0
"""The package of host steps: one file that is installed on hosts and runs what messages name.

A zip archive that Python runs (PEP 441), with the steps, their library and the agent's program in
it. Hosts know it by its digest, which each message asks for, so it is the same to the byte for the
same sources.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import lzma
import runpy

from novadocker_actions import resources

FOLDERS = ("agent", "configs", "library")
_ROOT = "heat_templates"
_ENTRY = "__main__.py"
# What hosts may install beside the driver; it is believed as the steps are.
LOCK = "library/driver.lock"


def contents() -> dict[str, str]:
    """Return the texts of the package by the names that they have in it.

    :raises MissingFile: when the bundle lacks a folder
    """
    texts = {f"{folder}/__init__.py": "" for folder in FOLDERS}
    for folder in FOLDERS:
        for name in resources.names(f"{_ROOT}/{folder}", "*.py"):
            texts[f"{folder}/{name}"] = resources.text(f"{_ROOT}/{folder}/{name}")
    texts[LOCK] = resources.text(f"{_ROOT}/{LOCK}")
    return {**texts, _ENTRY: resources.text(f"{_ROOT}/package/{_ENTRY}")}


@functools.cache
def build() -> bytes:
    """Return the package."""
    # Hosts that a stack brings the texts to put it together by the same program.
    program = runpy.run_path(str(resources.path(f"{_ROOT}/package/archive.py")))
    data: bytes = program["archive"](contents())
    return data


@functools.cache
def digest() -> str:
    """Return the SHA-256 of the package, as messages ask for it and hosts name its file."""
    return hashlib.sha256(build()).hexdigest()


@functools.cache
def compressed() -> str:
    """Return the package as it travels: compressed (xz), as base85, shorter than base64."""
    return base64.b85encode(lzma.compress(build())).decode()


def settings() -> dict[str, str]:
    """Return the settings of the step install_package that bring this package to a host."""
    return {"sha256": digest(), "data": compressed()}
