# SPDX-License-Identifier: Apache-2.0
"""Install the distribution's Docker Engine, with its settings in place at its first start."""

import json
import re
import shutil
from pathlib import Path
from typing import Any, Optional

from library.engine import ENGINES, docker, group_members
from library.faults import StepFailed
from library.files import replace_file
from library.instances import kept_containers, refuse_if_instances
from library.outcome import run_step
from library.packages import PackageManager, package_manager
from library.services import find_service, journal_end
from library.step import ANY_CODE, Step, program_path, wait_until

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

DAEMON_JSON = "/etc/docker/daemon.json"
IP_FORWARD = "/proc/sys/net/ipv4/ip_forward"
BY_HAND = "install the Docker Engine by hand"
START_TIMEOUT_S = 90

# What the engine makes while it runs, and its packages leave behind.
PLACES = ("/var/lib/docker", "/var/lib/containerd", "/etc/cni", "/opt/containerd", "/opt/cni")
NOT_DENIED = 104
NETWORK_KEYS = ("bridge", "iptables", "ip6tables", "ip-forward")


def converge(step: Step) -> None:
    """Make the engine be installed, configured and running, and the users be in its group."""
    installed = any(step.path(name).exists() for name in ENGINES)
    if not installed:
        refuse_if_policy_forbids(step)
        packages, manager = plan_packages(step)
        write_daemon_settings(step)
        install(step, packages, manager)
    else:
        if interrupted(step):
            refuse_if_policy_forbids(step)
            install(step, *plan_packages(step))
        reconfigure(step)
    add_users(step)
    if step.mode == "apply":
        tell_engine(step)


def interrupted(step: Step) -> bool:
    """Tell whether an installation of ours broke off: the engine's file is there, and not set up.

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
    packages = list(manager.engine)
    try:
        packages = manager.choice(manager.engine)
        new = manager.planned(packages)
    except StepFailed as err:
        if step.mode == "check":
            step.note(f"the packages cannot be told yet: {str(err)[:300]}")
            return packages, manager
        raise
    if step.mode == "apply":
        step.remember("group_was_there", group_members("docker") is not None)
        step.remember("bridge_was_there", step.path("/sys/class/net/docker0").exists())
        step.remember("forward_policies", forward_policies(step))
        step.remember("ip_forward", ip_forward(step))
        step.remember("places", {name: place_before(step, name) for name in PLACES})
        step.remember_each("packages", new)
    return packages, manager


def place_before(step: Step, name: str) -> Optional[dict[str, int]]:
    """Return a directory's mode and number of entries, None when it is not there."""
    place = step.path(name)
    if not place.is_dir():
        return None
    return {"mode": place.stat().st_mode & 0o7777, "entries": len(list(place.iterdir()))}


def install(step: Step, packages: list[str], manager: PackageManager) -> None:
    """Install the packages and see the engine run; started once, by its package or by us."""
    if not step.will(f"install {', '.join(packages)}"):
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


# -- daemon.json -----------------------------------------------------------------------------------


def daemon_settings(step: Step) -> dict[str, Any]:
    """Return what /etc/docker/daemon.json holds.

    :raises StepFailed: when it is not a JSON object
    """
    path = step.path(DAEMON_JSON)
    try:
        current = json.loads(path.read_text() or "{}") if path.exists() else {}
    except ValueError as err:
        raise StepFailed(f"{DAEMON_JSON} is not JSON ({err}): mend it, then repeat") from err
    if not isinstance(current, dict):
        raise StepFailed(f"{DAEMON_JSON} does not hold an object: mend it, then repeat")
    return current


