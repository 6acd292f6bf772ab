# SPDX-License-Identifier: Apache-2.0
"""A wheel made of a distribution that is installed, so that it can be put back."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

TIME = (1980, 1, 1, 0, 0, 0)
# What an installation writes itself.
OF_INSTALLATION = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")


def repacked(place: Path, files: Sequence[str]) -> tuple[str, bytes]:
    """Return the name and the content of a wheel with a distribution's files.

    Programs are left out, as pip makes them from the entry points.

    :param place: the directory that it is installed in
    :param files: what its RECORD names, relative to that directory
    """
    (metadata,) = (name for name in files if name.endswith(".dist-info/METADATA"))
    info = metadata.rpartition("/")[0]
    kept = sorted(name for name in files if is_content(name, info))
    data, record = io.BytesIO(), []
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in kept:
            content = (place / name).read_bytes()
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
            record.append(f"{name},sha256={digest.decode()},{len(content)}\n")
            archive.writestr(zipfile.ZipInfo(name, TIME), content)
        lines = "".join([*record, f"{info}/RECORD,,\n"])
        archive.writestr(zipfile.ZipInfo(f"{info}/RECORD", TIME), lines)
    tags = [
        line.partition(":")[2].strip()
        for line in (place / info / "WHEEL").read_text().splitlines()
        if line.startswith("Tag:")
    ]
    return f"{info[: -len('.dist-info')]}-{tags[0]}.whl", data.getvalue()


def is_content(name: str, info: str) -> bool:
    """Return whether an installed file was in the wheel."""
    ours = not any(name == f"{info}/{other}" for other in OF_INSTALLATION)
    return ours and "__pycache__" not in name and not name.startswith(("..", "/"))
