# SPDX-License-Identifier: Apache-2.0
"""A layer with OpenSSH's server and client as Debian has them, and keys for root."""

from __future__ import annotations

import io
import os
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path

from tests.functional.driver import packages

PORT = 2222
SERVER = ("/usr/sbin/sshd", "-D", "-e")
CLIENT = (
    *("/usr/bin/ssh", "-tt", "-F", "none", "-i", "/root/key", "-p", str(PORT)),
    *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "root@127.0.0.1"),
)
_PROGRAMS = {
    "usr/sbin/sshd": "openssh-server",
    "usr/bin/ssh": "openssh-client",
    "usr/bin/ssh-keygen": "openssh-client",
}
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nsshd:x:100:100::/run/sshd:/bin/false\n",
    "etc/group": "root:x:0:\nsshd:x:100:\ntty:x:5:\n",
    "etc/ssh/sshd_config": f"Port {PORT}\nHostKey /root/host\nUsePAM no\nStrictModes no\n",
}


def layer() -> bytes:
    """Pack it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", dereference=True) as out:
        for path in ("run", "run/sshd", "usr", "usr/sbin", "usr/bin", "root", "root/.ssh"):
            directory = tarfile.TarInfo(path)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o755
            out.addfile(directory)
        libraries: set[Path] = set()
        for program, package in _PROGRAMS.items():
            root = packages.root_with(program, package)
            out.add(root / program, program)
            libraries |= _libraries(root, root / program)
            if program.endswith("keygen"):
                for name, content in _keys(root, root / program).items():
                    _add(out, name, content, 0o600)
        for library in sorted(libraries):
            out.add(library, _place(library))
        for name, text in _FILES.items():
            _add(out, name, text.encode(), 0o644)
    return buffer.getvalue()


def _add(out: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), mode
    out.addfile(member, io.BytesIO(content))


def _keys(root: Path, keygen: Path) -> dict[str, bytes]:
    files = {}
    with tempfile.TemporaryDirectory() as work:
        for name in ("host", "key"):
            path = Path(work, name)
            command = (keygen, "-q", "-t", "ed25519", "-N", "", "-f", path)
            subprocess.run(command, env=_environment(root), check=True)
            files[f"root/{name}"] = path.read_bytes()
        files["root/.ssh/authorized_keys"] = Path(work, "key.pub").read_bytes()
    return files


def _environment(root: Path) -> dict[str, str]:
    return {**os.environ, "LD_LIBRARY_PATH": "" if root == Path("/") else packages.libraries(root)}


def _libraries(root: Path, program: Path) -> set[Path]:
    told = subprocess.run(
        ["ldd", program], env=_environment(root), check=True, capture_output=True, text=True
    ).stdout
    return {Path(path) for path in re.findall(r"(/\S+) \(0x", told)}


def _place(library: Path) -> str:
    """Return where a library is for the loader of a container."""
    if library.name.startswith("ld-linux"):
        return str(library).lstrip("/")
    return f"lib/{os.uname().machine}-linux-gnu/{library.name}"