def wanted_daemon_settings(step: Step) -> tuple[Optional[str], dict[str, Any]]:
    """Return the text of the merged daemon.json (None: stays as it is) and the keys that we change.

    A key that the operator set stays the operator's; a key that an earlier run set is ours to
    change as long as nobody else changed it since.
    """
    current = daemon_settings(step)
    ours = step.record.get("daemon_keys", {})
    merged, changed = dict(current), {}
    wanted = step.settings["daemon_settings"]
    reason = network_user(step, current)
    if reason:
        wanted = {key: value for key, value in wanted.items() if key not in NETWORK_KEYS}
        step.note(f"{DAEMON_JSON}: the engine keeps its networks, as {reason}")
    for key, value in wanted.items():
        untouched = key in ours and current.get(key) == ours[key]
        if key not in current or (untouched and value != current[key]):
            merged[key] = changed[key] = value
        elif current[key] != value:
            step.note(f"{DAEMON_JSON}: kept this host's own {key}")
    return (json.dumps(merged, indent=4) + "\n" if changed else None), changed


def network_user(step: Step, current: dict[str, Any]) -> str:
    """Return what needs the networks of the engine; empty when nothing does.

    Instances need none of them, and are not disturbed by them.
    """
    if current.get("icc") is False and not step.record.get("packages"):
        return 'the operator\'s "icc": false does not work without'
    for name, mode in container_networks(step):
        if mode not in ("none", "host") and not mode.startswith("container:"):
            return f"the container {name} is on {mode or 'one that cannot be told'}"
    return ""


def container_networks(step: Step) -> list[tuple[str, str]]:
    """Return name and network mode of all containers, from disk where the engine does not run."""
    service = find_service(step, ("docker.service",))
    if service is None or not service.active:
        return [(kept.name, kept.network) for kept in kept_containers(step)]
    return [
        (item["Names"][0].lstrip("/"), str(item.get("HostConfig", {}).get("NetworkMode", "")))
        for item in docker("/containers/json?all=1")
    ]


def write_daemon_settings(step: Step) -> bool:
    """Write daemon.json when it is to change; return whether it is."""
    text, changed = wanted_daemon_settings(step)
    if text is None:
        return False
    if step.mode == "apply":
        for level in (step.record, step.journal):
            level["daemon_keys"] = {**level.get("daemon_keys", {}), **changed}
    return step.write_file(DAEMON_JSON, text)


def reconfigure(step: Step) -> None:
    """Give a running engine its settings, without harm to the containers that run."""
    service = find_service(step, ("docker.service",))
    if service is None:
        raise StepFailed("dockerd is installed but has no docker.service: make one, then repeat")
    if step.mode == "apply":
        step.remember_unit(service.unit, service.active)
    if not write_daemon_settings(step):
        if not service.active and step.will("start docker.service"):
            start_engine(step, "start")
            await_engine()
        return
    if not step.will("restart docker.service"):
        return
    try:
        restart_engine(step, service.active)
    except StepFailed:
        restore_daemon_settings(step)
        step.settle("daemon_keys")
        settle_engine(step)
        raise


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
    checked = step.run(
        ["dockerd", "--validate", "--config-file", str(step.path(DAEMON_JSON))],
        ok=ANY_CODE,
    )
    if checked.code and "unknown flag" not in checked.stderr:
        raise StepFailed(f"the engine refuses its settings: {checked.stderr.strip()[-400:]}")
    if active and docker("/containers/json"):
        step.run(["systemctl", "reload", "docker.service"])
        if not wait_until(lambda: docker("/info").get("LiveRestoreEnabled"), 5):
            raise StepFailed(
                "containers run on this host and a restart of the engine would stop them: set "
                '"live-restore": true in /etc/docker/daemon.json or stop them, then repeat'
            )
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
    if not step.to_undo.get("packages") and not step.ran_before("docker.service"):
        stop_engine(step)


def settings_to_take_up(step: Step) -> bool:
    """Put daemon.json back; return whether the engine has to take that up, or had to before."""
    if DAEMON_JSON not in step.to_undo.get("files", {}) and not step.to_undo.get("restart_due"):
        return False
    owed = step.owe_restart()
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


def remove_engine(step: Step) -> None:
    """Purge what was installed, and what the engine made while it ran."""
    packages = step.to_undo["packages"]
    if not step.will(f"purge {', '.join(packages)}"):
        return
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


