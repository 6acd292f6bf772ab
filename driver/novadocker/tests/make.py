# SPDX-License-Identifier: Apache-2.0
"""Nova's objects for tests, with defaults for the fields that a test does not care about."""

from __future__ import annotations

import dataclasses
import uuid
from typing import Any

from nova import context, objects
from nova.network import model

HOST = "unit-host"
IMAGE_ID = "11111111-2222-4333-8444-555555555555"
PORT_ID = "33333333-2222-4333-8444-555555555555"
# Glance's description of an image.
META = {
    "id": IMAGE_ID,
    "container_format": "docker",
    "disk_format": "raw",
    "checksum": "b" * 32,
    "size": 100,
}


def other_options(driver: Any) -> None:
    """Change the options of a driver, so that whoever is resized has to be made anew."""
    workloads = driver.parts.workloads
    more = workloads._isolation.log_max_files + 1
    workloads._isolation = dataclasses.replace(workloads._isolation, log_max_files=more)


def flavor(**fields: Any) -> Any:
    """Make a flavor."""
    return objects.Flavor(
        **{
            "name": "small",
            "flavorid": "small",
            "vcpus": 2,
            "memory_mb": 256,
            "root_gb": 5,
            "ephemeral_gb": 0,
            "swap": 0,
            "extra_specs": {},
            **fields,
        }
    )


def instance(ctxt: Any = None, **fields: Any) -> Any:
    """Make an instance as Nova knows it.

    :param ctxt: Nova's context; by default, that of an ordinary user
    """
    made = objects.Instance(
        ctxt or context.RequestContext("user", "project", is_admin=False),
        **{
            "uuid": str(uuid.uuid4()),
            "id": 7,
            "project_id": "project",
            "user_id": "user",
            "hostname": "web",
            "vm_state": "active",
            "metadata": {},
            "system_metadata": {},
            "key_data": None,
            "config_drive": "",
            "image_ref": IMAGE_ID,
            "launched_at": None,
            "trusted_certs": None,
            "info_cache": None,
            "device_metadata": None,
            "host": HOST,
            "task_state": None,
            "migration_context": None,
            "numa_topology": None,
            "resources": None,
            **fields,
        },
    )
    made.flavor = flavor()
    return made


def image_meta(**fields: Any) -> Any:
    """Make Nova's description of an image."""
    return objects.ImageMeta.from_dict(
        {
            "id": IMAGE_ID,
            "container_format": "docker",
            "disk_format": "raw",
            "checksum": "a" * 32,
            "size": 1000,
            "properties": {},
            **fields,
        }
    )


def port(active: bool = True) -> Any:
    """Make a port as Nova knows it."""
    return model.VIF(
        id=PORT_ID,
        address="fa:16:3e:00:00:01",
        network=model.Network(id="n", bridge="br-int", label="net", subnets=[]),
        type="ovs",
        active=active,
        vnic_type="normal",
    )
