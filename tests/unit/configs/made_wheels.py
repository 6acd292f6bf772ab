# SPDX-License-Identifier: Apache-2.0
"""Wheels that are made for tests, and what tells them apart."""

from __future__ import annotations

import hashlib
import pathlib
import zipfile


def wheel(folder: pathlib.Path, name: str, version: str, *requires: str) -> None:
    """Write a wheel that holds nothing but its metadata and one module."""
    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {item}" for item in requires]
    module = f"{name.replace('-', '_')}_module.py"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as archive:
        archive.writestr(module, "")
        archive.writestr(f"{info}/METADATA", "\n".join(lines) + "\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", f"{module},,\n{info}/METADATA,,\n{info}/WHEEL,,\n")


def file_of(name: str, version: str) -> str:
    """Return the name of a wheel's file."""
    return f"{name.replace('-', '_')}-{version}-py3-none-any.whl"


def sha256(path: pathlib.Path) -> str:
    """Return the digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
