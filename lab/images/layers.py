# SPDX-License-Identifier: Apache-2.0
"""The images of the lab's hosts: layers whose tags are digests of all that goes into them."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence

from lab.errors import CommandError, ImageError
from lab.machine import apt_sources, commands, python_index
from lab.machine.progress import Progress
from lab.settings import LAB, HostSettings, LabSettings

BUILD_DIR = "/mnt"
TMPFS = pathlib.Path("/dev/shm")
TMPFS_NEEDED_BYTES = 2 << 30

BASE_PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "procps", "kmod", "netbase", "less", "xz-utils"),
    *("python3", "python3-venv", "ca-certificates", "openssl", "curl"),
    *("openssh-server", "sudo", "iproute2", "iptables", "nftables", "ebtables", "ipset"),
    *("conntrack", "ethtool", "iputils-ping", "iputils-arping", "dnsmasq-base", "tcpdump"),
    *("openvswitch-switch", "ovn-host", "lxcfs", "busybox-static"),
)
BASE_OPTIONS = ('Acquire::Languages "none"', 'Acquire::GzipIndexes "true"')
NO_DOCUMENTS = (
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/info/*",
)


@dataclasses.dataclass(frozen=True)
class Layer:
    """One layer: a script run in its parent, and the lab's files that the script uses.

    :param name: also the name of its script, ``<name>.sh``
    :param parent: the layer below
    :param files: paths in the lab's folder, seen by the script under /mnt
    :param timeout_s: seconds that the script may take
    :param folder: where in the lab's folder the script is
    """

    name: str
    parent: str
    files: tuple[str, ...] = ()
    timeout_s: float = 900
    folder: str = "images/scripts"

    def sources(self) -> list[pathlib.Path]:
        """Return the script and the files that it uses."""
        return [LAB / f"{self.folder}/{self.name}.sh", *(LAB / name for name in self.files)]


LAYERS = (
    Layer("node", "base", ("images/scripts/boot",), 300),
    Layer("openstack", "node", ("openstack.lock",)),
    Layer("dashboard", "openstack", ("dashboard.lock", "images/local_settings.py")),
    Layer("controller", "dashboard"),
)
ROLE_LAYERS = {"controller": "controller", "compute": "openstack", "blank": "openstack"}


class Images:
    """The images of one lab on one machine.

    :param settings: the plan of the lab
    :param progress: told about each layer that has to be built
    :param upper: layers of the stage; hosts boot them in place of their parents
    """

    def __init__(
        self, settings: LabSettings, progress: Progress, upper: Sequence[Layer] = ()
    ) -> None:
        self.settings = settings
        self.progress = progress
        self.layers = (*LAYERS, *upper)
        self._over = {layer.parent: layer.name for layer in upper}
        self.release = apt_sources.machine_release()
        self.sources = apt_sources.machine_sources(self.release)
        self.options = apt_sources.machine_options()

    def reference(self, layer: str) -> str:
        """Return the reference of a layer's image, ``<prefix>-<layer>:<digest>``."""
        return f"{self.settings.image_prefix}-{layer}:{self._tags()[layer]}"

    def for_host(self, host: HostSettings) -> str:
        """Return the reference of the image that a host of its role boots."""
        layer = ROLE_LAYERS[host.role]
        return self.reference(self._over.get(layer, layer))

    def ensure(self) -> None:
        """Build the layers that the engine does not have.

        :raises ImageError: naming the layer and the log of its build
        """
        if not exists(self.reference("base")):
            with self.progress.step(f"build image base ({self.release}, from apt)"):
                self._build_base()
                self._remove_older("base")
        for layer in self.layers:
            if not exists(self.reference(layer.name)):
                with self.progress.step(f"build image {layer.name}"):
                    self._build(layer)
                    self._remove_older(layer.name)

    def _remove_older(self, layer: str) -> None:
        current = self.reference(layer)
        family = current.rpartition(":")[0] + ":"
        remove([x for x in known(self.settings) if x.startswith(family) and x != current])

    def _tags(self) -> dict[str, str]:
        tags = {
            "base": digest(
                self.release,
                *(source.stanza() for source in self.sources),
                *BASE_PACKAGES,
                *BASE_OPTIONS,
                *NO_DOCUMENTS,
            )
        }
        for layer in self.layers:
            parts = [tags[layer.parent], *map(_content, layer.sources())]
            tags[layer.name] = digest(*parts)
        return tags

    def _log(self, layer: str) -> pathlib.Path:
        return self.settings.log_dir / f"image-{layer}.log"

    def _build_base(self) -> None:
        with contextlib.ExitStack() as stack:
            roomy = TMPFS.is_dir() and shutil.disk_usage(TMPFS).free > TMPFS_NEEDED_BYTES
            scratch = stack.enter_context(
                tempfile.TemporaryDirectory(dir=TMPFS if roomy else None, prefix="novadocker-lab-")
            )
            sources = pathlib.Path(scratch) / "machine.sources"
            sources.write_text("\n".join(source.stanza() for source in self.sources))
            argv = [
                *("mmdebstrap", "--mode=root", "--variant=minbase", "--format=tar"),
                f"--include={','.join(BASE_PACKAGES)}",
                "--skip=cleanup/apt/lists",
                "--dpkgopt=force-unsafe-io",
                *(f"--dpkgopt={option}" for option in NO_DOCUMENTS),
                *(f"--aptopt={option}" for option in (*BASE_OPTIONS, *self.options)),
                '--customize-hook=rm -f "$1/etc/hostname" "$1/etc/resolv.conf"',
                *(self.release, "-", str(sources)),
            ]
            self._import(argv, self.reference("base"), {"TMPDIR": scratch})

    def _import(self, argv: Sequence[str], reference: str, env: dict[str, str]) -> None:
        log = self._log("base")
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            maker = subprocess.Popen(
                ["env", *(f"{k}={v}" for k, v in env.items()), *argv],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=out,
            )
            taker = subprocess.run(
                ["docker", "import", "-", f"{reference}-partial"],
                stdin=maker.stdout,
                stdout=out,
                stderr=out,
                check=False,
            )
            made = maker.wait()
        if made or taker.returncode:
            remove([f"{reference}-partial"])
            failed = f"mmdebstrap: exit code {made}" if made else "docker import failed"
            raise ImageError(f"image base: {failed}", log=log)
        rename(f"{reference}-partial", reference)

    def _build(self, layer: Layer) -> None:
        container = f"{builder_prefix(self.settings)}{layer.name}"
        log = self._log(layer.name)
        parent = self.reference(layer.parent)
        cache = self.settings.cache_dir / "build"
        (cache / "apt" / "partial").mkdir(parents=True, exist_ok=True)
        (cache / "uv").mkdir(parents=True, exist_ok=True)
        commands.run(["docker", "rm", "--force", container], check=False)
        with _build_files(layer.sources()) as folder:
            mounts = [
                f"{folder}:{BUILD_DIR}:ro",
                f"{cache}:{BUILD_DIR}/cache",
                f"{python_index.uv_program()}:{BUILD_DIR}/uv:ro",
                f"{python_index.ca_bundle()}:{BUILD_DIR}/ca.crt:ro",
            ]
            # What reaches the build by "exec" is not kept in the image, what "run" sets is.
            env = {
                "SSL_CERT_FILE": f"{BUILD_DIR}/ca.crt",
                "PIP_CERT": f"{BUILD_DIR}/ca.crt",
                **python_index.machine_index(),
            }
            try:
                commands.run(
                    [
                        *("docker", "run", "--detach", "--name", container, "--network", "host"),
                        *(part for mount in mounts for part in ("--volume", mount)),
                        *(parent, "sleep", "infinity"),
                    ]
                )
                exports = [part for k, v in env.items() for part in ("--env", f"{k}={v}")]
                script = ["bash", f"{BUILD_DIR}/{layer.name}.sh"]
                commands.run_logged(
                    ["docker", "exec", *exports, container, *script],
                    log,
                    timeout_s=layer.timeout_s,
                    what=f"image {layer.name}",
                )
                boot = 'CMD ["/usr/local/lib/novadocker-lab/boot"]'
                commit(container, self.reference(layer.name), boot)
            except CommandError as err:
                raise ImageError(f"cannot build: {err}", log=log) from err
            finally:
                commands.run(["docker", "rm", "--force", container], check=False)


