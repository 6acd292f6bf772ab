# SPDX-License-Identifier: Apache-2.0
"""pip for a service's Python environment: it adds packages by their hashes and changes none.

Nothing of the host's own pip configuration is read, and no index is asked but one that the
operator named.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from library import wheels
from library.faults import StepFailed
from library.pip_files import files, write
from library.services import Service, place_on_host, run_beside
from library.step import Step
from library.wheels import Locked, Wheel, normal

# A version as PEP 440 has it.
VERSION = re.compile(
    r"v?(?:\d+!)?\d+(?:\.\d+)*(?:[-_.]?(?:alpha|a|beta|b|preview|pre|c|rc)[-_.]?\d*)?"
    r"(?:-\d+|[-_.]?(?:post|rev|r)[-_.]?\d*)?(?:[-_.]?dev[-_.]?\d*)?"
    r"(?:\+[a-z0-9]+(?:[-_.][a-z0-9]+)*)?",
    re.IGNORECASE,
)
# What the host trusts, which an index of the operator's is known by; pip has a list of its own.
AUTHORITIES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
NO_CONFIGURATION = {"PIP_CONFIG_FILE": os.devnull}


class ServicePip:
    """The pip that works for a service's Python.

    :param environment: what `library.probes.inventory` told of it
    """

    # Where files for it are made; None: where files are that are there for a while.
    room: str | None = None

    def __init__(self, step: Step, service: Service, environment: Mapping[str, Any]) -> None:
        self.step = step
        self.service = service
        self.before: dict[str, str] = environment["packages"]
        self.python = service.python
        self.command, version = self._found()
        managed = environment["managed"] and not environment["virtual"] and version >= (23, 0)
        # A distribution's Python has to be told that additions are meant. They go below
        # /usr/local, beside its own packages, and never replace one.
        self.managed = ["--break-system-packages"] if managed else []

    def commands(self) -> list[list[str]]:
        """Return the pips that may be there, the environment's own first."""
        others = (sys.executable, "/usr/bin/python3")
        return [[python, "-m", "pip"] for python in (self.python, *others)]

    def seen(self, path: Path, _folder: str) -> Path:
        """Return where pip sees a file of the host.

        :param _folder: for files of pip's
        """
        return path

    def target(self, _folder: str) -> list[str]:
        """Return the options that say where packages are put, none for the environment itself."""
        return []

    def put(self, folder: str, wanted: Iterable[str]) -> None:
        """Put packages where they belong that pip has put elsewhere."""

    def _found(self) -> tuple[list[str], tuple[int, int]]:
        own, *others = self.commands()
        for command in (own, *others):
            try:
                text = self.execute([*command, "--version"])
            except StepFailed:
                continue
            told = re.match(r"pip (\d+)\.(\d+)", text)
            version = (int(told.group(1)), int(told.group(2))) if told else (0, 0)
            if version < (22, 3):
                continue
            self.step.facts["pip"] = f"{command[0]} -m pip"
            chosen = command if command == own else [*command, "--python", self.python]
            options = ["--isolated", "--disable-pip-version-check", "--no-input"]
            return [*chosen, *options], version
        raise StepFailed(
            f"no pip of at least 22.3 works for {self.python}: install one on the host "
            "(python3-pip, or `python -m ensurepip` in Nova's environment), then repeat"
        )

    def run(self, verb: str, *arguments: str) -> str:
        """Run pip and return what it printed.

        :raises StepFailed: with what pip said
        """
        return self.execute([*self.command, verb, *self.managed, *arguments])

    def execute(self, command: list[str]) -> str:
        """Run a command where the environment is, and return what it printed."""
        return run_beside(self.step, self.service, command, env=NO_CONFIGURATION).stdout

    def plan(self, wheel: Wheel, url: str, index: str) -> dict[str, str]:
        """Return which packages a wheel brings, itself included, at which versions.

        :param url: address of a directory with wheels of its dependencies, empty for none
        :param index: address of the operator's package index, empty for none
        :raises StepFailed: when one that is there would change, or one is not to be had
        """
        lock = [entry for entry in wheels.locked() if entry.name not in self.before]
        name = normal(wheel.path.name.partition("-")[0])
        others = [f"{item}=={version}" for item, version in self._held(name)]
        others += [f"{x.name}=={x.version}{';' * bool(x.marker)}{x.marker}" for x in lock]
        with files(self.room, constraints=others) as folder:
            sources = self.sources(lock, url, index, folder)
            write(folder, requirements=[f"{name} @ {self.seen(wheel.path, folder).as_uri()}"])
            try:
                text = self.run(
                    "install",
                    *("--dry-run", "--quiet", "--report", "-", "--only-binary", ":all:"),
                    *(["--no-cache-dir"] if self.step.mode == "check" else []),
                    *sources,
                    *("--constraint", f"{folder}/constraints"),
                    *("--requirement", f"{folder}/requirements"),
                )
            except StepFailed as err:
                where = f"; the index asked was {index}" if index else ""
                # The remedy first: what pip says is long, and reports cut it.
                raise StepFailed(
                    "pip cannot bring what the driver needs beside the environment's own packages, "
                    f"which are held where they are{where}. What is lacking comes from "
                    "`novadocker-enroll update --wheels DIRECTORY`, from driver_url, or from an "
                    f"index that driver_index names. {err}"
                ) from err
        report = json.loads(text[text.index("{") :])
        items = [item["metadata"] for item in report["install"]]
        wanted = {normal(item["name"]): str(item["version"]) for item in items}
        wanted[name] = wheel.version
        added = set(wanted) - set(self.before)
        refuse_differences(self.before, {**self.before, **wanted}, {name, *added})
        return wanted

    def _held(self, name: str) -> Iterable[tuple[str, str]]:
        """Yield every package but one, as it is.

        A distribution's own packages may have versions that pip does not take for one: it would
        refuse all of the constraints. That these stay as they are is seen by what pip plans, and
        afterwards.
        """
        for item, version in sorted(self.before.items()):
            if item != name and VERSION.fullmatch(version):
                yield item, version

    def sources(self, lock: Iterable[Locked], url: str, index: str, folder: str) -> list[str]:
        """Return the options that say where packages come from: this host, and what was named.

        :param folder: for files of pip's
        """
        options = ["--index-url", index] if index else ["--no-index"]
        if url:
            options += ["--find-links", url]
        if index or url:
            trusted = (place_on_host(self.step, self.service, name) for name in AUTHORITIES)
            options += next((["--cert", str(x)] for x in trusted if x and x.exists()), [])
        for sha256 in (sha256 for entry in lock for sha256 in entry.sha256):
            wheel = wheels.held(self.step.root, sha256)
            if wheel is not None:
                options += ["--find-links", str(self.seen(wheel.path, folder).parent)]
        return options

    def install(
        self, wheel: Wheel, wanted: Mapping[str, str], url: str = "", index: str = ""
    ) -> None:
        """Install what was planned, each by its hash; in check mode only see that it could be.

        :raises StepFailed: before anything is changed when a file is not what its hash says
        """
        name = normal(wheel.path.name.partition("-")[0])
        lock = [x for x in wheels.locked() if wanted.get(x.name) == x.version]
        unknown = sorted(set(wanted) - {x.name for x in lock} - {name})
        if unknown:
            raise StepFailed(
                f"the driver needs {unknown[0]}, which Nova's environment lacks and driver.lock "
                "does not name: install it into that environment from where Nova comes from"
            )
        checks = self.step.mode == "check"
        with files(self.room) as folder:
            uri = self.seen(wheel.path, folder).as_uri()
            lines = [f"{name} @ {uri} --hash=sha256:{wheel.sha256}"]
            for entry in lock:
                hashes = " ".join(f"--hash=sha256:{sha256}" for sha256 in entry.sha256)
                lines.append(f"{entry.name}=={entry.version} {hashes}")
            write(folder, requirements=lines)
            self.run(
                "install",
                *(["--dry-run", "--no-cache-dir"] if checks else self.target(folder)),
                *("--quiet", "--no-deps", "--force-reinstall", "--require-hashes"),
                *("--only-binary", ":all:"),
                *self.sources(lock, url, index, folder),
                *("--requirement", f"{folder}/requirements"),
            )
            if not checks:
                self.put(folder, wanted)

    def uninstall(self, names: Iterable[str]) -> None:
        """Take packages out."""
        self.run("uninstall", "--yes", *names)


def refuse_differences(
    before: Mapping[str, str], after: Mapping[str, str], allowed: set[str]
) -> None:
    """Raise when a package that is not allowed to differs."""
    changed = [
        f"{name} {before.get(name, 'absent')} -> {after.get(name, 'absent')}"
        for name in sorted({*before, *after} - allowed)
        if before.get(name) != after.get(name)
    ]
    if changed:
        raise StepFailed(
            "the driver would change other packages of Nova's environment "
            f"({'; '.join(changed[:8])}): choose a driver version that fits this release"
        )
