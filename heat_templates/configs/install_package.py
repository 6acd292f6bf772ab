# SPDX-License-Identifier: Apache-2.0
"""Put a package of host steps on this host, beside those that messages under way ask for."""

from __future__ import annotations

import base64
import hashlib
import lzma
import sys

from library.faults import StepFailed
from library.outcome import run_step
from library.package import drop_old, held, is_current, make_current, own_package, put
from library.step import Step

SETTINGS = {
    "type": "object",
    "description": "The package of host steps.",
    "additionalProperties": False,
    "required": ["sha256"],
    "properties": {
        "sha256": {
            "type": "string",
            "description": "Digest of the package, by which messages ask for it.",
            "pattern": "^[0-9a-f]{64}$",
        },
        "data": {
            "type": "string",
            "description": "The package, compressed (xz) and in base85; empty for the one that "
            "this step itself is of.",
            "default": "",
        },
    },
}

MAX_BYTES = 16 * 1024 * 1024
# To unpack it takes little more than the window that xz has by default, of 8 MiB.
MAX_MEMORY = 32 * 1024 * 1024


def converge(step: Step) -> None:
    """Put the package there, see that this host's Python runs it, and have the agent use it."""
    wanted = step.settings["sha256"]
    path = held(step.root, wanted)
    if path is not None and is_current(path):
        return
    data = content(step.settings["data"])
    if hashlib.sha256(data).hexdigest() != wanted:
        raise StepFailed(f"data: is not the package {wanted[:12]}, or was altered")
    if not step.will(f"install the package {wanted[:12]} of host steps"):
        return
    path = put(step.root, data)
    told = step.run([sys.executable, "-I", str(path), "digest"]).stdout.strip()
    if told != wanted:
        raise StepFailed(f"{path} does not run as the package that it is: it says {told[:80]!r}")
    make_current(path)
    for name in drop_old(step.root):
        step.note(f"removed {name}, which no message has asked for in a week")


def content(text: str) -> bytes:
    """Return the package that a text carries, or the one that this program runs from."""
    if not text:
        return own_package().read_bytes()
    try:
        unpacking = lzma.LZMADecompressor(memlimit=MAX_MEMORY)
        data = unpacking.decompress(base64.b85decode(text), MAX_BYTES)
    except (ValueError, lzma.LZMAError) as err:
        raise StepFailed(f"data: is no compressed package ({err})") from err
    if unpacking.unused_data or not unpacking.eof:
        raise StepFailed(f"data: is not a whole package of at most {MAX_BYTES} bytes")
    return data


if __name__ == "__main__":
    run_step("install_package", SETTINGS, converge)
