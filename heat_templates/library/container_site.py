# SPDX-License-Identifier: Apache-2.0
"""The driver for a nova-compute in a container: packages in a folder beside its configuration.

Nothing is put into the container itself: it is another one after the deployer's next upgrade. What
is beside its configuration is copied into it at each start (`library.container_config`).
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from library.compute_container import SHARED, Container
from library.faults import StepFailed
from library.probes import distribution_files, inventory
from library.service_pip import ServicePip
from library.services import Service, in_service_python
from library.step import Step
from library.wheels import normal

# Where the packages are in the container, and below its configuration's folder on the host.
INSIDE = "/opt/novadocker"
DRIVER = "nova-docker"
OURS = "novadocker"
SITE = f"{OURS}/site"
# As pip, but blind to what this bundle has put beside Nova: all that the driver needs is planned.
PIP = (
    "import runpy, sys; sys.path[:] = [place for place in sys.path if place != "
    f"{INSIDE!r}]; sys.argv[0] = 'pip'; runpy.run_module('pip', run_name='__main__')"
)
AT_FDCWD, RENAME_EXCHANGE = -100, 2


def site(step: Step, container: Container) -> Path:
    """Return where on the host the packages for a container are."""
    return step.path(f"{container.folder}/{SITE}")


def environment_of(step: Step, service: Service) -> dict[str, Any]:
    """Return what a service's environment holds, without what this bundle has beside it."""
    without = [INSIDE] if service.container else []
    return dict(in_service_python(step, service, inventory, *without))


def has_driver(step: Step, service: Service) -> bool:
    """Return whether a container's own image has the driver."""
    return DRIVER in environment_of(step, service)["packages"]


def with_site(step: Step, service: Service, environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an environment holds, together with what is beside it for its container."""
    if service.container is None:
        return dict(environment)
    beside = inventory("", str(site(step, service.container)))
    kinds = ("packages", "archives")
    return {**environment, **{kind: {**beside[kind], **environment[kind]} for kind in kinds}}


def files_of(step: Step, service: Service, name: str) -> dict[str, Any]:
    """Return which files a package has, in a service's environment or beside it.

    :raises StepFailed: when it is not there
    """
    if service.container is None:
        return dict(in_service_python(step, service, distribution_files, name))
    place = site(step, service.container)
    try:
        return distribution_files(name, str(place))
    except ValueError as err:
        raise StepFailed(f"there is no {name} in {place}") from err


def refuse_other_driver(service: Service, own: Mapping[str, Any], name: str) -> None:
    """Refuse to put the driver beside another one that is in a container's image, and would win.

    :param own: what the image holds
    """
    version = own["packages"].get(name)
    if service.container is not None and version is not None:
        raise StepFailed(
            f"the image of the container {service.container.name} has {name} {version} in it, "
            "which is not from the wheel that is wanted and would win: build the image with that "
            "wheel, or without the driver, and have kolla-ansible deploy it; then repeat"
        )


def whereto(service: Service) -> str:
    """Return where packages are put for a service, in words."""
    if service.container is None:
        return f"into the environment of {service.python}"
    return f"into {service.container.folder}/{SITE}"


def whence(service: Service) -> str:
    """Return where packages are taken from for a service, in words."""
    if service.container is None:
        return f"from the environment of {service.python}"
    return f"from {service.container.folder}/{SITE}"


def drafted(step: Step, service: Service, folder: str) -> Service:
    """Return a container's service with the driver that it would get, by a copy that it sees."""
    assert service.container is not None
    packages = site(step, service.container)
    if not packages.exists():
        return service
    place = f"{folder}/site"
    shutil.copytree(packages, place)
    # Has files be read there that end on .pth, as they are in it.
    Path(place, "sitecustomize.py").write_text(f"import site\n\nsite.addsitedir({place!r})\n")
    return replace(service, environment={**service.environment, "PYTHONPATH": place})


def pip_for(step: Step, service: Service, environment: Mapping[str, Any]) -> ServicePip:
    """Return the pip that adds to a service's environment, or beside it.

    :param environment: without what is beside it
    """
    kind = ServicePip if service.container is None else ContainerPip
    return kind(step, service, environment)


class ContainerPip(ServicePip):
    """The pip of a container, whose packages are put into a folder on the host."""

    def __init__(self, step: Step, service: Service, environment: Mapping[str, Any]) -> None:
        self.room = str(step.path(SHARED))
        super().__init__(step, service, environment)

    def commands(self) -> list[list[str]]:
        """Return the container's own pip."""
        return [[self.python, "-c", PIP]]

    def seen(self, path: Path, folder: str) -> Path:
        """Return a copy of a file where the container sees it."""
        return Path(shutil.copy(path, folder))

    def target(self, folder: str) -> list[str]:
        """Have packages be put where the host sees them."""
        # Byte-code would be of other times than its source, once that was copied.
        return ["--no-compile", "--no-cache-dir", "--target", f"{folder}/site"]

    def put(self, folder: str, wanted: Iterable[str]) -> None:
        """Put packages beside those that are there, in the place of ones that are called alike."""
        self._change(wanted, Path(folder, "site"))

    def uninstall(self, names: Iterable[str]) -> None:
        """Take packages out; the folder goes with the last one."""
        self._change(names, None)

    def _change(self, names: Iterable[str], more: Path | None) -> None:
        """Take packages out and put others in, at one moment.

        :param more: a folder of packages
        """
        assert self.service.container is not None
        place = site(self.step, self.service.container)
        draft = place.with_name(f"{place.name}.new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        if place.exists():
            shutil.copytree(place, draft, dirs_exist_ok=True)
        for name in names:
            drop(draft, name)
        if more is not None:
            shutil.copytree(more, draft, dirs_exist_ok=True)
        if inventory("", str(draft))["packages"]:
            exchange(draft, place)
            shutil.rmtree(draft, ignore_errors=True)
            return
        for folder in (draft, place):
            shutil.rmtree(folder, ignore_errors=True)
        if not any(place.parent.iterdir()):
            place.parent.rmdir()


def drop(folder: Path, name: str) -> None:
    """Take a package out of a folder."""
    for dist in importlib.metadata.distributions(path=[str(folder)]):
        if normal(dist.metadata["Name"]) != normal(name):
            continue
        for file in dist.files or ():
            # Programs are put elsewhere than the package's record says.
            path = folder / os.path.normpath(file)
            path = folder / "bin" / path.name if ".." in path.parts else path
            path.unlink(missing_ok=True)
            for above in path.parents:
                if above == folder or not above.is_dir() or any(above.iterdir()):
                    break
                above.rmdir()


def exchange(draft: Path, place: Path) -> None:
    """Put a folder in the place of another one, if there is one, at one moment."""
    if not place.exists():
        draft.rename(place)
        return
    libc = ctypes.CDLL(None, use_errno=True)
    names = (AT_FDCWD, os.fsencode(draft), AT_FDCWD, os.fsencode(place))
    if libc.renameat2(*names, RENAME_EXCHANGE):
        # No file system for it: a container that is started between the two does without.
        aside = place.with_name(f"{place.name}.old")
        shutil.rmtree(aside, ignore_errors=True)
        place.rename(aside)
        draft.rename(place)
        shutil.rmtree(aside)
