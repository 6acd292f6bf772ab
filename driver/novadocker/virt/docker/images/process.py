# SPDX-License-Identifier: Apache-2.0
"""Runs :mod:`.program`, which reads archives of tenants, within limits of the kernel's.

As Nova runs ``qemu-img``: what an archive may cost is bounded, whatever in it was not thought of.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator, Mapping
from typing import IO, Any

from oslo_concurrency import processutils

from novadocker import exceptions
from novadocker.virt.docker.images import archive, compression, program

PROGRAM = program.__name__
# Python and its libraries, locales mapped as a whole, 128 MiB to unpack xz or zstd, and headers.
MEMORY_BYTES = 768 << 20
# Of the processor's time: for headers and names, of which there are so many at most, and for bytes,
# of which slow machines unpack so many in a second from bzip2.
CPU_S = 60
CPU_BYTES_A_SECOND = 16 << 20
_PIPE_BYTES = 1 << 20
_MAX_FAULT_BYTES = 16 << 10
# What a fault in a library ends the program by; SIGKILL would be of the host's.
_CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE)


class Archives:
    """Reads archives in processes of their own.

    :param max_bytes: largest image, packed or unpacked
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._cpu_s = CPU_S + max_bytes // CPU_BYTES_A_SECOND
        self._limits = processutils.ProcessLimits(
            address_space=MEMORY_BYTES,
            cpu_time=self._cpu_s + program.SPARE_CPU_S,
            core_file_size=0,
        )

    def unpacked(self, path: str) -> Generator[bytes, None, None]:
        """Yield what is packed in a file.

        :raises ImageRefused: it is damaged, or more than the limit
        :raises DriverError: this host cannot unpack it
        """
        return self._answer("unpack", path)

    def image(self, path: str, machine: str) -> archive.Image:
        """Return the one image of an archive that is not packed, verified.

        :param machine: the host's ``uname -m``
        :raises ImageRefused: as :meth:`archive.Archive.image` says, or reading it takes too much
        """
        answer = b"".join(self._answer("verify", path, machine=machine))
        return program.image_from_json(json.loads(answer))

    def rewritten(self, path: str, image: archive.Image, name: str) -> Generator[bytes, None, None]:
        """Yield an archive anew, with the verified image only.

        :param name: name that the engine gives the image when it loads the archive
        :raises ImageRefused: the archive has changed since it was verified
        """
        return self._answer("rewrite", path, image=program.image_to_json(image), name=name)

    def cleaned(
        self, path: str, machine: str, without_env: Mapping[str, str | None], without: str | None
    ) -> Generator[bytes, None, None]:
        """Yield an image that the engine saved, without what is the instance's own.

        :param without_env: environment variables to leave out, and values to have instead
        :param without: directory to leave out, from the root
        """
        return self._answer(
            "clean", path, machine=machine, without_env=dict(without_env), without=without
        )

    def flattened(
        self,
        path: str,
        config: dict[str, Any],
        without_env: Mapping[str, str | None],
        without: str | None,
    ) -> Generator[bytes, None, None]:
        """Yield an image of one layer, which the engine exported.

        :param config: the image's configuration, as far as it is not about layers
        :param without_env: environment variables to leave out, and values to have instead
        :param without: directory to leave out, from the root
        """
        return self._answer(
            "flatten", path, config=config, without_env=dict(without_env), without=without
        )

    def _answer(self, action: str, path: str, **request: Any) -> Generator[bytes, None, None]:
        request = {
            "action": action,
            "path": os.path.abspath(path),
            "max_bytes": self._max_bytes,
            **request,
        }
        with self._started() as process:
            stdin, stdout, stderr = _pipes(process)
            # One that dies at once says why by other means.
            with contextlib.suppress(BrokenPipeError), stdin:
                stdin.write(json.dumps(request).encode())
            while data := stdout.read(compression.CHUNK):
                yield data
            told = stderr.read(_MAX_FAULT_BYTES).decode(errors="replace")
            code = process.wait()
        if code != 0:
            raise self._fault(code, told)

    @contextlib.contextmanager
    def _started(self) -> Iterator[subprocess.Popen[bytes]]:
        python = sys.executable
        process = subprocess.Popen(
            [
                *(python, "-m", "oslo_concurrency.prlimit", *self._limits.prlimit_args(), "--"),
                *(python, "-m", PROGRAM),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # Python looks there for modules first.
            cwd="/",
        )
        try:
            _widen(process)
            yield process
        finally:
            # Whoever reads may have had enough.
            process.kill()
            process.wait()
            for pipe in _pipes(process):
                with contextlib.suppress(OSError):
                    pipe.close()

    def _fault(self, code: int, told: str) -> exceptions.DriverError:
        if code == program.REFUSED:
            return exceptions.ImageRefused(told)
        if code == program.NO_MEMORY:
            return exceptions.ImageRefused(
                f"reading it takes more than {MEMORY_BYTES >> 20} MiB of memory"
            )
        if code == -signal.SIGXCPU:
            return exceptions.ImageRefused(
                f"reading it takes more than {self._cpu_s} s of the processor's time"
            )
        if -code in _CRASHES:
            return exceptions.ImageRefused(f"whoever reads it crashes with signal {-code}")
        if code == program.LACKING:
            return exceptions.DriverError(told)
        return exceptions.DriverError(
            f"the program that reads archives has ended with {code}: {told[-2000:]}"
        )


def _widen(process: subprocess.Popen[bytes]) -> None:
    """Make the pipes larger, so that both sides wait for each other less often.

    The kernel counts pipes by user: one of the same number in a container may have all there are.
    """
    with contextlib.suppress(OSError):
        for pipe in _pipes(process):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    return process.stdin, process.stdout, process.stderr
