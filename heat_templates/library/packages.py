# SPDX-License-Identifier: Apache-2.0
"""Packages of the distribution: what an installation would do, and then exactly that."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod

from library.apt_locks import AptGet
from library.faults import StepFailed
from library.step import Step, program_path

# What is known of packages that an engine of the distribution's would take the place of.
CONFLICTS = {
    "containerd.io": (
        "it is from Docker's own repository, so install docker-ce from there (`apt-get install "
        "docker-ce`), then repeat"
    ),
    "podman-docker": "remove it (`apt-get remove podman-docker`), or leave the host out",
}
IN_CONFLICT = "remove it if nobody needs it, or leave the host out"


class PackageManager(ABC):
    """What is asked of the distribution's packages; all that differs by distribution is here.

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


class Apt(PackageManager):
    """Debian and Ubuntu."""

    tool = "apt-get"
    engine = ("docker.io", "iptables")
    nova = ("nova-compute", "neutron-openvswitch-agent")
    starts_services = True

    def __init__(self, step: Step) -> None:
        super().__init__(step)
        self._apt = AptGet(step)

    def installed(self) -> set[str]:
        """Return the names of all packages that are installed and configured."""
        return {name for name, state in self._apt.states().items() if state == "installed"}

    def choice(self, packages: tuple[str, ...]) -> list[str]:
        """Return all of them."""
        return list(packages)

    def planned(self, packages: list[str]) -> list[str]:
        """Return the packages that are new, from apt's simulation."""
        text = self._apt.simulate("install", "--no-install-recommends", *packages)
        # One of ours that a power cut has left half installed is put in anew.
        ours = self.step.record.get("packages", [])
        gone = [name for name in re.findall(r"^Remv (\S+)", text, re.M) if name not in ours]
        if gone:
            remedy = next((CONFLICTS[name] for name in gone if name in CONFLICTS), IN_CONFLICT)
            raise StepFailed(
                f"installing {packages[0]} would remove {', '.join(gone[:10])}, in conflict with "
                f"it or what it needs: {remedy}"
            )
        raised = re.findall(r"^Inst (\S+) \[", text, re.M)
        raised = [name for name in raised if name not in ours]
        if raised:
            raise StepFailed(
                f"installing {packages[0]} would upgrade packages of this host "
                f"({', '.join(raised[:10])}): bring them up to date first, then repeat"
            )
        return re.findall(r"^Inst (\S+) \(", text, re.M)

    def install(self, packages: list[str]) -> None:
        """Install; when a download fails, renew the index once and try again."""
        self._apt.configure([*packages, *self.step.record.get("packages", [])])
        arguments = ("install", "-y", "--no-install-recommends", *packages)
        try:
            self._apt.change(*arguments)
        except StepFailed:
            self._apt.change("update")
            self._apt.change(*arguments)

    def purge(self, packages: list[str]) -> None:
        """Purge, after a simulation has shown that nothing else goes with it."""
        self._apt.configure(packages)
        states = self._apt.states()
        there = [name for name in packages if states.get(name, "not-installed") != "not-installed"]
        if not there:
            return
        gone = set(re.findall(r"^(?:Purg|Remv) (\S+)", self._apt.ask("-s", "purge", *there), re.M))
        if gone - set(there):
            raise StepFailed(
                f"other packages of this host need {there[0]} and what came with it "
                f"({', '.join(sorted(gone - set(there)))}): remove them first, then repeat"
            )
        self._apt.change("purge", "-y", *there)

    def owner(self, path: str) -> str:
        """Return the package of a file, which dpkg may know by its place before /usr was merged."""
        for name in (path, re.sub(r"^/usr", "", path)):
            shown = self.step.run(["dpkg-query", "-S", name], ok=(0, 1)).stdout
            if shown:
                return shown.split(":")[0]
        return ""


class Dnf(PackageManager):
    """RHEL-likes."""

    tool = "dnf"
    engine = ("moby-engine", "docker-ce")
    nova = ("openstack-nova-compute", "openstack-neutron-openvswitch")
    starts_services = False
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
        done = self.step.run([*self.command, "--assumeno", *packages], ok=(0, 1))
        text = done.stdout
        if done.code and "Operation aborted" not in done.stdout + done.stderr:
            said = " ".join((done.stderr or done.stdout).split())[-600:]
            raise StepFailed(
                f"dnf cannot install {packages[0]}: {said}. Remove what is in conflict, or install "
                "the Docker Engine by hand, then repeat"
            )
        disturbed = re.search(
            r"^(Upgrading|Removing|Downgrading|Reinstalling)[\w ]*:\n (\S+)", text, re.M
        )
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

    def owner(self, path: str) -> str:
        """Return the package of a file, as rpm knows it."""
        done = self.step.run(["rpm", "-qf", "--qf", "%{NAME}", path], ok=(0, 1))
        return "" if done.code else done.stdout


MANAGERS: tuple[type[PackageManager], ...] = (Apt, Dnf)


def package_manager(step: Step, otherwise: str) -> PackageManager:
    """Return the package manager of this host.

    :param otherwise: what to do on a host that has none that is known
    """
    for manager in MANAGERS:
        if program_path(manager.tool):
            return manager(step)
    tools = " nor ".join(manager.tool for manager in MANAGERS)
    raise StepFailed(f"neither {tools} is on this host: {otherwise}")
