# SPDX-License-Identifier: Apache-2.0
"""What this bundle's site has on its hosts before anybody is asked to convert one, as layers."""

from __future__ import annotations

from lab.images.layers import Layer

FOLDER = "stage/images"
# On what a host boots otherwise: the packages of the engine are at hand, and on the controller
# there is a registry with the demo image.
LAYERS = (
    Layer("docker_packages", "openstack", folder=FOLDER),
    Layer(
        "registry",
        "controller",
        (f"{FOLDER}/docker_packages.sh", f"{FOLDER}/demo_image.py"),
        folder=FOLDER,
    ),
)
