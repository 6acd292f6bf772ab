# SPDX-License-Identifier: Apache-2.0
"""Environment, keys, files and config drive that Nova puts into a container before it starts."""

from __future__ import annotations

import io
import json
import posixpath
import tarfile
from collections.abc import Mapping
from typing import Any

from nova.api.metadata import base as metadata
from nova.virt import configdrive
from oslo_log import log as logging

from novadocker.types import Instance, NetworkInfo
from novadocker.virt.docker.host.devices import Held
from novadocker.virt.docker.images.config import OF_RUNTIMES

LOG = logging.getLogger(__name__)

AUTHORIZED_KEYS = "/root/.ssh/authorized_keys"
# Where cloud-init looks for a config drive that is not a disk.
CONFIG_DRIVE = "/var/lib/cloud/seed/config_drive"

# What begins so asks for something else (wishes).
_OURS = "docker:"
# Of a variable of an image's.
_MOST_CHARACTERS = 4096
_SET_PASSWORD = 'printf "root:%s\\n" "$NOVA_ADMIN_PASSWORD" | chpasswd'


def environment(server_metadata: Mapping[str, str]) -> dict[str, str]:
    """Return a server's metadata as environment variables.

    Entries that cannot be variables are left out, and those that are for the driver or a runtime.
    """
    return {
        name: value
        for name, value in server_metadata.items()
        if name
        and "=" not in name
        and "\0" not in name + value
        and not name.startswith(_OURS)
        and name not in OF_RUNTIMES
    }


def own_environment(given: Mapping[str, str], image_config: Mapping[str, Any]) -> str:
    """Return the names of variables that a container is given, and what its image has instead.

    :param given: the variables
    :param image_config: ``Config`` of the engine's image
    :return: JSON, as :func:`not_the_images` takes it
    """
    of_image = dict(
        variable.split("=", 1) for variable in image_config.get("Env") or [] if "=" in variable
    )
    kept = {name: of_image.get(name) for name in sorted(given)}
    return json.dumps(
        {
            # The engine tells it with each listing of containers.
            name: value if value is None or len(value) <= _MOST_CHARACTERS else None
            for name, value in kept.items()
        }
    )


def taken_back(label: str) -> dict[str, str | None]:
    """Return the variables that a container is not to have that is made of another's files.

    :param label: of the other one, with its devices
    """
    return dict.fromkeys(Held.of(label).variables)


def not_the_images(label: str, metadata: Mapping[str, str]) -> dict[str, str | None]:
    """Return the variables that are not the image's, and what it has instead.

    :param label: what :func:`own_environment` returned when the container was made
    :param metadata: the server's metadata by now, for containers without such a label
    """
    if label:
        return dict(json.loads(label))
    return dict.fromkeys(environment(metadata))


def files(injected: list[tuple[str, Any]], public_key: str | None) -> list[tuple[str, bytes]]:
    """Return the files to write into a container, as path and content."""
    written = [
        (path, content if isinstance(content, bytes) else str(content).encode())
        for path, content in injected
    ]
    if public_key:
        written.append((AUTHORIZED_KEYS, f"\n{public_key.strip()}\n".encode()))
    return written


def config_drive_files(
    instance: Instance,
    network_info: NetworkInfo,
    injected: list[tuple[str, Any]],
    admin_password: str | None,
) -> list[tuple[str, bytes]]:
    """Return the files of a config drive; none where the instance has no config drive."""
    if not configdrive.required_by(instance):
        return []
    extra = {"admin_pass": admin_password} if admin_password else {}
    drive = metadata.InstanceMetadata(
        instance, content=injected, extra_md=extra, network_info=network_info
    )
    return [
        (posixpath.join(CONFIG_DRIVE, path), data if isinstance(data, bytes) else data.encode())
        for path, data in drive.metadata_for_config_drive()
    ]


def pack(contents: list[tuple[str, bytes]], emptied: str | None = None) -> bytes:
    """Return an archive of files, owned by root and readable by root only.

    Paths are relative to the container's root and cannot leave it.

    :param emptied: a directory from which the engine removes everything that is not packed here
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        if emptied is not None:
            # The engine replaces a whole directory by a file, and the file by an empty directory.
            member = tarfile.TarInfo(emptied.strip("/"))
            tar.addfile(member)
            member.type, member.mode = tarfile.DIRTYPE, 0o700
            tar.addfile(member)
        for path, content in contents:
            member = tarfile.TarInfo(posixpath.normpath("/" + path).lstrip("/"))
            member.size, member.mode = len(content), 0o600
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def pack_directory(path: str) -> bytes:
    """Return an archive of one empty directory, owned by root."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        member = tarfile.TarInfo(path.lstrip("/"))
        member.type, member.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(member)
    return buffer.getvalue()


def password_command(password: str) -> tuple[list[str], dict[str, str]]:
    """Return a command that sets root's password without showing it in a list of processes.

    :return: the command and its environment
    """
    return ["sh", "-c", _SET_PASSWORD], {"NOVA_ADMIN_PASSWORD": password}
