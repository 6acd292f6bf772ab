# SPDX-License-Identifier: Apache-2.0
"""apt and dpkg, with their locks: waited for, as the host's own upgrades hold them now and then."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import tempfile
import time
from pathlib import Path

from library.faults import StepFailed
from library.step import ANY_CODE, Step, wait_until

APT_LOCKS = (
    "/var/lib/dpkg/lock-frontend",
    "/var/lib/dpkg/lock",
    "/var/lib/apt/lists/lock",
    "/var/cache/apt/archives/lock",
)
LOCK_TIMEOUT_S = 300.0
# The kernel's struct flock: type, whence, start, length, process.
FLOCK = "hhqqi4x"
APT_LOCK_REFUSALS = re.compile(r"[Cc]ould not get lock|[Uu]nable to (?:acquire|lock)")
UNCONFIGURED = ("unpacked", "half-configured", "triggers-awaited", "triggers-pending")
APT_OPTIONS = ("-q", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Options::=--force-confold")

# What apt says where it has no package to offer or cannot get one, and what can be done.
REMEDIES = (
    (
        "no installation candidate|Unable to locate package",
        "give this host a repository that has it, or take back the pin that hides it (`apt-cache "
        "policy` tells), then repeat",
    ),
    (
        "NO_PUBKEY|EXPKEYSIG|is not signed|does not have a Release file|Failed to fetch",
        "mend or take out the repository that it names (/etc/apt/sources.list.d), then repeat",
    ),
    ("enough free space|No space left", "make room there, then repeat"),
)
NO_CACHES = ("-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=")


class AptGet:
    """The commands of apt and dpkg."""

    def __init__(self, step: Step) -> None:
        self.step = step

    def ask(self, *arguments: str) -> str:
        """Return what apt-get tells.

        :raises StepFailed: with its words
        """
        done = self.step.run(["apt-get", *APT_OPTIONS, *arguments], ok=ANY_CODE)
        if done.code:
            # What is in conflict is told on standard output, that it is so on standard error.
            unmet = re.search(r"unmet dependencies:\n((?: .*\n?)+)", done.stdout)
            said = f"{unmet.group(1) if unmet else ''}{done.stderr or done.stdout}".split()
            shown = " ".join(arguments[arguments.count("-o") * 2 :])[:120]
            told = f"apt-get {shown} failed: {' '.join(said)[-600:]}"
            ways = [way for words, way in REMEDIES if re.search(words, told)][:1]
            told += "".join(f" ({way})" for way in ways)
            raise StepFailed(told + (self.held_in(unmet.group(1)) if unmet else ""))
        return done.stdout

    def held_in(self, text: str) -> str:
        """Return which packages that a text names are kept at their version by the operator."""
        wants = self.step.run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Want}\\n"]).stdout
        pairs = [line.split() for line in wants.splitlines() if line.endswith(" hold")]
        held = [pair[0] for pair in pairs if re.search(rf"(?<![\w.+-]){re.escape(pair[0])} ", text)]
        names = " ".join(held)
        return f" ({names} is held: `apt-mark unhold {names}`, then repeat)" if held else ""

    def change(self, *arguments: str) -> None:
        """Have apt-get change something, when nobody else does."""
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while True:
            await_locks(self.step, deadline - time.monotonic())
            try:
                self.ask(*arguments)
                return
            except StepFailed as err:
                # Somebody was quicker to take a lock.
                if not APT_LOCK_REFUSALS.search(str(err)) or time.monotonic() > deadline:
                    raise

    def simulate(self, *arguments: str) -> str:
        """Return what apt-get would do; where it cannot tell, its index is renewed first.

        A check renews one of its own, which is gone after, and leaves the host's caches alone.

        :raises StepFailed: when apt cannot do it, or would refuse to begin
        """
        self.refuse_if_interrupted()
        if self.step.mode != "check":
            try:
                return self.ask("-s", *arguments)
            except StepFailed:
                self.change("update")
                return self.ask("-s", *arguments)
        try:
            return self.ask(*NO_CACHES, "-s", *arguments)
        except StepFailed:
            with tempfile.TemporaryDirectory(prefix="novadocker-") as place:
                for name in ("lists/partial", "cache/archives/partial"):
                    Path(place, name).mkdir(parents=True)
                # Downloads are another user's.
                os.chmod(place, 0o755)
                own = ("-o", f"Dir::State::lists={place}/lists", "-o", f"Dir::Cache={place}/cache")
                self.ask(*own, "update")
                return self.ask(*own, "-s", *arguments)

    def refuse_if_interrupted(self) -> None:
        """Refuse what apt refuses when it is to change something, and no simulation tells.

        dpkg writes what it has done into files called by a number, and takes them in at its end.
        What an installation of ours has left is put right by the next.
        """
        place = self.step.path("/var/lib/dpkg")
        left = [path.name for path in place.glob("updates/*") if path.name.isdecimal()]
        if not left or self.step.record.get("packages") or lock_holder(place / "lock"):
            return
        states = self.states().items()
        halfway = [name for name, state in states if state in UNCONFIGURED]
        named = f" of {', '.join(halfway[:5])}" if halfway else ""
        raise StepFailed(
            f"dpkg was interrupted on this host in the middle{named} (/var/lib/dpkg/updates): run "
            "`dpkg --configure -a`, then repeat"
        )

    def states(self) -> dict[str, str]:
        """Return what dpkg says of each package that it knows."""
        shown = self.step.run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\\n"])
        pairs = [line.split() for line in shown.stdout.splitlines()]
        return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}

    def configure(self, packages: list[str]) -> None:
        """Configure those of these packages that an interrupted run has left unpacked."""
        states = self.states()
        left = [name for name in packages if states.get(name) in UNCONFIGURED]
        if left:
            await_locks(self.step, LOCK_TIMEOUT_S)
            self.step.run(["dpkg", "--force-confold", "--configure", *left])


def await_locks(step: Step, timeout_s: float) -> None:
    """Wait until nobody holds a lock of apt's.

    :raises StepFailed: naming who still does
    """
    held: dict[Path, int] = {}

    def free() -> bool:
        held.clear()
        held.update((path, lock_holder(path)) for path in map(step.path, APT_LOCKS))
        return not any(held.values())

    if not wait_until(free, timeout_s, 1.0):
        path, pid = next((path, pid) for path, pid in held.items() if pid)
        raise StepFailed(
            f"{path} is held by process {pid} ({command_of(pid)}), and was for {LOCK_TIMEOUT_S:g} "
            "s: see that it ends, then repeat"
        )


def lock_holder(path: Path) -> int:
    """Return the process that holds a lock on a file, 0 when none does."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return 0
    try:
        asked = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    finally:
        os.close(descriptor)
    # One of another PID namespace has no number here, and holds it all the same.
    return (pid or -1) if kind != fcntl.F_UNLCK else 0


def command_of(pid: int) -> str:
    """Return the command line of a process, as far as it can be seen."""
    try:
        text = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return "unknown"
    return " ".join(text.split("\0"))[:200].strip() or "unknown"