@contextlib.contextmanager
def _build_files(files: Sequence[pathlib.Path]) -> Iterator[pathlib.Path]:
    with tempfile.TemporaryDirectory(prefix="novadocker-lab-") as name:
        folder = pathlib.Path(name)
        (folder / "cache").mkdir()
        for empty in ("uv", "ca.crt"):
            (folder / empty).touch()
        for path in files:
            shutil.copy(path, folder / path.name)
        yield folder


def _content(path: pathlib.Path) -> str:
    return path.name + "\0" + path.read_text()


def digest(*parts: str) -> str:
    """Return a short digest of texts, in their order."""
    total = hashlib.sha256()
    for part in parts:
        total.update(hashlib.sha256(part.encode()).digest())
    return total.hexdigest()[:16]


def exists(reference: str) -> bool:
    """Return whether the engine has an image."""
    return commands.run(["docker", "image", "inspect", reference], check=False).returncode == 0


def commit(container: str, reference: str, change: str | None = None) -> None:
    """Make an image of a container's file system as it is now.

    :param change: a Dockerfile instruction for the image's configuration
    """
    options = ["--change", change] if change else []
    commands.run(["docker", "commit", *options, container, reference], timeout_s=300)


def rename(old: str, new: str) -> None:
    """Give an image another name."""
    commands.run(["docker", "tag", old, new])
    remove([old])


def builder_prefix(settings: LabSettings) -> str:
    """Return how the names of containers begin in which images and wheels are made."""
    return f"{settings.prefix}-build-"


def remove_builders(settings: LabSettings) -> None:
    """Remove what an interrupted build has left."""
    done = commands.run(["docker", "ps", "-aq", "--filter", f"name=^/{builder_prefix(settings)}"])
    if done.stdout.split():
        commands.run(["docker", "rm", "--force", "--volumes", *done.stdout.split()])


def known(settings: LabSettings) -> list[str]:
    """Return the references of all images of the lab, current or not."""
    done = commands.run(["docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}"])
    prefix = f"{settings.image_prefix}-"
    return [line for line in done.stdout.split() if line.startswith(prefix)]


def remove(references: Sequence[str]) -> None:
    """Remove images; those in use by a container stay."""
    if references:
        commands.run(["docker", "image", "rm", *references], check=False, timeout_s=300)
