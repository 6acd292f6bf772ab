# SPDX-License-Identifier: Apache-2.0
"""Packages of distributions that have RPM."""

from __future__ import annotations

import re

from library import module_streams
from library.faults import StepFailed
from library.package_manager import PackageManager
from library.step import Step


class Rpm(PackageManager):
    """What such distributions have alike, whatever installs their packages."""

    def installed(self) -> set[str]:
        """Return the names of all installed packages."""
        return set(self.step.run(["rpm", "-qa", "--qf", "%{NAME}\\n"]).stdout.split())

    def purge(self, packages: list[str]) -> None:
        """Remove exactly these; rpm refuses when another package needs one of them."""
        there = sorted(set(packages) & self.installed())
        if there:
            self.step.run(["rpm", "-e", *there])

    def owner(self, path: str) -> str:
        """Return the package of a file, as rpm knows it."""
        done = self.step.run(["rpm", "-qf", "--qf", "%{NAME}", path], ok=(0, 1))
        return "" if done.code else done.stdout


class Dnf(Rpm):
    """RHEL-likes."""

    tool = "dnf"
    engine = ("moby-engine", "docker-ce")
    nova = ("openstack-nova-compute", "openstack-neutron-openvswitch")
    starts_services = False
    command = ("dnf", "install", "--setopt=install_weak_deps=False")

    def __init__(self, step: Step) -> None:
        super().__init__(step)
        # Those that the installation enables which was planned last, by module.
        self._streams: dict[str, str] = {}

    def choice(self, packages: tuple[str, ...]) -> list[str]:
        """Return the first of them that the repositories have.

        :raises StepFailed: when they have none, or something of this host hides it
        """
        wanted = [name for name in packages if self._available(name)][:1]
        if not wanted:
            for name in packages:
                said = self._declined(name)
                remedy = module_streams.remedy(self.step, said)
                if remedy:
                    raise StepFailed(f"dnf does not offer {name}: {remedy}")
                fault = re.search(r"^Error: (?!Unable to find a match|No match)(.+)", said, re.M)
                if fault:
                    raise StepFailed(
                        f"dnf cannot tell whether a repository of this host has {name}: "
                        f"{fault.group(1)[-600:]}. Mend what it names, or take that repository "
                        "out (`dnf config-manager --disable`), then repeat"
                    )
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
            remedy = "Remove what is in conflict, or install the Docker Engine by hand, then repeat"
            hidden = module_streams.remedy(self.step, done.stdout + done.stderr)
            remedy = f"Here {hidden}" if hidden else remedy
            raise StepFailed(f"dnf cannot install {packages[0]}: {said}. {remedy}")
        disturbed = re.search(
            r"^(Upgrading|Removing|Downgrading|Reinstalling)[\w ]*:\n (\S+)", text, re.M
        )
        if disturbed:
            raise StepFailed(
                f"installing {packages[0]} would change {disturbed.group(2)} "
                f"({disturbed.group(1).lower()}): bring it up to date first, then repeat"
            )
        self._streams = module_streams.enabled_by(text)
        for module, stream in self._streams.items():
            self.step.note(f"dnf enables the module stream {module}:{stream} for {packages[0]}")
        rows = re.findall(r"^ (\S+)\s+(?:x86_64|aarch64|noarch)\s", text, re.M)
        there = self.installed()
        return [name for name in dict.fromkeys(rows) if name not in there]

    def _available(self, name: str) -> bool:
        return self.step.run(["dnf", "-q", "list", "--available", name], ok=(0, 1)).code == 0

    def _declined(self, name: str) -> str:
        done = self.step.run([*self.command, "--assumeno", name], ok=(0, 1))
        return done.stdout + done.stderr

    def install(self, packages: list[str]) -> None:
        """Install without weak dependencies; when that fails, renew the index once."""
        module_streams.remember(self.step, self._streams)
        try:
            self.step.run([*self.command, "-y", *packages])
        except StepFailed:
            self.step.run(["dnf", "-q", "makecache"])
            self.step.run([*self.command, "-y", *packages])

    def purge(self, packages: list[str]) -> None:
        """Remove exactly these, and have the streams be as they were before them."""
        super().purge(packages)
        module_streams.put_back(self.step)
