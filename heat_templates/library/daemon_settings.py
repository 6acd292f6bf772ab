# SPDX-License-Identifier: Apache-2.0
"""The engine's configuration file: what is merged into the operator's, and taken out again."""

from __future__ import annotations

import json
from typing import Any

from library.engine import docker
from library.engine_unit import (
    ENGINE_UNIT,
    deployed_units,
    engine_command,
    engine_flag,
    engine_flags,
    settings_file,
)
from library.faults import StepFailed
from library.files import replace_file
from library.instances import kept_containers
from library.services import find_service
from library.step import Step
from library.user_namespaces import remember_remap_user

NETWORK_KEYS = ("bridge", "iptables", "ip6tables", "ip-forward")
# What the engine refuses, or has no use for, where it has no network and packet filter of its own.
NETWORK_USERS = ("bip", "fixed-cidr", "fixed-cidr-v6", "default-gateway", "default-gateway-v6")
# Where the engine itself writes the log to a file; only there has that a size.
FILE_LOG_DRIVERS = ("json-file", "local")
FILE_LOG_OPTIONS = ("max-size", "max-file")


def daemon_settings(step: Step, name: str = "") -> dict[str, Any]:
    """Return what the engine's configuration file holds; one without a word in it has no settings.

    :param name: of the file, where it is known, or of one of the engine's client
    :raises StepFailed: when it is not a JSON object
    """
    name = name or settings_file(step)
    path = step.path(name)
    try:
        current = json.loads(path.read_text().strip() or "{}") if path.exists() else {}
    except OSError as err:
        raise StepFailed(f"{name} cannot be read ({err.strerror}): mend it, then repeat") from err
    except ValueError as err:
        raise StepFailed(f"{name} is not JSON ({err}): mend it, then repeat") from err
    if not isinstance(current, dict):
        raise StepFailed(f"{name} does not hold an object: mend it, then repeat")
    return current


