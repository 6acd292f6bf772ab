# SPDX-License-Identifier: Apache-2.0
"""Install the distribution's Docker Engine, with its settings in place at its first start."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any, Optional

from library.daemon_settings import (
    daemon_settings,
    recorded_settings_file,
    restore_daemon_settings,
    wanted_daemon_settings,
    write_daemon_settings,
)
from library.engine import ENGINES, docker, group_members
from library.engine_data import refuse_remap, refuse_what_data_forbid
from library.engine_network import (
    forward_policies,
    ip_forward,
    remove_network_traces,
    stop_forwarding,
)
from library.engine_unit import engine_command, engine_flag, engine_flags
from library.faults import StepFailed
from library.host_values import refuse_masked, refuse_what_host_lacks
from library.instances import engine_places, kept_containers, refuse_if_instances
from library.outcome import run_step
from library.package_manager import PackageManager
from library.packages import package_manager
from library.records import EXPORTS
from library.restarts import journal_end
from library.scratch_engine import try_settings
from library.services import find_service
from library.step import ANY_CODE, Step, wait_until
from library.user_namespaces import remove_remap_user

SETTINGS = {
    "type": "object",
    "description": "The Docker Engine of a host.",
    "additionalProperties": False,
    "properties": {
        "daemon_settings": {
            "type": "object",
            "description": "Merged into /etc/docker/daemon.json; the host's own keys stay.",
            "default": {},
        },
        "users": {
            "type": "array",
            "description": "Users to add to the group docker, those of them that exist.",
            "items": {"type": "string", "pattern": "^[a-z_][a-z0-9_.-]*$"},
            "default": [],
        },
    },
}

BY_HAND = "install the Docker Engine by hand"
START_TIMEOUT_S = 90
STOPPING = (
    "containers run on this host and a restart of the engine would stop them: set "
    '"live-restore": true in /etc/docker/daemon.json or stop them, then repeat'
)

# What the engine makes while it runs, and its packages leave behind.
PLACES = ("/var/lib/docker", "/var/lib/containerd", "/etc/cni", "/opt/containerd", "/opt/cni")
LOST_AND_FOUND = "lost+found"
NOT_DENIED = 104
# The engine of a snap, which keeps to itself, on the same socket.
OTHER_ENGINES = (
    "/etc/systemd/system/snap.docker.dockerd.service",
    "/snap/bin/dockerd",
    "/snap/docker/current/bin/dockerd",
    "/var/lib/snapd/snap/bin/dockerd",
)


def converge(step: Step) -> None:
    """Make the engine be installed, configured and running, and the users be in its group."""
    step.facts["disturbs"] = False
    refuse_other_engine(step)
    refuse_masked(step)
    installed = any(step.path(name).exists() for name in ENGINES)
    if not installed:
        refuse_if_policy_forbids(step)
        packages, manager = plan_packages(step)
        settings, _ = wanted_daemon_settings(step)
        refuse_what_host_lacks(step, settings, manager.versions.get(packages[0], ""))
        if settings.get("iptables", True) and settings.get("bridge") != "none":
            step.disturb("the engine makes a bridge and packet filter rules of its own")
        write_daemon_settings(step)
        install(step, packages, manager)
    elif interrupted(step):
        refuse_if_policy_forbids(step)
        install(step, *plan_packages(step))
        if step.mode == "apply":
            reconfigure(step)
    else:
        reconfigure(step)
    add_users(step)
    if step.mode == "apply":
        tell_engine(step)


def refuse_other_engine(step: Step) -> None:
    """Leave a host alone that has an engine which is no package of the distribution's."""
    others = [name for name in OTHER_ENGINES if step.path(name).exists()]
    if others:
        raise StepFailed(
            f"this host has the Docker Engine of a snap ({others[0]}), and a second engine would "
            "take its socket: remove it (`snap remove docker`), or leave the host out"
        )