def remove_network_traces(step: Step) -> None:
    """Remove the engine's bridge and its packet filter rules; those of others stay."""
    step.run(["ip", "link", "delete", "docker0"], ok=(0, 1))
    if not program_path("iptables-save"):
        return
    for command in ("iptables", "ip6tables"):
        for table in ("filter", "nat"):
            rules = step.run([f"{command}-save", "-t", table], ok=ANY_CODE).stdout
            for arguments in engine_rules(rules):
                step.run([command, "-t", table, *arguments], ok=ANY_CODE)
        if step.to_undo.get("forward_policies", {}).get(command) == "ACCEPT":
            step.run([command, "-P", "FORWARD", "ACCEPT"], ok=ANY_CODE)


def stop_forwarding(step: Step) -> None:
    """Take back that the host forwards packets, where the engine may have been what began it.

    An engine that was told ``"ip-forward": false`` has not: then it was somebody else since.
    """
    if step.to_undo.get("ip_forward") != "0" or ip_forward(step) == "0":
        return
    if daemon_settings(step).get("ip-forward", True) is False:
        step.note(f"{IP_FORWARD} is 1 now, and not by the engine: left as it is")
    else:
        step.path(IP_FORWARD).write_text("0\n")


def ip_forward(step: Step) -> str:
    """Return whether the host forwards packets, as the kernel says it: 0 or 1."""
    path = step.path(IP_FORWARD)
    return path.read_text().strip() if path.exists() else "0"


def forward_policies(step: Step) -> dict[str, str]:
    """Return what happens to forwarded packets, which the engine changes, by command."""
    found = {}
    for command in ("iptables", "ip6tables"):
        if program_path(command):
            listed = step.run([command, "-S", "FORWARD"], ok=ANY_CODE).stdout
            found[command] = "DROP" if listed.startswith("-P FORWARD DROP") else "ACCEPT"
        else:
            found[command] = "ACCEPT"
    return found


def engine_rules(saved: str) -> list[list[str]]:
    """Return the iptables arguments that take the engine's rules and chains out of a table.

    Chains with an underscore are not the engine's: one that this host itself is a container of has
    made them, for the host's name resolution.
    """
    chains = re.findall(r"^:(DOCKER(?:-\S+)?) ", saved, re.M)
    if not chains:
        return []
    jumps = [
        ["-D", *line.split()[1:]]
        for line in saved.splitlines()
        if line.startswith("-A ")
        and not line.startswith("-A DOCKER")
        and re.search(r" -j DOCKER(?:-\S+)?(?: |$)|docker0|172\.17\.0\.0/16", line)
    ]
    return [*jumps, *(["-F", chain] for chain in chains), *(["-X", chain] for chain in chains)]


def empty_place(step: Step, name: str, before: Optional[dict[str, int]]) -> None:
    """Remove what a directory holds; and itself, where it was not there before."""
    place = step.path(name)
    if not place.exists():
        return
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(f"{place}/")), key=len, reverse=True):
        step.run(["umount", "--lazy", mount], ok=(0, 32))
    for entry in place.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    if before is None:
        place.rmdir()
    else:
        place.chmod(before["mode"])


def restore_daemon_settings(step: Step) -> bool:
    """Put daemon.json back; where others changed it since, take back our keys alone."""
    if DAEMON_JSON not in step.to_undo.get("files", {}):
        return False
    current, ours = daemon_settings(step), step.to_undo.get("daemon_keys", {})
    before = json.loads(step.content_before(DAEMON_JSON) or b"{}")
    left = dict(current)
    for key in [key for key in ours if key in current and current[key] == ours[key]]:
        if key in before:
            left[key] = before[key]
        else:
            del left[key]
    if left == before:
        return step.restore_files(force=True)
    if step.will(f"take this step's keys out of {DAEMON_JSON}"):
        path = step.followed(DAEMON_JSON)
        state = path.stat()
        text = json.dumps(left, indent=4) + "\n"
        replace_file(path, text.encode(), state.st_mode & 0o7777, state.st_uid, state.st_gid)
    return True


if __name__ == "__main__":
    run_step("install_docker", SETTINGS, converge, undo)
