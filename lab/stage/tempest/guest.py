# SPDX-License-Identifier: Apache-2.0
"""What the containers that Tempest boots have inside: an SSH server, and what its tests call there.

Debian's busybox is below. Tempest takes its guests for virtual machines: what a container does in
another way, and is asked for nevertheless, has a small script here, and says so.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping

from lab.errors import LabError
from lab.hosts.access import Host

SERVER = "/usr/sbin/dropbear"
COMMAND = "/sbin/tempest-guest"
# Of images without the server: a container lives as long as its command.
IDLE_COMMAND = (
    'sh -c \'trap "exit 0" TERM; for line in 1 2 3 4 5 6; do echo tempest container, line $line;'
    " done; while :; do sleep 1; done'"
)

# Tempest wants some lines in the console log. The server makes its keys when it is first asked for
# them, and ends at once when it is told to: the container lives as long as it does.
MAIN = f"""#!/bin/sh
for line in 1 2 3 4 5 6; do echo "tempest container, line $line"; done
exec {SERVER} -F -E -R
"""
# chpasswd(8), by which the driver sets a password, of what Debian's busybox has instead of it.
CHPASSWD = """#!/bin/sh
while IFS=: read -r user password; do
    hash=$(mkpasswd -m sha512 "$password") || exit 1
    sed -i "s|^$user:[^:]*:|$user:$hash:|" /etc/passwd || exit 1
done
"""
# Root is who logs in. The shell takes busybox's own mount before any program of that name.
SUDO = """#!/bin/sh
while :; do
    case ${1:-} in
    -u | -g) shift 2 ;;
    --) shift && break ;;
    -*) shift ;;
    *) break ;;
    esac
done
case ${1:-} in
mount | umount) program=/usr/bin/$1 && shift && exec "$program" "$@" ;;
*) exec "$@" ;;
esac
"""
# The config drive of a container is a directory, and a container may not mount: a link stands in.
BLKID = """#!/bin/sh
drive=/var/lib/cloud/seed/config_drive
case " $* " in
*" -L config-2 "*) [ -d $drive ] && echo $drive ;;
*) exit 2 ;;
esac
"""
MOUNT = """#!/bin/sh
[ $# = 2 ] && [ -d "$1" ] || exec /bin/busybox mount "$@"
rmdir "$2" && ln -s "$1" "$2"
"""
UMOUNT = """#!/bin/sh
[ $# = 1 ] && [ -L "$1" ] || exec /bin/busybox umount "$@"
rm "$1" && mkdir "$1"
"""
# Without a curl: Tempest asks the metadata service wherever it finds one, and the lab has none.
IDLE_SCRIPTS = {"bin/chpasswd": CHPASSWD}
SCRIPTS = {
    **IDLE_SCRIPTS,
    COMMAND.lstrip("/"): MAIN,
    "usr/bin/sudo": SUDO,
    "usr/bin/blkid": BLKID,
    "usr/bin/mount": MOUNT,
    "usr/bin/umount": UMOUNT,
}
DIRECTORIES = {"etc/dropbear": 0o700, "mnt": 0o755, "root/.ssh": 0o700}

_COLLECT = f"""set -e
libraries=$(ldd {SERVER} | grep -o '/[^ ]*')
tar --create --gzip --dereference --absolute-names --file - {SERVER} $libraries | base64
"""


def digest(command: str, scripts: Mapping[str, str]) -> str:
    """Return a digest by which an image with this command and these scripts is recognised."""
    text = json.dumps([command, SERVER, DIRECTORIES, scripts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def server(controller: Host) -> dict[str, bytes]:
    """Return the SSH server and its libraries, as the controller has them.

    :return: content by path
    :raises LabError: the controller has no such server
    """
    if controller.run(["test", "-x", SERVER], check=False).returncode:
        raise LabError(
            f"{controller.name} has no {SERVER}, which the images of Tempest need: make the lab"
            " anew, or install dropbear-bin there"
        )
    packed = base64.b64decode(controller.run(["sh", "-c", _COLLECT]).stdout)
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        return {member.name.lstrip("/"): _content(tar, member) for member in tar if member.isreg()}


def with_layer(
    archive: bytes, programs: Mapping[str, bytes], directories: Mapping[str, int]
) -> bytes:
    """Return a docker archive with one more layer.

    :param archive: an image, as `docker save` writes it
    :param programs: content of executable files by path in the image
    :param directories: permission bits of directories by path in the image
    """
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        read = {member.name: _content(tar, member) for member in tar if member.isreg()}
    manifest = json.loads(read["manifest.json"])[0]
    config = json.loads(read[manifest["Config"]])
    layers = [read[name] for name in manifest["Layers"]]
    layers.append(_tar(programs, 0o755, directories))
    config["rootfs"]["diff_ids"].append(f"sha256:{hashlib.sha256(layers[-1]).hexdigest()}")
    config.pop("history", None)
    text = json.dumps(config).encode()
    members = {f"{hashlib.sha256(text).hexdigest()}.json": text}
    members |= {f"{number}/layer.tar": layer for number, layer in enumerate(layers)}
    config_name, *layer_names = members
    record = {"Config": config_name, "RepoTags": None, "Layers": layer_names}
    return _tar({**members, "manifest.json": json.dumps([record]).encode()}, 0o644)


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    if file is None:
        raise LabError(f"{member.name} in an archive is not a file")
    return file.read()


def _tar(
    members: Mapping[str, bytes], mode: int, directories: Mapping[str, int] | None = None
) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, bits in (directories or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, bits
            tar.addfile(entry)
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), mode
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()