def interrupted(step: Step) -> bool:
    """Return whether an installation of ours broke off: the engine's file is there, and not set up.

    What the engine needs is set up before it, so its own packages tell.
    """
    begun = step.record.get("packages")
    if not begun:
        return False
    manager = package_manager(step, BY_HAND)
    own = set(begun) & set(manager.engine)
    return bool(own - manager.installed())


def refuse_if_policy_forbids(step: Step) -> None:
    """Say before anything changes that this host's policy keeps services from starting."""
    policy = step.path("/usr/sbin/policy-rc.d")
    if policy.exists():
        done = step.run([str(policy), "docker", "start"], ok=ANY_CODE)
        if done.code not in (0, NOT_DENIED):
            raise StepFailed(
                "/usr/sbin/policy-rc.d forbids docker to start on this host: allow it, then repeat"
            )


def plan_packages(step: Step) -> tuple[list[str], PackageManager]:
    """Return what to install and with what; packages that would be added are recorded first."""
    manager = package_manager(step, BY_HAND)
    packages = manager.choice(manager.engine)
    new = manager.planned(packages)
    if step.mode == "apply":
        step.remember("group_was_there", group_members("docker") is not None)
        step.remember("bridge_was_there", step.path("/sys/class/net/docker0").exists())
        step.remember("forward_policies", forward_policies(step))
        step.remember("ip_forward", ip_forward(step))
        settings, _ = wanted_daemon_settings(step)
        places = (*PLACES, *filter(None, [settings.get("data-root")]))
        step.remember("places", {name: place_before(step, name) for name in places})
        step.remember_each("packages", new)
    return packages, manager


def place_before(step: Step, name: str) -> Optional[dict[str, int]]:
    """Return a directory's mode and number of entries, None when it is not there.

    What each file system of its own has for its repair is no entry.
    """
    place = step.path(name)
    if not place.is_dir():
        return None
    entries = [entry for entry in place.iterdir() if entry.name != LOST_AND_FOUND]
    return {"mode": place.stat().st_mode & 0o7777, "entries": len(entries)}


def install(step: Step, packages: list[str], manager: PackageManager) -> None:
    """Install the packages and see the engine run; started once, by its package or by us."""
    if not step.will(f"install {', '.join(packages)}"):
        step.note("whether the engine takes its settings is known when it is installed")
        return
    manager.install(packages)
    service = find_service(step, ("docker.service",))
    if service is None:
        raise StepFailed(f"{packages[0]} was installed but brings no docker.service")
    if not service.active:
        if not manager.starts_services:
            step.run(["systemctl", "enable", "docker.service"])
        start_engine(step, "start")
    await_engine()


def start_engine(step: Step, verb: str) -> None:
    """Start or restart the engine.

    :raises StepFailed: with the last lines of its journal
    """
    done = step.run(["systemctl", verb, "docker.service"], ok=ANY_CODE)
    if done.code:
        said = journal_end(step, "docker.service")
        raise StepFailed(f"docker.service does not {verb}: {said}")


def await_engine() -> None:
    """Wait until the engine answers."""
    refusals: list[str] = []

    def answers() -> bool:
        try:
            return bool(docker("/_ping", timeout_s=5) == "OK")
        except StepFailed as err:
            refusals.append(str(err))
            return False

    if not wait_until(answers, START_TIMEOUT_S):
        raise StepFailed(f"{refusals[-1]} for {START_TIMEOUT_S} s after its start")


# -- an engine that is there -----------------------------------------------------------------------


def reconfigure(step: Step) -> None:
    """Give a running engine its settings, without harm to the containers that run."""
    service = find_service(step, ("docker.service",))
    if service is None:
        raise StepFailed("dockerd is installed but has no docker.service: make one, then repeat")
    if step.mode == "apply":
        step.remember_unit(service.unit, service.active)
    settings, changed = wanted_daemon_settings(step)
    if changed or not service.active:
        refuse_what_data_forbid(step, settings, changed)
        try_settings(step, settings)
    if not changed:
        if not service.active and step.will("start docker.service"):
            start_engine(step, "start")
            await_engine()
        return
    if service.active:
        refuse_if_restart_stops(step, settings)
    write_daemon_settings(step)
    if not step.will("restart docker.service"):
        return
    try:
        restart_engine(step, service.active)
    except StepFailed:
        restore_daemon_settings(step)
        step.settle("daemon_keys")
        settle_engine(step)
        raise


