# SPDX-License-Identifier: Apache-2.0
"""What a container of kolla's gets at each start: entries of ours in its config.json.

That file is kolla-ansible's, which writes it anew. Its other entries stay, and undo takes ours out
of what is there by then; where nobody has changed it since, it is byte for byte as it was.
"""

from __future__ import annotations

import json
import re
from typing import Any

from library.compute_container import CONFIG_FILES, Container
from library.container_site import INSIDE, OURS, SITE, has_driver, site
from library.faults import StepFailed
from library.probes import site_packages
from library.services import Service, in_service_python
from library.step import Step

DROP_IN_FOLDER = "/etc/nova/nova-compute.conf.d"
DROP_IN_NAME = "90-novadocker.conf"
DROP_IN_INSIDE = f"{DROP_IN_FOLDER}/{DROP_IN_NAME}"
PATH_FILE = "novadocker.pth"
CONFIG_OPTIONS = ("--config-file", "--config-dir")


def drop_in_on_host(container: Container) -> str:
    """Return where on the host the drop-in for a container is."""
    return f"{container.folder}/{OURS}/nova-compute.conf.d/{DROP_IN_NAME}"


def path_file(container: Container) -> str:
    """Return where on the host the file is by which Python finds the driver."""
    return f"{container.folder}/{OURS}/{PATH_FILE}"


def config_file(container: Container) -> str:
    """Return where on the host the file is that says what a container gets and calls."""
    return f"{container.folder}/config.json"


def read_config(step: Step, container: Container) -> dict[str, Any]:
    """Return what that file holds.

    :raises StepFailed: when it is not there, or is not what kolla-ansible writes
    """
    name = config_file(container)
    try:
        config = json.loads(step.followed(name).read_text())
        entries = config.get("config_files", [])
        if not isinstance(config["command"], str) or not all("dest" in item for item in entries):
            raise ValueError("it names no command")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
        raise StepFailed(
            f"{name} is not as kolla-ansible writes it ({err}): have it written anew "
            "(`kolla-ansible reconfigure --tags nova`), then repeat"
        ) from err
    return dict(config)


def is_ours(entry: dict[str, Any]) -> bool:
    """Return whether an entry is of this bundle."""
    return str(entry.get("source", "")).startswith(f"{CONFIG_FILES}/{OURS}/")


def ours_in(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the entries of this bundle."""
    return [entry for entry in config.get("config_files", []) if is_ours(entry)]


def without_ours(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration without what is of this bundle."""
    words = str(config["command"]).split(" ")
    kept = [word for word in words if word != drop_in_argument()]
    others = [entry for entry in config.get("config_files", []) if not is_ours(entry)]
    files = {"config_files": others} if "config_files" in config else {}
    return {**config, "command": " ".join(kept), **files}


def with_ours(config: dict[str, Any], entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a configuration with the entries of this bundle, and with no others of it.

    Where the command names files of options, those of directories that it does not name lose
    against them, so that it names the drop-in as well.
    """
    bare = without_ours(config)
    given = any(entry["dest"] == DROP_IN_INSIDE for entry in entries)
    more = f" {drop_in_argument()}" if given and names_files(bare) else ""
    listed = [*bare.get("config_files", []), *entries]
    return {**bare, "command": f"{bare['command']}{more}", "config_files": listed}


def names_files(config: dict[str, Any]) -> bool:
    """Return whether a command says which files of options are read."""
    words = without_ours(config)["command"].split()
    return any(word.partition("=")[0] in CONFIG_OPTIONS for word in words)


def drop_in_argument() -> str:
    """Return the argument by which a command names the drop-in."""
    return f"--config-file={DROP_IN_INSIDE}"


def wanted_entries(
    step: Step, service: Service, container: Container, drop_in: bool
) -> list[dict[str, Any]]:
    """Return what the container has to get: the drop-in, and the driver if it has not got it.

    :param drop_in: whether it needs the drop-in
    """
    files = []
    if drop_in:
        files.append((f"nova-compute.conf.d/{DROP_IN_NAME}", DROP_IN_INSIDE, "0644"))
    if site(step, container).exists() and (drop_in or not has_driver(step, service)):
        place = str(in_service_python(step, service, site_packages))
        # One mode for folders and files, as what compares them asks for one.
        files.append((SITE.partition("/")[2], INSIDE, "0755"))
        files.append((PATH_FILE, f"{place}/{PATH_FILE}", "0644"))
    return [
        {"source": f"{CONFIG_FILES}/{OURS}/{name}", "dest": dest, "owner": "root", "perm": perm}
        for name, dest, perm in files
    ]


def write_path_file(step: Step, container: Container, header: str) -> bool:
    """Write the file by which Nova's Python finds the driver; return whether that is a change.

    :param header: with which files of this step begin
    """
    packages = site(step, container)
    if not packages.exists():
        return False
    # Such files are read among Nova's own packages alone: this one says what the driver's do.
    more = "".join(path.read_text() for path in sorted(packages.glob("*.pth")))
    return step.write_file(path_file(container), f"{header}{INSIDE}\n{more}", 0o644)


def wanted_config(
    step: Step, service: Service, container: Container, drop_in: bool
) -> dict[str, Any]:
    """Return the configuration by which the container gets what it has to.

    :param drop_in: whether it needs the drop-in
    """
    entries = wanted_entries(step, service, container, drop_in)
    return with_ours(read_config(step, container), entries)


def write_config(step: Step, container: Container, wanted: dict[str, Any]) -> None:
    """Have the container get what it has to at its next start."""
    config = read_config(step, container)
    if wanted == config:
        return
    if not ours_in(config):
        # What kolla-ansible has written since is what undo goes back to.
        step.take_anew(config_file(container))
    step.write_file(config_file(container), config_text(wanted), shared=True)


def names_driver(step: Step, container: Container) -> bool:
    """Return whether kolla-ansible itself sets the driver, by the nova.conf that it writes."""
    path = step.path(f"{container.folder}/nova.conf")
    text = path.read_text(errors="replace") if path.is_file() else ""
    return bool(re.search(r"^compute_driver\s*=\s*novadocker\.", text, re.M))


def has_entries(step: Step, container: Container) -> bool:
    """Return whether a container gets anything of this bundle at its next start."""
    return bool(ours_in(read_config(step, container)))


def had_no_entries(step: Step, name: str) -> bool:
    """Return whether a recorded file is a container's configuration that had nothing of ours."""
    before = step.content_before(name) if name.endswith("/config.json") else b""
    return bool(before) and not ours_in(json.loads(before))


def drift_of(step: Step, service: Service) -> list[str]:
    """Return what kolla-ansible has taken back of what its container has to get, if it has."""
    container = service.container
    if container is None:
        return []
    drop_in = step.path(drop_in_on_host(container)).exists()
    if not drop_in and not site(step, container).exists():
        return []
    config = read_config(step, container)
    dests = {entry["dest"] for entry in ours_in(config)}
    drop_in = drop_in and (DROP_IN_INSIDE in dests or not names_driver(step, container))
    if wanted_config(step, service, container, drop_in) == config:
        return []
    return [
        f"{config_file(container)} was written anew without what this bundle had in it, so that "
        f"{container.name} loses the driver when it is made anew: deploy again"
    ]


def config_text(config: dict[str, Any]) -> str:
    """Return a configuration's text, as kolla-ansible sets it."""
    return json.dumps(config, indent=4) + "\n"
