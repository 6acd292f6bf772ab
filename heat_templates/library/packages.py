# SPDX-License-Identifier: Apache-2.0
"""Packages of the distribution: what an installation would do, and then exactly that."""

import re
import time
from abc import ABC, abstractmethod

from library.apt_locks import LOCK_TIMEOUT_S, await_locks
from library.faults import StepFailed
from library.step import ANY_CODE, Step, program_path

APT_LOCK_REFUSALS = re.compile(r"[Cc]ould not get lock|[Uu]nable to (?:acquire|lock)")
UNCONFIGURED = ("unpacked", "half-configured", "triggers-awaited", "triggers-pending")


class PackageManager(ABC):
    """What is asked of the distribution's packages."""

    tool = ""

    def __init__(self, step: Step) -> None:
        self.step = step

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


class Apt(PackageManager):
    """Debian and Ubuntu."""

    tool = "apt-get"
    options = ("-q", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Options::=--force-confold")

    def _apt(self, *arguments: str) -> str:
        done = self.step.run([self.tool, *self.options, *arguments], ok=ANY_CODE)
        if done.code:
            # What is in conflict is told on standard output, that it is so on standard error.
            unmet = re.search(r"unmet dependencies:\n((?: .*\n?)+)", done.stdout)
            said = f"{unmet.group(1) if unmet else ''}{done.stderr or done.stdout}".split()
            shown = " ".join(arguments)[:120]
            raise StepFailed(f"apt-get {shown} failed: {' '.join(said)[-600:]}")
        return done.stdout

    def _change(self, *arguments: str) -> None:
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while True:
            await_locks(self.step, deadline - time.monotonic())
            try:
                self._apt(*arguments)
                return
            except StepFailed as err:
                # Somebody was quicker to take a lock.
                if not APT_LOCK_REFUSALS.search(str(err)) or time.monotonic() > deadline:
                    raise

    def _simulated(self, *arguments: str) -> str:
        try:
            return self._apt("-s", *arguments)
        except StepFailed:
            if self.step.mode == "check":
                raise
            self._change("update")
            return self._apt("-s", *arguments)

    def _states(self) -> dict[str, str]:
        shown = self.step.run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\\n"])
        pairs = [line.split() for line in shown.stdout.splitlines()]
        return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}

    def _configure(self, packages: list[str]) -> None:
        """Configure those of these packages that an interrupted run has left unpacked."""
        states = self._states()
        left = [name for name in packages if states.get(name) in UNCONFIGURED]
        if left:
            await_locks(self.step, LOCK_TIMEOUT_S)
            self.step.run(["dpkg", "--force-confold", "--configure", *left])

    def installed(self) -> set[str]:
        """Return the names of all packages that are installed and configured."""
        return {name for name, state in self._states().items() if state == "installed"}

    def choice(self, packages: tuple[str, ...]) -> list[str]:
        """Return all of them."""
        return list(packages)

    def planned(self, packages: list[str]) -> list[str]:
        """Return the packages that are new, from apt's simulation."""
        text = self._simulated("install", "--no-install-recommends", *packages)
        disturbed = re.findall(r"^Inst (\S+) \[", text, re.M) + re.findall(
            r"^Remv (\S+)", text, re.M
        )
        # One of ours that a power cut has left half installed is put in anew.
        disturbed = [name for name in disturbed if name not in self.step.record.get("packages", [])]
        if disturbed:
            raise StepFailed(
                f"installing {packages[0]} would upgrade or remove packages of this host "
                f"({', '.join(disturbed[:10])}): bring them up to date first, then repeat"
            )
        return re.findall(r"^Inst (\S+) \(", text, re.M)

    def install(self, packages: list[str]) -> None:
        """Install; when a download fails, renew the index once and try again."""
        self._configure([*packages, *self.step.record.get("packages", [])])
        arguments = ("install", "-y", "--no-install-recommends", *packages)
        try:
            self._change(*arguments)
        except StepFailed:
            self._change("update")
            self._change(*arguments)

    def purge(self, packages: list[str]) -> None:
        """Purge, after a simulation has shown that nothing else goes with it."""
        self._configure(packages)
        states = self._states()
        there = [name for name in packages if states.get(name, "not-installed") != "not-installed"]
        if not there:
            return
        gone = set(re.findall(r"^(?:Purg|Remv) (\S+)", self._apt("-s", "purge", *there), re.M))
        if gone - set(there):
            raise StepFailed(
                f"other packages of this host need {there[0]} and what came with it "
                f"({', '.join(sorted(gone - set(there)))}): remove them first, then repeat"
            )
        self._change("purge", "-y", *there)


class Dnf(PackageManager):
    """RHEL-likes."""

    tool = "dnf"
    command = ("dnf", "install", "--setopt=install_weak_deps=False")

    def installed(self) -> set[str]:
        """Return the names of all installed packages."""
        return set(self.step.run(["rpm", "-qa", "--qf", "%{NAME}\\n"]).stdout.split())

    def choice(self, packages: tuple[str, ...]) -> list[str]:
        """Return the first of them that the repositories have.

        :raises StepFailed: when they have none
        """
        wanted = [name for name in packages if self._available(name)][:1]
        if not wanted:
            raise StepFailed(
                f"no repository of this host has {' or '.join(packages)}: add one, then repeat"
            )
        return wanted

    def planned(self, packages: list[str]) -> list[str]:
        """Return the packages that are new, from a transaction that is declined."""
        text = self.step.run([*self.command, "--assumeno", *packages], ok=(0, 1)).stdout
        disturbed = re.search(r"^(Upgrading|Removing|Downgrading):\n (\S+)", text, re.M)
        if disturbed:
            raise StepFailed(
                f"installing {packages[0]} would change {disturbed.group(2)} "
                f"({disturbed.group(1).lower()}): bring it up to date first, then repeat"
            )
        rows = re.findall(r"^ (\S+)\s+(?:x86_64|aarch64|noarch)\s", text, re.M)
        there = self.installed()
        return [name for name in dict.fromkeys(rows) if name not in there]

    def _available(self, name: str) -> bool:
        return self.step.run(["dnf", "-q", "list", "--available", name], ok=(0, 1)).code == 0

    def install(self, packages: list[str]) -> None:
        """Install without weak dependencies; when that fails, renew the index once."""
        try:
            self.step.run([*self.command, "-y", *packages])
        except StepFailed:
            self.step.run(["dnf", "-q", "makecache"])
            self.step.run([*self.command, "-y", *packages])

    def purge(self, packages: list[str]) -> None:
        """Remove exactly these; rpm refuses when another package needs one of them."""
        there = sorted(set(packages) & self.installed())
        if there:
            self.step.run(["rpm", "-e", *there])


def package_manager(step: Step, otherwise: str) -> PackageManager:
    """Return the package manager of this host.

    :param otherwise: what to do on a host that has none that is known
    """
    for manager in (Apt, Dnf):
        if program_path(manager.tool):
            return manager(step)
    raise StepFailed(f"neither apt-get nor dnf is on this host: {otherwise}")