def refuse_if_restart_stops(step: Step, settings: dict[str, Any]) -> None:
    """Refuse a restart that containers would not live through; tell one that they would."""
    running = len(docker("/containers/json") or [])
    live = engine_flag(engine_flags(engine_command(step)), "live-restore")
    if running and "true" not in (live, str(settings.get("live-restore")).lower()):
        raise StepFailed(STOPPING)
    if running:
        step.disturb(f"docker.service is restarted under {running} containers")


def settle_engine(step: Step) -> None:
    """Have an engine that ran before run with the settings that were put back; else stop it.

    Its failure to do so would only hide the reason for all this.
    """
    step.run(["systemctl", "reset-failed", "docker.service"], ok=(0, 1))
    if not step.ran_before("docker.service"):
        step.run(["systemctl", "stop", "docker.service"], ok=ANY_CODE)
        return
    step.run(["systemctl", "start", "docker.service"], ok=ANY_CODE)
    step.run(["systemctl", "reload", "docker.service"], ok=ANY_CODE)


def restart_engine(step: Step, active: bool) -> None:
    """Restart the engine so that no running container is stopped by it."""
    if active and docker("/containers/json"):
        step.run(["systemctl", "reload", "docker.service"])
        if not wait_until(lambda: docker("/info").get("LiveRestoreEnabled"), 5):
            raise StepFailed(STOPPING)
    start_engine(step, "restart")
    await_engine()


# -- users -----------------------------------------------------------------------------------------


def add_users(step: Step) -> None:
    """Add users to the group docker; their other groups stay."""
    members = group_members("docker") or []
    for user in step.settings["users"]:
        if not step.run(["getent", "passwd", user], ok=(0, 2)).stdout:
            step.note(f"there is no user {user} on this host")
        elif user not in members and step.will(f"add {user} to group docker"):
            step.remember_each("users", [user])
            step.run(["usermod", "-a", "-G", "docker", user])


def tell_engine(step: Step) -> None:
    """Put the engine's release and storage into the facts."""
    info = docker("/info")
    step.facts["docker"] = {
        "version": info["ServerVersion"],
        "storage_driver": info["Driver"],
        "root_directory": info["DockerRootDir"],
        "live_restore": info.get("LiveRestoreEnabled", False),
    }


# -- undo ------------------------------------------------------------------------------------------


def undo(step: Step) -> None:
    """Take back what was recorded: users, packages with their data, daemon.json, the group."""
    step.require_record()
    if step.to_undo.get("packages"):
        refuse_if_containers(step)
    if step.to_undo.get("users"):
        refuse_if_instances(step)
    for user in list(step.to_undo.get("users", [])):
        if user in (group_members("docker") or []) and step.will(
            f"take {user} out of group docker"
        ):
            step.run(["gpasswd", "--delete", user, "docker"])
    if step.to_undo.get("packages"):
        remove_engine(step)
    elif settings_to_take_up(step) and step.will("restart docker.service"):
        service = find_service(step, ("docker.service",))
        restart_engine(step, bool(service and service.active))
    remove_remap_user(step, daemon_settings(step))
    if not step.to_undo.get("packages") and not step.ran_before("docker.service"):
        stop_engine(step)


def settings_to_take_up(step: Step) -> bool:
    """Put daemon.json back; return whether the engine has to take that up, or had to before."""
    if not recorded_settings_file(step) and not step.owes("restart"):
        return False
    refuse_remap(step, step.to_undo.get("daemon_keys", {}))
    owed = step.owe("restart")
    return restore_daemon_settings(step) or owed


