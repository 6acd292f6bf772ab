# SPDX-License-Identifier: Apache-2.0
"""Packages of Debian and Ubuntu."""

from __future__ import annotations

import re

from library.apt_locks import AptGet
from library.faults import StepFailed
from library.package_manager import PackageManager
from library.step import Step

# What is known of packages that an engine of the distribution's would take the place of.
CONFLICTS = {
    "containerd.io": (
        "it is from Docker's own repository, so install docker-ce from there (`apt-get install "
        "docker-ce`), then repeat"
    ),
    "podman-docker": "remove it (`apt-get remove podman-docker`), or leave the host out",
}
IN_CONFLICT = "remove it if nobody needs it, or leave the host out"


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
        self.versions = dict(re.findall(r"^Inst (\S+) \((?:\d+:)?([^\s)]+)", text, re.M))
        return [*self.versions]

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
