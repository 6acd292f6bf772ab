# SPDX-License-Identifier: Apache-2.0
"""Other releases of the driver than the checkout's, in the bundle and on hosts of the lab."""

from __future__ import annotations

import base64
import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lab.hosts.access import Host
from lab.settings import LabSettings

UPDATE_TIMEOUT_S = 600


def driver_version(host: Host, settings: LabSettings) -> str:
    """Return the version of the driver in the environment of a host's Nova."""
    program = "import importlib.metadata as m; print(m.version('nova-docker'))"
    return host.run([f"{settings.openstack_venv}/bin/python", "-c", program]).stdout.strip()


@contextmanager
def release(
    controller: Host,
    settings: LabSettings,
    version: str,
    hosts: Sequence[str],
    *,
    broken: bool = False,
) -> Iterator[None]:
    """A context in which the bundle carries the driver as another version, and hosts have it.

    :param hosts: names of those that are given its wheel, and that of before afterwards
    :param broken: whether the driver cannot be imported
    """
    place, aside = f"{settings.openstack_venv}/share/novadocker/wheels", "/srv/whole"
    name = controller.run(["ls", place]).stdout.strip()
    wheel = base64.b64decode(controller.run(["base64", f"{place}/{name}"]).stdout)
    update = f"{settings.openstack_venv}/bin/novadocker-enroll update {' '.join(hosts)}"
    bring = ["bash", "-c", f". /root/admin-openrc && {update}"]
    controller.run(["mkdir", aside])
    controller.run(["mv", f"{place}/{name}", aside])
    made = as_version(wheel, version, broken=broken)
    controller.put(f"{place}/nova_docker-{version}-py3-none-any.whl", made)
    try:
        controller.run(bring, timeout_s=UPDATE_TIMEOUT_S)
        yield
    finally:
        controller.run(["sh", "-c", f"rm {place}/*; mv {aside}/* {place}; rmdir {aside}"])
        controller.run(bring, timeout_s=UPDATE_TIMEOUT_S)


def as_version(wheel: bytes, version: str, *, broken: bool) -> bytes:
    """Return a driver's wheel as another version.

    :param broken: whether its driver cannot be imported
    """

    def renamed(text: str) -> str:
        return re.sub(r"nova_docker-[^/]+\.dist-info/", f"nova_docker-{version}.dist-info/", text)

    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(wheel)) as old, zipfile.ZipFile(made, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith(".dist-info/RECORD"):
                # Hashes are optional in it.
                text = re.sub(r",sha256=[^,]*,\d*$", ",,", data.decode(), flags=re.M)
                data = renamed(text).encode()
            elif name.endswith(".dist-info/METADATA"):
                data = re.sub(rb"^Version: .*$", f"Version: {version}".encode(), data, flags=re.M)
            elif broken and name == "novadocker/virt/docker/__init__.py":
                data = b'raise ImportError("this release is broken")\n'
            new.writestr(renamed(name), data)
    return made.getvalue()
