# SPDX-License-Identifier: Apache-2.0
"""What is asked of a distribution's package manager."""

from __future__ import annotations

from abc import ABC, abstractmethod

from library.step import Step


class PackageManager(ABC):
    """What an installation would do, and then exactly that; a class for each package manager.

    :cvar tool: the program by which a host is known to have it
    :cvar engine: packages of the Docker Engine, from which :meth:`choice` takes
    :cvar nova: packages of nova-compute and its network agent
    :cvar starts_services: whether a package starts its service, now and at each boot
    """

    tool: str
    engine: tuple[str, ...]
    nova: tuple[str, ...]
    starts_services: bool

    def __init__(self, step: Step) -> None:
        self.step = step
        # What is to be installed, as far as a simulation has told.
        self.versions: dict[str, str] = {}

    @abstractmethod
    def installed(self) -> set[str]:
        """Return the names of all installed packages."""

    @abstractmethod
    def choice(self, packages: tuple[str, ...]) -> list[str]:
        """Return those of the packages that are to be installed on this distribution."""

    @abstractmethod
    def planned(self, packages: list[str]) -> list[str]:
        """Return the packages that an installation would add.

        :raises StepFailed: when it would upgrade or remove another one
        """

    @abstractmethod
    def install(self, packages: list[str]) -> None:
        """Install packages without what they only recommend."""

    @abstractmethod
    def purge(self, packages: list[str]) -> None:
        """Remove packages with their configuration, and no other package."""

    @abstractmethod
    def owner(self, path: str) -> str:
        """Return the package that a file belongs to, "" when it belongs to none."""
