# SPDX-License-Identifier: Apache-2.0
"""The wheelhouse: what hosts can install without an index, as files in the lab's cache."""

from __future__ import annotations

import configparser
import dataclasses
import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence

from lab.errors import CommandError, LabError
from lab.images.layers import builder_prefix, digest
from lab.machine import apt_sources, commands, parallel, python_index
from lab.settings import LAB, LabSettings

MOUNT = "/mnt/wheelhouse"
STAMP = ".downloads"


@dataclasses.dataclass(frozen=True)
class Project:
    """A distribution that is built from the checkout.

    :param name: its name
    :param folder: where it is in the checkout
    :param paths: what of the folder goes into it
    """

    name: str
    folder: str
    paths: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Lock:
    """A file of the checkout that names what hosts install, each file by its hash.

    :param path: where it is in the checkout
    :param sources: distributions that are wanted as their sources
    """

    path: str
    sources: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Wheel:
    """A wheel in the wheelhouse.

    :param digest: of the sources that it was built from
    """

    path: pathlib.Path
    digest: str


def fetch(settings: LabSettings, image: str, locks: Sequence[Lock]) -> None:
    """Download what wheels.lock and other locks name, unless it is there.

    :param image: reference of the image whose Python they are for
    """
    release = apt_sources.machine_release()
    texts = [(LAB / "wheels.lock").read_text()]
    texts += [(settings.checkout / lock.path).read_text() for lock in locks]
    wanted = digest(*texts, *map(str, locks), release)
    stamp = settings.wheelhouse / STAMP
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    settings.wheelhouse.mkdir(parents=True, exist_ok=True)
    container = f"{builder_prefix(settings)}wheelhouse"
    env = {"PIP_CERT": "/mnt/ca.crt", "PIP_CONFIG_FILE": os.devnull, **python_index.machine_index()}
    pip = f"{settings.openstack_venv}/bin/pip"
    download = f"{pip} download --no-deps --dest ."
    script = [
        f"cd {MOUNT}",
        "rm -f *.whl *.tar.gz",
        f"{download} --requirement /mnt/wheels.lock",
        *(
            " ".join(
                [
                    f"{download} --require-hashes --requirement /mnt/checkout/{lock.path}",
                    *(f"--no-binary {name}" for name in lock.sources),
                ]
            )
            for lock in locks
        ),
    ]
    commands.run(["docker", "rm", "--force", container], check=False)
    try:
        commands.run_logged(
            [
                *("docker", "run", "--rm", "--name", container, "--network", "host"),
                *("--volume", f"{settings.wheelhouse}:{MOUNT}"),
                *("--volume", f"{LAB / 'wheels.lock'}:/mnt/wheels.lock:ro"),
                *("--volume", f"{settings.checkout}:/mnt/checkout:ro"),
                *("--volume", f"{python_index.ca_bundle()}:/mnt/ca.crt:ro"),
                *(part for k, v in env.items() for part in ("--env", f"{k}={v}")),
                *(image, "sh", "-c", " && ".join(script)),
            ],
            settings.log_dir / "wheelhouse.log",
            timeout_s=600,
            what="download the hosts' packages",
        )
    finally:
        commands.run(["docker", "rm", "--force", container], check=False)
    stamp.write_text(wanted)


def build(settings: LabSettings, projects: Sequence[Project]) -> dict[str, Wheel]:
    """Build the wheels of projects whose sources changed; return all by project name."""
    wheels = parallel.each(projects, lambda project: _build(settings, project))
    return {project.name: wheel for project, wheel in zip(projects, wheels, strict=True)}


def _build(settings: LabSettings, project: Project) -> Wheel:
    folder = settings.checkout / project.folder
    files = source_files(folder, project.paths)
    if not files:
        raise LabError(f"{project.name}: no sources in {folder}")
    wanted = sources_digest(folder, files)
    stamp = settings.wheelhouse / f".{project.name}"
    pattern = f"{project.name.replace('-', '_')}-*.whl"
    there = sorted(settings.wheelhouse.glob(pattern))
    if len(there) == 1 and stamp.is_file() and stamp.read_text() == wanted:
        return Wheel(there[0], wanted)
    settings.wheelhouse.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="novadocker-lab-") as name:
        copy, out = pathlib.Path(name) / "sources", pathlib.Path(name) / "wheels"
        for file in files:
            target = copy / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / file, target)
        _build_copy(copy, out, project, settings.log_dir / f"wheel-{project.name}.log")
        built = next(out.glob(pattern))
        for old in there:
            old.unlink()
        path = settings.wheelhouse / built.name
        shutil.copy(built, path)
    stamp.write_text(wanted)
    return Wheel(path, wanted)


def _build_copy(copy: pathlib.Path, out: pathlib.Path, project: Project, log: pathlib.Path) -> None:
    # pbr asks git which files there are: the copy is a repository of its own.
    for argv in (["git", "init", "--quiet"], ["git", "add", "--all", "--force"]):
        commands.run(argv, cwd=copy)
    env = {
        "SSL_CERT_FILE": str(python_index.ca_bundle()),
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        **python_index.machine_index(),
        **_pbr_version(copy),
    }
    try:
        commands.run_logged(
            [str(python_index.uv_program()), "build", "--wheel", "--out-dir", str(out), str(copy)],
            log,
            timeout_s=300,
            what=f"build the wheel of {project.name}",
            env=env,
        )
    except CommandError as err:
        raise LabError(f"cannot {err}", log=log) from err


def _pbr_version(folder: pathlib.Path) -> Mapping[str, str]:
    """Return what tells pbr the version where there is no history to ask for it."""
    config = configparser.ConfigParser()
    config.read(folder / "setup.cfg")
    version = config.get("metadata", "version", fallback="")
    return {"PBR_VERSION": version} if re.match(r"^\d", version) else {}


def source_files(folder: pathlib.Path, paths: tuple[str, ...]) -> list[str]:
    """Return the files of some paths as git sees them: tracked, or new and not ignored.

    Without git, all files but caches and build results.
    """
    listed = commands.run(
        [
            *("git", "-c", "safe.directory=*"),
            *("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *paths),
        ],
        cwd=folder,
        check=False,
    )
    if listed.returncode == 0:
        names = {name for name in listed.stdout.split("\0") if name}
    else:
        names = {
            str(path.relative_to(folder))
            for part in paths
            for path in [folder / part, *(folder / part).rglob("*")]
        }
    skipped = re.compile(r"(^|/)(__pycache__|build|dist|\.git|[^/]+\.egg-info)/")
    return sorted(x for x in names if (folder / x).is_file() and not skipped.search(x))


def sources_digest(folder: pathlib.Path, files: list[str]) -> str:
    """Return a digest of files' names, modes and contents."""
    parts = []
    for name in files:
        path = folder / name
        parts += [name, str(path.stat().st_mode & 0o111), path.read_bytes().hex()]
    return digest(*parts)
