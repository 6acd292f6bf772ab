# SPDX-License-Identifier: Apache-2.0
"""What can go wrong in the lab; every message says what failed, where, and what to do next."""

from __future__ import annotations

from pathlib import Path


class LabError(Exception):
    """Base of all errors that the lab reports as one line.

    :param message: what failed and what to do next
    :param log: the file that holds the details, when there is one
    """

    def __init__(self, message: str, *, log: Path | None = None) -> None:
        super().__init__(message)
        self.log = log


class CommandError(LabError):
    """A command ended with a non-zero exit code or ran out of time."""

    def __init__(
        self, message: str, *, returncode: int, output: str = "", log: Path | None = None
    ) -> None:
        super().__init__(message, log=log)
        self.returncode = returncode
        self.output = output


class EngineError(LabError):
    """The machine's Docker engine is missing and cannot be made to run."""


class ImageError(LabError):
    """An image of the lab cannot be built."""


class HostError(LabError):
    """A host does not exist or does not boot."""
