# SPDX-License-Identifier: Apache-2.0
"""A layer with the Python that runs the tests, for containers: the little that a program needs."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

_TELL = """
import __future__, json, sys
import contextlib, ctypes, errno, fcntl, glob, mmap, os, platform, resource, signal, socket, stat
import struct, time
import encodings.ascii, encodings.idna
modules = {m.__file__ for m in sys.modules.values() if getattr(m, "__file__", None)}
print(json.dumps([sys.prefix, sys.exec_prefix, sorted(modules)]))
"""


def layer(*programs: Path) -> bytes:
    """Pack Python, and programs at the root beside it."""
    python = os.path.realpath(sys.executable)
    told = subprocess.run(
        [python, "-I", "-S", "-c", _TELL], check=True, capture_output=True, text=True
    ).stdout
    _, _, modules = json.loads(told)
    files = {python, *modules}
    for file in list(files):
        if file == python or ".so" in file:
            files |= _libraries(file)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", dereference=True) as out:
        for file in sorted(files):
            out.add(file, file.lstrip("/"))
        link = tarfile.TarInfo("bin/python")
        link.type, link.linkname = tarfile.SYMTYPE, python
        out.addfile(link)
        for program in programs:
            out.add(program, program.name)
    return buffer.getvalue()


def _libraries(file: str) -> set[str]:
    done = subprocess.run(["ldd", file], check=False, capture_output=True, text=True)
    return set(re.findall(r"(/\S+) \(0x", done.stdout))
