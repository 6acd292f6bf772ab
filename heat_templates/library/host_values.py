# SPDX-License-Identifier: Apache-2.0
"""Settings of an engine that is to be installed: what they name has to be on the host.

An engine that is there is tried with them. Where there is none yet, what can be looked at is.
"""

from __future__ import annotations

import grp
import os
import pwd
from typing import Any

from library.engine_unit import settings_file
from library.faults import StepFailed
from library.step import Step

# Words of "seccomp-profile" that are no path.
PROFILES = ("builtin", "unconfined")
# Debian 12 and Ubuntu 20.04 have this one; it does not start with a key that came later.
OLD_ENGINE = "20.10."
LATER_KEYS = (
    "bridge-accept-fwmark",
    "cdi-spec-dirs",
    "ip-forward-no-drop",
    "log-format",
    "proxies",
)
DROP_INS = "etc/systemd/system/docker.service.d"
MASKED = ("docker.service", "docker.socket", "containerd.service")


def refuse_masked(step: Step) -> None:
    """Refuse a host whose operator has masked a unit of the engine's, which would not start."""
    masked = [
        name
        for name in MASKED
        for place in ("/etc/systemd/system", "/run/systemd/system")
        if os.path.realpath(step.path(f"{place}/{name}")) == os.devnull
    ]
    if masked:
        names = " ".join(dict.fromkeys(masked))
        raise StepFailed(
            f"{names} is masked on this host, so the engine cannot be started: `systemctl unmask "
            f"{names}`, then repeat, or leave the host out"
        )


def refuse_what_host_lacks(step: Step, settings: dict[str, Any], version: str) -> None:
    """Refuse settings with which the engine that is to be installed would not start here.

    :param settings: as they would be
    :param version: of the package, empty where it is not known
    :raises StepFailed: with all that is wrong
    """
    lacks = [
        *path_lacks(step, settings),
        *user_lacks(str(settings.get("userns-remap") or "")),
        *engine_lacks(step, settings, version),
    ]
    if lacks:
        raise StepFailed(
            f"an engine would not start with the settings that this host would get: "
            f"{'; '.join(lacks)}. Mend {settings_file(step)} or the run's docker settings, then "
            "repeat"
        )


def path_lacks(step: Step, settings: dict[str, Any]) -> list[str]:
    """Return which files and devices are not there."""
    lacks = []
    bridge = str(settings.get("bridge") or "none")
    if bridge not in ("none", "docker0") and not step.path(f"/sys/class/net/{bridge}").exists():
        lacks.append(f"bridge is {bridge}, and this host has no such device")
    profile = str(settings.get("seccomp-profile") or PROFILES[0])
    if profile not in PROFILES and not step.path(profile).is_file():
        lacks.append(f"seccomp-profile is {profile}, and there is no such file")
    data = str(settings.get("data-root") or "/var/lib/docker")
    if data.startswith("/") and step.path(data).exists() and not step.path(data).is_dir():
        lacks.append(f"{data}, where its data would be, is no directory")
    options = settings.get("log-opts")
    address = str(options.get("syslog-address", "") if isinstance(options, dict) else "")
    scheme, _, socket = address.partition("://")
    used = settings.get("log-driver") == "syslog" and scheme in ("unix", "unixgram")
    if used and not step.path(socket).exists():
        lacks.append(f"syslog-address is {address}, and there is no such socket")
    return lacks


def user_lacks(remapped: str) -> list[str]:
    """Return what a user and a group that containers' root is to be are not.

    :param remapped: as ``userns-remap`` has them; ``default`` is made by the engine
    """
    user, _, group = remapped.partition(":")
    lacks = []
    for kind, name, look in (("user", user, pwd.getpwnam), ("group", group, grp.getgrnam)):
        if name and name != "default" and not name.isdigit():
            try:
                look(name)
            except KeyError:
                lacks.append(f"userns-remap is {remapped}, and this host has no {kind} {name}")
    return lacks


def engine_lacks(step: Step, settings: dict[str, Any], version: str) -> list[str]:
    """Return what the engine of that version, and its unit, cannot have."""
    lacks = []
    later = [key for key in LATER_KEYS if key in settings]
    if later and version.startswith(OLD_ENGINE):
        lacks.append(f"it would be Docker {version}, which does not know {', '.join(later)}")
    runtimes = settings.get("runtimes")
    known = [*(runtimes if isinstance(runtimes, dict) else ()), "runc"]
    runtime = str(settings.get("default-runtime") or "runc")
    if runtime not in known and not runtime.startswith("io.containerd."):
        lacks.append(f"default-runtime is {runtime}, which none of runtimes is called")
    texts = [path.read_text(errors="replace") for path in step.path(DROP_INS).glob("*.conf")]
    if "hosts" in settings and not any("ExecStart=" in text for text in texts):
        lacks.append(
            "hosts is set, and the package's unit sets it as a flag: take it out, or give the unit "
            "a drop-in with an ExecStart without -H"
        )
    return lacks
