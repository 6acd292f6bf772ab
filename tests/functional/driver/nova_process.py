# SPDX-License-Identifier: Apache-2.0
"""Nova, set up in this process as nova-compute does. Import it before all of Nova's."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from novadocker import _alias

_alias.install()

from nova import monkey_patch  # noqa: E402

monkey_patch.patch(backend=os.environ.get("NOVADOCKER_TEST_BACKEND", "threading"))

import nova.conf  # noqa: E402
from nova import context, objects  # noqa: E402
from nova.virt import driver, fake, images  # noqa: E402
from oslo_log import log  # noqa: E402

from novadocker.tests import make  # noqa: E402
from novadocker.tests.make import IMAGE_ID  # noqa: E402
from tests.functional.driver import own_engine, privileges  # noqa: E402

CONF = nova.conf.CONF
CHECKSUM = "0123456789abcdef0123456789abcdef"


def set_up(host: str, **docker_options: Any) -> None:
    """Configure Nova and register its objects.

    :param host: name of this host, with which its containers are labelled
    """
    log.register_options(CONF)
    CONF([], project="nova")
    log.setup(CONF, "nova")
    objects.register_all()
    # There is no database: no instance has tags, and none is stored.
    objects.VirtualInterfaceList.get_by_instance_uuid = lambda _context, _uuid: []
    objects.Instance.save = lambda _instance: None
    for group, command in privileges.helper_commands().items():
        CONF.set_override("helper_command", command, group=group)
    CONF.set_override("host", host)
    state = tempfile.mkdtemp(prefix="novadocker-state-")
    atexit.register(shutil.rmtree, state, ignore_errors=True)
    CONF.set_override("state_path", state)
    CONF.set_override("compute_driver", "novadocker.virt.docker.DockerDriver")
    import novadocker.conf

    novadocker.conf.load()
    for name, value in {"host_url": own_engine.given_url(), **docker_options}.items():
        CONF.set_override(name, value, group="docker")


def load_driver(virtapi: Any = None) -> Any:
    """Load the driver as nova-compute does."""
    return driver.load_compute_driver(virtapi or fake.FakeVirtAPI())


def serve_image(archive: bytes) -> None:
    """Let Glance give this archive for every image."""

    def fetch(context: Any, image_href: str, path: str, trusted_certs: Any = None) -> None:
        Path(path).write_bytes(archive)

    images.fetch = fetch


def image_meta(image_id: str = IMAGE_ID, **properties: str) -> Any:
    """Make what Nova says of an image that serve_image gives."""
    return make.image_meta(id=image_id, checksum=CHECKSUM, size=1 << 20, properties=properties)


def instance(**fields: Any) -> Any:
    """Make a small instance of this host."""
    made = make.instance(context.get_admin_context(), **{"host": CONF.host, **fields})
    made.flavor = make.flavor(vcpus=1, memory_mb=64, root_gb=0)
    return made
