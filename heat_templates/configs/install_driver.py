# SPDX-License-Identifier: Apache-2.0
"""Install the Docker driver into Nova's own Python environment, changing no other package in it.

The driver is a wheel that the operator names by its hash; what it needs and Nova lacks is named,
by hash as well, in driver.lock of this package of steps.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from library import container_site, wheels
from library.container_site import environment_of, files_of, pip_for, with_site
from library.faults import StepFailed
from library.instances import refuse_if_instances
from library.outcome import run_step
from library.repack import repacked
from library.restarts import restart_service
from library.service_pip import ServicePip, refuse_differences
from library.services import Service, nova_service
from library.step import Step
from library.wheels import Wheel

SETTINGS = {
    "type": "object",
    "description": "The driver's wheel, and where hosts get what they lack of it.",
    "additionalProperties": False,
    "properties": {
        "wheel": {
            "type": "string",
            "description": "Name of the wheel's file; empty for the one that enrolment brought.",
            "pattern": r"^(nova_docker-[A-Za-z0-9_.!+]+-py3-none-any\.whl)?$",
            "default": "",
        },
        "sha256": {
            "type": "string",
            "description": "Digest of that file; goes with its name.",
            "pattern": "^([0-9a-f]{64})?$",
            "default": "",
        },
        "url": {
            "type": "string",
            "description": "Address of a directory that has the wheel and what it needs, for hosts "
            "that enrolment did not bring it to.",
            "pattern": r"^(https?://[^\s\"'@]+)?$",
            "default": "",
        },
        "index": {
            "type": "string",
            "description": "Address of a package index of the operator's, for what the driver "
            "needs and Nova's environment lacks; with none, no index is asked.",
            "pattern": r"^(https?://[^\s\"'@]+)?$",
            "default": "",
        },
    },
}

NAME = "nova-docker"
SHA256 = re.compile(r"[0-9a-f]{64}")


def converge(step: Step) -> None:
    """Make the environment have this very wheel."""
    step.facts["disturbs"] = False
    service = nova_service(step)
    own = environment_of(step, service)
    environment = with_site(step, service, own)
    before = environment["packages"]
    step.facts.update(python=service.python, virtual_environment=environment["virtual"])
    with wanted_wheel(step) as wheel:
        if is_installed(environment, wheel):
            step.facts["driver_version"] = before[NAME]
            return
        url, index = step.settings["url"], step.settings["index"]
        container_site.refuse_other_driver(service, own, NAME)
        pip = pip_for(step, service, own)
        wanted = pip.plan(wheel, url, index)
        shown = ", ".join(f"{item} {version}" for item, version in sorted(wanted.items()))
        if NAME in before and service.active:
            step.disturb(f"{service.unit} may have the driver loaded that is replaced")
        step.facts["driver_version"] = wheel.version
        if not step.will(f"install {shown} {container_site.whereto(service)}"):
            pip.install(wheel, wanted, url, index)
            return
        step.remember_unit(service.unit, service.active)
        held = keep(step, wheel.path.name, wheel.path.read_bytes())
        record(step, wanted, before, previous(step, service, environment), service.python)
        pip.install(held, wanted, url, index)
        after = with_site(step, service, environment_of(step, service))["packages"]
        refuse_differences(before, after, {*wanted})


@contextmanager
def wanted_wheel(step: Step) -> Iterator[Wheel]:
    """Find the wheel on this host, or fetch it for a while.

    :raises StepFailed: when there is none, or it is not what its hash says
    """
    name, sha256 = step.settings["wheel"], step.settings["sha256"]
    if bool(name) != bool(sha256):
        raise StepFailed("wheel, sha256: go together: give both, or neither")
    there = wheels.held(step.root, sha256) if sha256 else wheels.current(step.root)
    if there is not None:
        yield there
        return
    if not name or not step.settings["url"]:
        what = f"{name}, SHA-256 {sha256[:16]}," if name else "of the driver"
        raise StepFailed(
            f"this host has no wheel {what} and no driver_url was given to fetch it from: "
            f"{wheels.BY_HAND}"
        )
    with tempfile.TemporaryDirectory(prefix="novadocker-") as folder:
        yield wheels.fetch(step.settings["url"], name, sha256, Path(folder))


def is_installed(environment: dict[str, Any], wheel: Wheel) -> bool:
    """Return whether the driver that is installed came from this wheel, or is a checkout like it.

    Of one that an index gave, as to hosts of an earlier release, pip noted no hash: its version may
    be the same, and its content another.
    """
    version, sha256 = (environment[kind].get(NAME) for kind in ("packages", "archives"))
    return bool(version == wheel.version and sha256 in ("checkout", wheel.sha256))


def keep(step: Step, name: str, data: bytes) -> Wheel:
    """Keep a wheel on this host, so that it can be put back; return it.

    What was not there is on record first, so that undo takes it away.
    """
    sha256 = hashlib.sha256(data).hexdigest()
    there = wheels.held(step.root, sha256)
    if there is not None:
        return there
    step.remember_each("kept", [sha256])
    return wheels.put(step.root, name, data)


def previous(step: Step, service: Service, environment: dict[str, Any]) -> str:
    """Return the digest of the wheel that puts the driver back which is there, empty for none.

    :raises StepFailed: when it cannot be put back
    """
    if NAME not in environment["packages"]:
        return ""
    sha256 = environment["archives"].get(NAME, "")
    if sha256 and wheels.held(step.root, sha256) is not None:
        return str(sha256)
    installed = files_of(step, service, NAME)
    if installed["checkout"]:
        raise StepFailed(
            f"the driver is installed from {installed['checkout']}, not from a wheel, and could "
            "not be put back: uninstall it first"
        )
    return keep(step, *repacked(Path(installed["place"]), installed["files"])).sha256


def record(
    step: Step, wanted: dict[str, str], before: dict[str, str], was: str, python: str
) -> None:
    """Record what is new, and which wheel of the driver was there first."""
    for level in (step.record, step.journal):
        if is_other_environment(level, python):
            level.update(installed=[], replaced={}, python=python)
        new = level.setdefault("installed", [])
        new.extend(item for item in sorted(wanted) if item not in before and item not in new)
        if NAME in before and NAME not in new:
            level.setdefault("replaced", {}).setdefault(NAME, was)
    step.remember("python", python)


def is_other_environment(level: dict[str, Any], python: str) -> bool:
    """Return whether Nova ran in another environment when something was put on record.

    Deployment tools give each release of Nova a new one. What is in that was not put there by what
    is on record, be it called alike, and the old one is nobody's any more.

    :param level: the record, or the journal
    :param python: that Nova runs in now
    """
    places = [os.path.dirname(name) for name in (str(level.get("python") or python), python)]
    return len({*map(os.path.realpath, places)}) > 1


def undo(step: Step) -> None:
    """Take out what was put in; put the wheel back that was there before."""
    step.require_record()
    installed = step.to_undo.get("installed", [])
    replaced = step.to_undo.get("replaced", {})
    if not installed and not replaced:
        return
    if installed and not replaced:
        # Another version of the driver, without what this one brought, manages them as well.
        refuse_if_instances(step)
    service = nova_service(step)
    if is_other_environment(step.to_undo, service.python):
        was = step.to_undo["python"]
        step.note(f"Nova runs in {service.python} by now: what was put beside {was} stays there")
        drop_kept(step)
        return
    own = environment_of(step, service)
    environment, pip = with_site(step, service, own), pip_for(step, service, own)
    there = [item for item in installed if item in environment["packages"]]
    if there and step.will(f"uninstall {', '.join(there)} {container_site.whence(service)}"):
        pip.uninstall(there)
    for name, was in replaced.items():
        put_back(step, service, pip, environment, name, was)
    drop_kept(step)


def put_back(
    step: Step,
    service: Service,
    pip: ServicePip,
    environment: dict[str, Any],
    name: str,
    was: str,
) -> None:
    """Install the wheel that was there before, unless it is there.

    :param was: its digest, or its version on record of a release that kept no wheels
    """
    by_digest = SHA256.fullmatch(was)
    if not by_digest and environment["packages"].get(name) == was:
        return
    wheel = wheels.held(step.root, was) if by_digest else wheels.of_version(step.root, name, was)
    if wheel is None and by_digest:
        raise StepFailed(
            f"the wheel {was[:16]} of {name} is gone from {wheels.WHEELS}: put it back there"
        )
    if wheel is None:
        step.note(
            f"{name} {was}, which was there before, came from an index and is not on this host: "
            f"{environment['packages'].get(name, 'none')} is left there"
        )
        return
    if not is_installed(environment, wheel) and step.will(f"put back {name} {wheel.version}"):
        pip.install(wheel, {name: wheel.version})
        reload_driver(step, service)


def drop_kept(step: Step) -> None:
    """Take away the wheels that this step brought to the host."""
    for sha256 in step.to_undo.get("kept", []):
        folder = wheels.folder_of(step.root, sha256)
        if folder.exists() and step.will(f"remove {folder}"):
            shutil.rmtree(folder)


def reload_driver(step: Step, service: Service) -> None:
    """Restart nova-compute where it ran: it has loaded the version that is gone, or died of it."""
    ran = service.active or step.ran_before(service.unit)
    if step.mode == "roll_back" and ran and step.will(f"restart {service.unit}"):
        restart_service(step, service)


if __name__ == "__main__":
    run_step("install_driver", SETTINGS, converge, undo)
