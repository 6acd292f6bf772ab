# SPDX-License-Identifier: Apache-2.0
"""Faults of this package as Nova expects them."""

import contextlib
from collections.abc import Iterator
from typing import Any

from nova import exception

from novadocker import exceptions


@contextlib.contextmanager
def translated(instance: Any) -> Iterator[None]:
    """Turn this package's faults into those which Nova expects about an instance."""
    try:
        yield
    except exceptions.NotFound as err:
        raise exception.InstanceNotFound(instance_id=instance.uuid) from err
    except exceptions.NetworkError as err:
        raise exception.VirtualInterfacePlugException(str(err)) from err
