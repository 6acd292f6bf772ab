# SPDX-License-Identifier: Apache-2.0
"""A second engine that is started to see whether the first one would start, and is gone again.

``dockerd --validate`` accepts files that the engine then refuses, and 20.10 has no such option.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from library.daemon_settings import settings_text
from library.engine import engine_answers
from library.engine_unit import (
    EngineFlag,
    engine_command,
    engine_flags,
    engine_program,
    settings_file,
)
from library.faults import LOG, StepFailed
from library.instances import engine_directory
from library.step import Step, clean_environment, program_path

TRIAL_TIMEOUT_S = 60
# Where an engine has its data, sockets and other programs: the trial has its own.
PLACE_KEYS = frozenset(
    (
        "config-file",
        "containerd",
        "data-root",
        "exec-root",
        "graph",
        "hosts",
        "metrics-addr",
        "pidfile",
        "tls",
        "tlscacert",
        "tlscert",
        "tlskey",
        "tlsverify",
    )
)
# Drivers whose start makes more than files: devices of the kernel.
UNTRIED_STORAGE = ("devicemapper",)
# What the engine writes beside its data stays in the trial's view of the host: its key, a user for
# "userns-remap", containerd's directories. A containerd that runs is not shared, and no module of
# the kernel is loaded.
VIEW = """
set -e
for place in /etc /opt; do
    name="$0$place"
    mkdir -p "$name/new" "$name/work"
    mount -t overlay overlay -o "lowerdir=$place,upperdir=$name/new,workdir=$name/work" "$place"
done
[ ! -d /run/containerd ] || mount -t tmpfs tmpfs /run/containerd
exec "$@"
"""


def try_settings(step: Step, settings: dict[str, Any]) -> None:
    """Start the host's engine with these settings and its unit's flags, apart from the host.

    It has data, sockets, network, processes and mounts of its own, all of which are gone after.

    :raises StepFailed: with what the engine said against them
    """
    flags = engine_flags(engine_command(step))
    refuse_twice_set(step, settings, flags)
    driver = settings.get("storage-driver")
    if driver in UNTRIED_STORAGE or any(flag.value in UNTRIED_STORAGE for flag in flags):
        step.note(f"the engine's settings are not tried, as it stores with {driver}")
        return
    # On the file system of the engine's data, which may be what its storage driver needs.
    place = step.path(engine_directory(step))
    while not place.is_dir():
        place = place.parent
    if place.parent.stat().st_dev == place.stat().st_dev:
        place = place.parent
    times = place.stat()
    scratch = Path(tempfile.mkdtemp(prefix="novadocker-trial-", dir=step.path("/run")))
    data = Path(tempfile.mkdtemp(prefix=".novadocker-trial-", dir=place))
    # As the engine's own: a remapped root passes through.
    data.chmod(0o711)
    try:
        start_apart(step, scratch, data, settings, flags)
    finally:
        remove_scratch(scratch)
        remove_scratch(data)
        os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns))


def refuse_twice_set(step: Step, settings: dict[str, Any], flags: list[EngineFlag]) -> None:
    """Refuse what the engine does: keys that the file and the unit set."""
    twice = sorted({flag.key for flag in flags} & set(settings))
    if twice:
        raise StepFailed(
            f"{', '.join(twice)} is set in {settings_file(step)} and as a flag of docker.service, "
            "so the engine would not start: take it out of one of them, then repeat"
        )


def start_apart(
    step: Step, scratch: Path, data: Path, settings: dict[str, Any], flags: list[EngineFlag]
) -> None:
    """Start an engine in namespaces of its own, until it answers or ends.

    :raises StepFailed: when it does not answer
    """
    kept = {key: value for key, value in settings.items() if key not in PLACE_KEYS}
    file, socket, log = scratch / "daemon.json", scratch / "socket", scratch / "log"
    file.write_text(settings_text(kept))
    own = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
    command = [*own, program_path("sh") or "/bin/sh", "-c", VIEW, str(scratch)]
    command += [
        engine_program(step),
        *(w for f in flags if f.key not in PLACE_KEYS for w in f.words),
    ]
    command += [f"--config-file={file}", f"--host=unix://{socket}", f"--data-root={data}"]
    command += [f"--exec-root={scratch}/run", f"--pidfile={scratch}/pid"]
    modprobe = scratch / "bin" / "modprobe"
    modprobe.parent.mkdir()
    modprobe.write_text("#!/bin/sh\n")
    modprobe.chmod(0o700)
    env = clean_environment()
    env["PATH"] = f"{modprobe.parent}:{env['PATH']}"
    with open(log, "wb") as output:
        try:
            engine = subprocess.Popen(
                command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/"
            )
        except OSError as err:
            raise StepFailed(f"unshare cannot be run: {err.strerror}") from err
    deadline = time.monotonic() + TRIAL_TIMEOUT_S
    answered = False
    while not answered and engine.poll() is None and time.monotonic() < deadline:
        answered = engine_answers(str(socket))
        time.sleep(0 if answered else 0.1)
    ended = engine.poll()
    # Its whole namespace of processes dies with it.
    engine.send_signal(signal.SIGKILL)
    engine.wait()
    text = log.read_text(errors="replace")
    LOG.debug("an engine that was tried said:\n%s", text[-8000:])
    if not answered and re.match(r"(unshare|mount|mkdir|sh): ", text):
        step.note(f"the engine's settings cannot be tried on this host: {text.strip()[:200]}")
    elif not answered:
        raise StepFailed(refusal(text, ended, file, settings_file(step)))


def refusal(text: str, ended: int | None, file: Path, name: str) -> str:
    """Return why an engine did not start, from what it said.

    :param ended: its exit code, None when it did not end by itself
    :param file: what it was given as its settings, to be told by the name of the real one
    """
    lines = [line for line in text.splitlines() if line.strip()]
    told = [line for line in lines if not re.search(r"level=(?:debug|info)|^See 'dockerd", line)]
    said = (told or lines or ["nothing"])[-1].replace(str(file), name)[-500:]
    if ended is None:
        return (
            f"an engine with the settings that this host would get does not answer within "
            f"{TRIAL_TIMEOUT_S} s (it said last: {said}): see {name} and the flags of "
            "docker.service, then repeat"
        )
    return (
        f"the engine refuses the settings that it would get: {said}. Mend {name} or the flags of "
        "docker.service, then repeat"
    )


def remove_scratch(place: Path) -> None:
    """Remove a directory of a trial; mounts in it are gone a moment after its processes."""
    for _ in range(50):
        shutil.rmtree(place, ignore_errors=True)
        if not place.exists():
            return
        time.sleep(0.1)
    LOG.warning("%s cannot be removed", place)