def stop_engine(step: Step) -> None:
    """Stop an engine that did not run when this run found it, unless containers run in it now."""
    service = find_service(step, ("docker.service",))
    if service is None or not service.active:
        return
    if docker("/containers/json"):
        step.note("docker.service did not run before, but containers run in it now: it stays")
    elif step.will("stop docker.service, which did not run before"):
        step.run(["systemctl", "stop", "docker.service"])


def refuse_if_containers(step: Step) -> None:
    """Refuse to remove an engine that has containers, whoever's they are."""
    service = find_service(step, ("docker.service",))
    if service and service.active:
        names = [item["Names"][0].lstrip("/") for item in docker("/containers/json?all=1")]
    else:
        names = [kept.name for kept in kept_containers(step)]
    if names:
        raise StepFailed(
            f"{len(names)} containers exist on this host ({', '.join(sorted(names)[:5])}): "
            "the Docker Engine stays until they are removed"
        )
    kept = kept_by_others(step)
    if kept:
        raise StepFailed(
            f"{', '.join(kept[:5])} would go with the Docker Engine: move what is wanted of it and "
            "remove the rest, then repeat"
        )


def kept_by_others(step: Step) -> list[str]:
    """Return what an engine's disk holds that nobody here made: named volumes, other containerds'.

    Volumes without a name are those of containers, and of these there are none.
    """
    volumes = [path for data in engine_places(step) for path in data.glob("volumes/*/_data")]
    named = sorted(place.parent.name for place in volumes)
    tasks = step.path("/run/containerd/io.containerd.runtime.v2.task").glob("*/*")
    others = sorted({place.parent.name for place in tasks} - {"moby"})
    return [
        *(f"the volume {name}" for name in named if not re.fullmatch("[0-9a-f]{64}", name)),
        *(f"the containers of containerd's namespace {name}" for name in others),
    ]


def remove_engine(step: Step) -> None:
    """Purge what was installed, and what the engine made while it ran."""
    packages = step.to_undo["packages"]
    if not step.will(f"purge {', '.join(packages)}"):
        return
    # Of a run that ended between a pull and its upload. An engine that stays may be saving it now.
    if step.path(EXPORTS).is_dir():
        shutil.rmtree(step.path(EXPORTS))
    units = ["docker.service", "docker.socket", "containerd.service"]
    mine = [unit for unit in units if owner_package(step, unit) in packages]
    step.run(["systemctl", "stop", *mine], ok=ANY_CODE)
    if not step.to_undo.get("bridge_was_there"):
        remove_network_traces(step)
    stop_forwarding(step)
    package_manager(step, BY_HAND).purge(packages)
    for name, before in step.to_undo.get("places", {}).items():
        if before is None or not before["entries"]:
            empty_place(step, name, before)
    step.path("/etc/docker/key.json").unlink(missing_ok=True)
    restore_daemon_settings(step)
    if not step.to_undo.get("group_was_there") and group_members("docker") == []:
        step.run(["groupdel", "docker"])
    elif not step.to_undo.get("group_was_there") and group_members("docker"):
        step.note("group docker has members that were not added by this step: it stays")
    step.run(["systemctl", "daemon-reload"])
    step.run(["systemctl", "reset-failed", *mine], ok=ANY_CODE)


def owner_package(step: Step, unit: str) -> str:
    """Return which package a unit's file belongs to, empty when to none."""
    shown = step.run(["systemctl", "show", "-p", "FragmentPath", "--value", unit], ok=(0, 1)).stdout
    path = shown.strip()
    return package_manager(step, BY_HAND).owner(path) if path else ""


def empty_place(step: Step, name: str, before: Optional[dict[str, int]]) -> None:
    """Remove what a directory holds; and itself, where it was not there before."""
    place = step.path(name)
    if not place.exists():
        return
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(f"{place}/")), key=len, reverse=True):
        step.run(["umount", "--lazy", mount], ok=(0, 32))
    for entry in place.iterdir():
        if entry.name == LOST_AND_FOUND:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    if before is None and not any(place.iterdir()):
        place.rmdir()
    elif before is not None:
        place.chmod(before["mode"])


if __name__ == "__main__":
    run_step("install_docker", SETTINGS, converge, undo)
