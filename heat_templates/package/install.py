# SPDX-License-Identifier: Apache-2.0
"""Bring the package of host steps to this host, from the texts of a stack of Heat.

The stack's template puts archive.py before this text, and after it the call with the files.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile

from package.archive import archive


def install(texts: dict[str, str]) -> int:
    """Put the package together and have its own step install it; return that step's exit code."""
    data = archive(texts)
    settings = json.dumps({"sha256": hashlib.sha256(data).hexdigest()})
    with tempfile.TemporaryDirectory(prefix="novadocker-") as folder:
        path = os.path.join(folder, "novadocker-host.pyz")
        with open(path, "wb") as file:
            file.write(data)
        command = [sys.executable, "-I", path, "install_package"]
        return subprocess.call(command, env={**os.environ, "settings": settings})
