# SPDX-License-Identifier: Apache-2.0
"""The sandbox: a container beside each workload, which owns the network namespace.

Docker starts a container at the moment it makes its network namespace: a workload with a namespace
of its own would run before its ports are wired, and take the interfaces with it when it ends. The
sandbox only waits: ports are plugged into it first, then the workload joins it, and may end and
start again. The sandbox's program is a few machine instructions, made here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import os
import platform
import struct
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from oslo_log import log as logging

from novadocker import exceptions
from novadocker.virt.docker.engine import client

LOG = logging.getLogger(__name__)

REPOSITORY = "nova-docker/sandbox"
HOST_NAME_MAX = 64

# pause() for ever.
_X86_64 = bytes.fromhex("b8220000000f05ebf7")
# ppoll(NULL, 0, NULL, NULL) for ever: the architecture has no pause().
_AARCH64 = b"".join(
    struct.pack("<I", word)
    for word in (0xD2800000, 0xD2800001, 0xD2800002, 0xD2800003, 0xD2800928, 0xD4000001, 0x17FFFFFA)
)
# e_machine and the instructions.
_MACHINES = {"x86_64": (62, _X86_64), "aarch64": (183, _AARCH64)}
_LOAD_ADDRESS = 0x400000
# Of an Elf64_Ehdr and of an Elf64_Phdr.
_HEADER_BYTES, _SEGMENT_BYTES = 64, 56
# Name of the container whose file system is tried out, and its limit.
_PROBE = "nova-docker-probe"
_PROBE_MB = 16
# In the engine's message when a limit is reached: EDQUOT, or ENOSPC for a project quota on XFS.
_NO_SPACE = ("disk quota exceeded", "no space left on device")
# moby's daemon/containerd/image_snapshot.go takes StorageOpt and does not read it.
_CONTAINERD_STORE = "io.containerd.snapshotter.v1"


def program(machine: str) -> bytes:
    """Make the static ELF program for a machine (``uname -m``).

    :raises EngineError: the machine is not known
    """
    if machine not in _MACHINES:
        raise exceptions.EngineError(
            f"no sandbox program for {machine}: x86_64 and aarch64 are known"
        )
    number, code = _MACHINES[machine]
    size = _HEADER_BYTES + _SEGMENT_BYTES + len(code)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",  # e_ident: 64 bits, little-endian, version 1
        2,  # e_type: ET_EXEC
        number,  # e_machine
        1,  # e_version
        _LOAD_ADDRESS + _HEADER_BYTES + _SEGMENT_BYTES,  # e_entry
        _HEADER_BYTES,  # e_phoff
        0,  # e_shoff
        0,  # e_flags
        _HEADER_BYTES,  # e_ehsize
        _SEGMENT_BYTES,  # e_phentsize
        1,  # e_phnum
        0,  # e_shentsize
        0,  # e_shnum
        0,  # e_shstrndx
    )
    segment = struct.pack(
        "<IIQQQQQQ",
        1,  # p_type: PT_LOAD
        5,  # p_flags: PF_R | PF_X
        0,  # p_offset
        _LOAD_ADDRESS,  # p_vaddr
        _LOAD_ADDRESS,  # p_paddr
        size,  # p_filesz
        size,  # p_memsz
        0x1000,  # p_align
    )
    return header + segment + code


def has_containerd_store(info: Mapping[str, Any]) -> bool:
    """Return whether the engine keeps its images in containerd's store.

    :param info: the engine's answer to ``info``
    """
    return ["driver-type", _CONTAINERD_STORE] in (info.get("DriverStatus") or [])


def root_filesystem(elf: bytes) -> bytes:
    """Make the tar archive of the sandbox's file system, identical for identical programs."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        member = tarfile.TarInfo("pause")
        member.size, member.mode = len(elf), 0o755
        tar.addfile(member, io.BytesIO(elf))
    return buffer.getvalue()


def host_name(name: str | None) -> str | None:
    """Return a host name that the kernel takes: the first label of one that is too long.

    Nova takes fully qualified names of up to 255 characters, the kernel 64 (HOST_NAME_MAX).
    """
    if name is None or len(name) <= HOST_NAME_MAX:
        return name
    return name.partition(".")[0][:HOST_NAME_MAX].rstrip("-")


@dataclasses.dataclass(frozen=True)
class Namespace:
    """The network namespace of a running sandbox.

    :param path: path of the namespace
    :param hosts_file: path of the hosts file of the containers in it; empty where there is none
    :param fresh: whether the sandbox was started just now, so that the namespace is empty
    """

    path: str
    hosts_file: str
    fresh: bool

    @classmethod
    def of(cls, details: Mapping[str, Any], fresh: bool) -> Namespace:
        """Return the namespace of a sandbox that the engine describes."""
        return cls(
            str(details["NetworkSettings"]["SandboxKey"]), str(details.get("HostsPath", "")), fresh
        )


