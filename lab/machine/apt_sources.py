# SPDX-License-Identifier: Apache-2.0
"""The machine's own package sources, as far as the lab's hosts can use them."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import subprocess
from collections.abc import Iterable, Iterator

from lab.errors import ImageError
from lab.machine import commands

COMPONENTS = ("main", "universe")
POCKETS = ("", "-updates", "-security")
APT_DIR = pathlib.Path("/etc/apt")
CARRIED_OPTIONS = re.compile(
    r'^(Acquire::(?:http|https)::(?:Proxy|Timeout)|Acquire::Check-(?:Valid-Until|Date)) "(.+)";$'
)


@dataclasses.dataclass(frozen=True, order=True)
class Source:
    """One archive: where it is, which suites and components of it, signed by which keyring."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str | None = None

    def stanza(self) -> str:
        """Return the source as a deb822 stanza."""
        lines = [
            "Types: deb",
            f"URIs: {self.uri}",
            f"Suites: {' '.join(self.suites)}",
            f"Components: {' '.join(self.components)}",
        ]
        if self.signed_by:
            lines.append(f"Signed-By: {self.signed_by}")
        return "\n".join(lines) + "\n"


def machine_release(os_release: str | None = None) -> str:
    """Return the code name of the machine's Debian or Ubuntu release.

    :raises ImageError: on other systems
    """
    text = os_release if os_release is not None else pathlib.Path("/etc/os-release").read_text()
    codename = re.search(r'^VERSION_CODENAME="?([a-z]+)"?$', text, re.MULTILINE)
    if not codename or not re.search(r'^ID="?(debian|ubuntu)"?$', text, re.MULTILINE):
        raise ImageError(
            "the lab builds its hosts from Debian's or Ubuntu's packages: run it there"
        )
    return codename.group(1)


def machine_sources(release: str, apt_dir: pathlib.Path = APT_DIR) -> list[Source]:
    """Return the machine's sources of its own distribution, without third parties' archives.

    :param release: code name of the distribution
    :raises ImageError: when there is none
    """
    sources: list[Source] = []
    lists = [apt_dir / "sources.list", *sorted((apt_dir / "sources.list.d").glob("*.list"))]
    for path in lists:
        if path.is_file():
            sources += parse_list(path.read_text())
    for path in sorted((apt_dir / "sources.list.d").glob("*.sources")):
        sources += parse_deb822(path.read_text())
    own = sorted(set(_of_release(sources, release)))
    if not any(release in source.suites for source in own):
        raise ImageError(
            f"no source of {release} in {apt_dir}: add the distribution's archive there"
        )
    return own


def machine_options() -> list[str]:
    """Return the machine's apt options that decide how archives are reached."""
    try:
        dump = commands.run(["apt-config", "dump"]).stdout
    except subprocess.SubprocessError:
        return []
    return [
        f'{match.group(1)} "{match.group(2)}"'
        for match in map(CARRIED_OPTIONS.match, dump.splitlines())
        if match
    ]


def parse_list(text: str) -> list[Source]:
    """Parse one-line sources (``deb [options] uri suite component...``)."""
    sources = []
    for line in text.splitlines():
        match = re.match(r"^deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+([^#]+)", line.strip())
        if match:
            options, uri, suite, components = match.groups()
            signed = re.search(r"signed-by=(\S+)", options or "")
            sources.append(
                Source(
                    uri, (suite,), tuple(components.split()), signed.group(1) if signed else None
                )
            )
    return sources


def parse_deb822(text: str) -> list[Source]:
    """Parse deb822 stanzas; disabled ones and embedded keys are left out."""
    sources = []
    for stanza in re.split(r"\n\s*\n", text):
        fields = dict(_fields(stanza.splitlines()))
        enabled = fields.get("enabled", "yes").lower() not in ("no", "false", "0")
        signed = fields.get("signed-by") or None
        if enabled and "deb" in fields.get("types", "").split() and "suites" in fields:
            sources += [
                Source(
                    uri,
                    tuple(fields["suites"].split()),
                    tuple(fields.get("components", "").split()),
                    signed if signed and signed.startswith("/") else None,
                )
                for uri in fields.get("uris", "").split()
            ]
    return sources


def _fields(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        if line and not line.startswith(("#", " ", "\t")) and ":" in line:
            key, _, value = line.partition(":")
            yield key.strip().lower(), value.strip()


def _of_release(sources: Iterable[Source], release: str) -> Iterator[Source]:
    wanted = {release + pocket for pocket in POCKETS}
    for source in sources:
        suites = tuple(suite for suite in source.suites if suite in wanted)
        components = tuple(x for x in source.components if x in COMPONENTS)
        if suites and components:
            yield dataclasses.replace(source, suites=suites, components=components)