def wanted_daemon_settings(step: Step) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the merged settings, and those of the keys that we change.

    A key that the operator set, in the file or by a flag, stays the operator's; a key that an
    earlier run set is ours to change as long as nobody else changed it since.
    """
    name, flags = settings_file(step), engine_flags(engine_command(step))
    current, ours = daemon_settings(step, name), step.record.get("daemon_keys", {})
    merged = dict(current)
    changed: dict[str, Any] = {}
    wanted = step.settings["daemon_settings"]
    others = deployed_units(step)
    if others:
        tell_what_stays(step, name, current, wanted, others)
        return merged, changed
    reason = network_user(step, current)
    if reason:
        wanted = {key: value for key, value in wanted.items() if key not in NETWORK_KEYS}
        step.note(f"{name}: the engine keeps its networks, as {reason}")
    for key in [key for key in NETWORK_KEYS if key not in step.settings["daemon_settings"]]:
        # An earlier run was not asked for networks yet.
        if key in ours and key in current and current[key] == ours[key]:
            del merged[key]
            changed[key] = None
    wanted = without_file_log(step, wanted, current)
    for key, value in wanted.items():
        untouched = key in ours and current.get(key) == ours[key]
        flag = engine_flag(flags, key)
        if flag:
            if flag != str(value).lower():
                step.note(f"{ENGINE_UNIT}: kept this host's own flag for {key}")
        elif key not in current or (untouched and value != current[key]):
            merged[key] = changed[key] = value
        elif current[key] != value:
            step.note(f"{name}: kept this host's own {key}")
    return merged, changed


def tell_what_stays(
    step: Step,
    name: str,
    current: dict[str, Any],
    wanted: dict[str, Any],
    others: list[str],
) -> None:
    """Tell which settings an engine does not get that a deployer's own containers run in.

    The driver needs none of them.

    :param others: units that start these containers
    """
    differing = sorted(key for key, value in wanted.items() if current.get(key) != value)
    step.note(
        f"{name} stays as it is, as {len(others)} containers of kolla-ansible's run in this engine"
        + (f": it is not given {', '.join(differing)}" if differing else "")
    )
    if not current.get("live-restore"):
        step.note(
            "instances end with this engine, as live-restore is off: set docker_custom_config: "
            '{"live-restore": true} in globals.yml for kolla-ansible to set it'
        )


def network_user(step: Step, current: dict[str, Any]) -> str:
    """Return what needs the networks of the engine; empty when nothing does.

    Instances need none of them, and are not disturbed by them.
    """
    flags = engine_flags(engine_command(step))
    if "false" in (str(current.get("icc")).lower(), engine_flag(flags, "icc")):
        return 'the operator\'s "icc": false does not work without'
    for key in NETWORK_USERS:
        if current.get(key) or engine_flag(flags, key):
            return f"the operator has set {key} for them"
    bridge = engine_flag(flags, "bridge") or current.get("bridge")
    if bridge not in (None, "", "none"):
        return f"the operator has set the bridge {bridge} for them"
    for name, mode in container_networks(step):
        if mode not in ("none", "host") and not mode.startswith("container:"):
            return f"the container {name} is on {mode or 'one that cannot be told'}"
    return ""


def without_file_log(step: Step, wanted: dict[str, Any], current: dict[str, Any]) -> dict[str, Any]:
    """Return the settings without limits for a log that the engine does not write to a file.

    Other log drivers do not know these options, and the engine would not start.
    """
    flags = engine_flags(engine_command(step))
    driver = (
        engine_flag(flags, "log-driver")
        or current.get("log-driver")
        or wanted.get("log-driver")
        or FILE_LOG_DRIVERS[0]
    )
    if driver in FILE_LOG_DRIVERS or "log-opts" not in wanted:
        return wanted
    options = wanted["log-opts"].items()
    kept = {name: value for name, value in options if name not in FILE_LOG_OPTIONS}
    if len(kept) < len(options):
        step.note(f"the log driver {driver} of this host keeps no files: they get no limits")
    others = {key: value for key, value in wanted.items() if key != "log-opts"}
    return {**others, **({"log-opts": kept} if kept else {})}


def container_networks(step: Step) -> list[tuple[str, str]]:
    """Return name and network mode of all containers, from disk where the engine does not run."""
    service = find_service(step, (ENGINE_UNIT,))
    if service is None or not service.active:
        return [(kept.name, kept.network) for kept in kept_containers(step)]
    return [
        (item["Names"][0].lstrip("/"), str(item.get("HostConfig", {}).get("NetworkMode", "")))
        for item in docker("/containers/json?all=1")
    ]


def settings_text(settings: dict[str, Any]) -> str:
    """Return the text of a configuration file of the engine."""
    return json.dumps(settings, indent=4) + "\n"


def write_daemon_settings(step: Step) -> bool:
    """Write the configuration file when it is to change; return whether it is."""
    merged, changed = wanted_daemon_settings(step)
    if not changed:
        return False
    if step.mode == "apply":
        remember_remap_user(step, changed)
        for level in (step.record, step.journal):
            level["daemon_keys"] = {**level.get("daemon_keys", {}), **changed}
    return step.write_file(settings_file(step), settings_text(merged), shared=True)


def recorded_settings_file(step: Step) -> str:
    """Return which configuration file of the engine this step has changed, empty when none."""
    return next(iter(step.to_undo.get("files", {})), "")


def restore_daemon_settings(step: Step) -> bool:
    """Put the file back; where others changed it since, take back our keys alone."""
    name = recorded_settings_file(step)
    if not name:
        return False
    current, ours = daemon_settings(step, name), step.to_undo.get("daemon_keys", {})
    before = json.loads(step.content_before(name) or b"{}")
    left = dict(current)
    for key in [key for key in ours if key in current and current[key] == ours[key]]:
        if key in before:
            left[key] = before[key]
        else:
            del left[key]
    if left == before:
        return step.restore_files(force=True)
    if step.will(f"take this step's keys out of {name}"):
        path = step.followed(name)
        state = path.stat()
        text = settings_text(left).encode()
        replace_file(path, text, state.st_mode & 0o7777, state.st_uid, state.st_gid)
    return True
