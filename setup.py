# SPDX-License-Identifier: Apache-2.0
"""What pbr needs to read setup.cfg; before it, the driver's wheel that the bundle carries."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile

import setuptools

TOP = os.path.dirname(os.path.abspath(__file__))
WHEELS = os.path.join(TOP, "wheels")
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
# The same sources make the same wheel: what comes before it has no time in a zip archive.
EPOCH = "315532800"


def build_driver() -> None:
    """Build the driver's wheel into the folder that becomes share/novadocker/wheels."""
    with tempfile.TemporaryDirectory(prefix="novadocker-") as folder:
        source, out = os.path.join(folder, "driver"), os.path.join(folder, "out")
        ignored = shutil.ignore_patterns("build", "*.egg-info", "__pycache__", "tests")
        shutil.copytree(os.path.join(TOP, "driver"), source, ignore=ignored)
        os.mkdir(out)
        command = [sys.executable, "-c", BUILD, out]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": EPOCH}
        subprocess.run(command, cwd=source, env=environment, check=True, stdout=sys.stderr)
        (wheel,) = os.listdir(out)
        os.makedirs(WHEELS, exist_ok=True)
        # Builds of one checkout may go side by side.
        draft = os.path.join(WHEELS, f".{wheel}.{os.getpid()}")
        shutil.copyfile(os.path.join(out, wheel), draft)
        os.replace(draft, os.path.join(WHEELS, wheel))
        for other in os.listdir(WHEELS):
            if other.startswith("nova_docker-") and other != wheel:
                os.unlink(os.path.join(WHEELS, other))


if {"bdist_wheel", "editable_wheel"} & set(sys.argv):
    build_driver()
setuptools.setup(setup_requires=["pbr"], pbr=True)