class Sandboxes:
    """Makes and starts sandboxes."""

    def __init__(self, engine: client.Engine) -> None:
        self._engine = engine
        self._elf = program(platform.machine())
        self.image = f"{REPOSITORY}:{hashlib.sha256(self._elf).hexdigest()[:16]}"

    def ensure_image(self) -> None:
        """Make the sandbox's image unless the engine has it."""
        try:
            self._engine.call("inspect_image", self.image)
        except exceptions.NotFound:
            LOG.info("Making the sandbox image %s", self.image)
            repository, tag = self.image.rsplit(":", 1)
            self._engine.call(
                "import_image_from_data",
                root_filesystem(self._elf),
                repository=repository,
                tag=tag,
                changes=['ENTRYPOINT ["/pause"]'],
            )

    def limits_file_systems(self) -> bool:
        """Return whether the engine limits a container's file system, by writing too much into one.

        An accepted limit proves nothing: containerd's image store accepts one and sets none.
        """
        info = self._engine.call("info")
        if has_containerd_store(info):
            LOG.info("Docker's image store is containerd's, which limits no file system")
            return False
        host_config = self._engine.call(
            "create_host_config", network_mode="none", storage_opt={"size": f"{_PROBE_MB}M"}
        )
        try:
            # A crash may have left it.
            with contextlib.suppress(exceptions.NotFound):
                self._engine.call("remove_container", _PROBE, force=True)
            probe = self._engine.call(
                "create_container", self.image, name=_PROBE, host_config=host_config
            )
        except exceptions.EngineUnreachable:
            raise
        except exceptions.EngineError as err:
            LOG.debug("The engine cannot limit file systems: %s", err)
            return False
        try:
            return self._is_limited(probe["Id"])
        finally:
            self._engine.call("remove_container", probe["Id"], force=True)

    def _is_limited(self, container: str) -> bool:
        try:
            self._engine.call("put_archive", container, "/", _too_much(), patient=True)
        except exceptions.EngineUnreachable:
            raise
        except exceptions.EngineError as err:
            if not any(message in str(err).lower() for message in _NO_SPACE):
                raise
            return True
        LOG.warning(
            "Docker takes a limit of %(limit)s MB for a file system and lets %(written)s MB be "
            "written: root disks are not limited",
            {"limit": _PROBE_MB, "written": 2 * _PROBE_MB},
        )
        return False

    def create(
        self,
        name: str,
        labels: dict[str, str],
        hostname: str | None,
        dns: list[str],
        addresses: Sequence[str] = (),
        advertisements: bool = False,
    ) -> None:
        """Make a sandbox, without starting it.

        :param hostname: host name that the workload sees
        :param dns: name servers of the workload
        :param addresses: addresses of the host name in ``/etc/hosts``
        :param advertisements: whether its ports take default routes from routers that announce
            themselves by IPv6
        :raises Conflict: the name is taken
        """
        sysctls = {}
        if os.path.exists("/proc/sys/net/ipv6/conf"):
            # Docker turns IPv6 off in a container without a network of its own. Addresses come from
            # Neutron alone. A device that arrives begins with the default's.
            sysctls = {
                f"net.ipv6.conf.{scope}.{key}": value
                for scope in ("all", "default")
                for key, value in (("disable_ipv6", "0"), ("accept_ra", "0"), ("autoconf", "0"))
            }
            if advertisements:
                sysctls["net.ipv6.conf.default.accept_ra"] = "1"
        host_config = self._engine.call(
            "create_host_config",
            network_mode="none",
            cap_drop=["ALL"],
            read_only=True,
            dns=dns,
            # No domains of the host's, and none of its options: one that is the default.
            dns_search=["."],
            dns_opt=["ndots:1"],
            extra_hosts=[f"{host_name(hostname)}:{address}" for address in addresses]
            if hostname
            else None,
            security_opt=["no-new-privileges:true"],
            sysctls=sysctls or None,
            # The sandbox's program is one thread; the runtime that starts it needs some more.
            pids_limit=64,
            restart_policy={"Name": "no"},
            log_config={"Type": "none"},
        )
        create = {
            "name": name,
            "hostname": host_name(hostname),
            "labels": labels,
            "host_config": host_config,
        }
        try:
            self._engine.call("create_container", self.image, **create)
        except exceptions.NotFound:
            # Somebody pruned the engine's images.
            self.ensure_image()
            self._engine.call("create_container", self.image, **create)

    def ensure_running(self, name: str, details: Mapping[str, Any]) -> Namespace:
        """Start a sandbox unless it runs.

        :param details: the engine's description of it
        :raises NotFound: there is none of that name
        """
        return Namespace.of(details, False) if details["State"]["Running"] else self.start(name)

    def start(self, name: str) -> Namespace:
        """Start a sandbox.

        :raises NotFound: there is none of that name
        """
        self._engine.call("start", name)
        return Namespace.of(self._engine.call("inspect_container", name), True)

    def namespace(self, name: str) -> Namespace | None:
        """Return the namespace of a sandbox; None when it does not run or does not exist."""
        try:
            details = self._engine.call("inspect_container", name)
        except exceptions.NotFound:
            return None
        return Namespace.of(details, False) if details["State"]["Running"] else None


def _too_much() -> Iterator[bytes]:
    """Yield an archive of twice the probe's limit, of data that cannot be compressed."""
    member = tarfile.TarInfo("probe")
    member.size = 2 * _PROBE_MB << 20
    yield member.tobuf(tarfile.USTAR_FORMAT)
    for _ in range(2 * _PROBE_MB):
        yield os.urandom(1 << 20)
    yield b"\0" * (2 * tarfile.BLOCKSIZE)
