# SPDX-License-Identifier: Apache-2.0
"""The packages of RHEL-likes, by the real dnf and rpm in a root and a repository of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from . import packages as distribution

sys.path.append(str(Path(__file__).parents[3] / "heat_templates"))

from library import faults, rpm
from library import step as steps

# Name, version, what it requires, what it conflicts with: as Docker's repository and RHEL's do.
PACKAGES = (
    ("docker-ce", "27.3", "containerd.io >= 1.6", ""),
    ("containerd.io", "1.7", "", "runc"),
    ("runc", "1.1", "", ""),
    ("podman", "4.9", "runc >= 1.0", ""),
    ("podman-docker", "4.9", "podman", "docker-ce"),
)

# What a repository with modules has: an engine that needs something of a stream which is the
# default one, and a module that hides each engine where somebody has enabled a stream of it.
MODULAR = (
    ("moby-engine", "24.0", "container-selinux", ""),
    ("container-selinux", "2.2", "", ""),
)
STREAM = """\
---
document: modulemd
version: 2
data:
  name: {name}
  stream: {stream}
  version: 1
  context: aaaaaaaa
  arch: noarch
  summary: x
  description: x
  license: {{module: [x]}}
  artifacts: {{rpms: [{artifacts}]}}
...
"""
MODULES = (
    STREAM.format(
        name="container-tools", stream="rhel8", artifacts="container-selinux-0:2.2-1.noarch"
    )
    + """\
---
document: modulemd-defaults
version: 1
data: {module: container-tools, stream: rhel8}
...
"""
    + STREAM.format(
        name="engines", stream="old", artifacts="moby-engine-0:1-1.noarch, docker-ce-0:1-1.noarch"
    )
)


@pytest.fixture(scope="module")
def tools() -> tuple[Path, dict[str, str]]:
    """Where dnf, rpm and their builders are, and the environment that they need there."""
    roots = [distribution.unpacked(name) for name in ("dnf", "rpm", "createrepo-c")]
    env = {
        "PATH": ":".join(f"{root}/usr/bin" for root in roots) + ":/usr/bin:/bin",
        "LD_LIBRARY_PATH": ":".join(distribution.libraries(root) for root in roots),
        "PYTHONPATH": ":".join(f"{root}/usr/lib/python3/dist-packages" for root in roots),
        "RPM_CONFIGDIR": f"{roots[1]}/usr/lib/rpm",
        "HOME": "/nonexistent",
        "LC_ALL": "C",
    }
    return roots[0], env


@pytest.fixture(scope="module")
def repository(tools: tuple[Path, dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Any:
    place = tmp_path_factory.mktemp("repository")
    return made(place, PACKAGES, tools[1])


@pytest.fixture(scope="module")
def modular(tools: tuple[Path, dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Any:
    place = tmp_path_factory.mktemp("modular")
    (place / "rpms").mkdir()
    (place / "rpms/modules.yaml").write_text(MODULES)
    return made(place, MODULAR, tools[1])


def made(place: Path, packages: tuple[tuple[str, ...], ...], env: dict[str, str]) -> Path:
    """Make a repository below a directory; return where it is."""
    for name, version, requires, conflicts in packages:
        lines = [f"Name: {name}", f"Version: {version}", "Release: 1", "Summary: x", "License: x"]
        lines += ["BuildArch: noarch", *([f"Requires: {requires}"] if requires else [])]
        lines += [f"Conflicts: {conflicts}"] if conflicts else []
        (place / f"{name}.spec").write_text("\n".join([*lines, "%description", "x", "%files", ""]))
        folders = [f"_topdir {place}/build", f"_rpmdir {place}/rpms"]
        define = [word for folder in folders for word in ("--define", folder)]
        command = ["rpmbuild", "-bb", *define, f"{place}/{name}.spec"]
        subprocess.run(command, env=env, check=True, capture_output=True)
    subprocess.run(["createrepo_c", "-q", f"{place}/rpms"], env=env, check=True)
    return place / "rpms"


@pytest.fixture
def host(
    tools: tuple[Path, dict[str, str]],
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., str]:
    """Return a function that runs dnf on a host whose packages are in a root of their own."""
    root, (place, env) = tmp_path / "root", tools
    (root / "etc/yum.repos.d").mkdir(parents=True)
    (tmp_path / "log").mkdir()
    text = f"[all]\nname=all\nbaseurl=file://{repository}\ngpgcheck=0\nenabled=1\n"
    (root / "etc/yum.repos.d/all.repo").write_text(text)
    settings = {"cachedir": f"{tmp_path}/cache", "logdir": f"{tmp_path}/log"}
    settings |= {"module_platform_id": "platform:el9"}
    settings |= {"reposdir": f"{root}/etc/yum.repos.d", "pluginpath": "/nonexistent"}
    options = "--releasever=9 "
    options += " ".join(f"--setopt={name}={value}" for name, value in settings.items())
    kept = " ".join(f"{name}='{value}'" for name, value in env.items())
    programs = {
        "dnf": f"/usr/bin/python3 {place}/usr/bin/dnf-3 --installroot={root} {options}",
        "rpm": f"rpm --root={root}",
    }
    (tmp_path / "bin").mkdir()
    for name, command in programs.items():
        (tmp_path / "bin" / name).write_text(f'#!/bin/sh\nexec env {kept} {command} "$@"\n')
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setattr(steps, "SYSTEM_PATH", f"{tmp_path}/bin:/usr/bin:/bin")

    def run(*arguments: str) -> str:
        command = [f"{tmp_path}/bin/dnf", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    return run


pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="rpm asks for root to install")


def manager(tmp_path: Path, mode: str = "apply") -> rpm.Dnf:
    return rpm.Dnf(steps.Step("install_docker", mode, {}, tmp_path / "host"))


def test_what_is_planned_is_installed_and_taken_out_again(
    host: Callable[..., str], tmp_path: Path
) -> None:
    dnf = manager(tmp_path)
    assert dnf.choice(dnf.engine) == ["docker-ce"]
    new = dnf.planned(["docker-ce"])
    assert sorted(new) == ["containerd.io", "docker-ce"]
    assert dnf.installed() == set()
    dnf.install(["docker-ce"])
    assert dnf.installed() == {"containerd.io", "docker-ce"}
    assert dnf.planned(["docker-ce"]) == []
    dnf.purge(new)
    assert dnf.installed() == set()


@pytest.mark.field_case("K4.3")
@pytest.mark.parametrize(
    ("there", "words"),
    [
        ("podman", "containerd.io-1.7-1.noarch conflicts with runc provided by runc-1.1-1.noarch"),
        ("podman-docker", "conflicts with docker-ce"),
    ],
)
def test_a_conflict_is_told_with_dnf_s_own_words_before_anything(
    host: Callable[..., str], tmp_path: Path, there: str, words: str
) -> None:
    host("-y", "install", there)
    before = manager(tmp_path).installed()
    for mode in ("check", "apply"):
        with pytest.raises(faults.StepFailed) as caught:
            manager(tmp_path, mode).planned(["docker-ce"])
        assert words in str(caught.value)
        assert "then repeat" in str(caught.value)
    assert manager(tmp_path).installed() == before


def test_a_package_that_others_need_is_not_taken_out(
    host: Callable[..., str], tmp_path: Path
) -> None:
    host("-y", "install", "podman")
    with pytest.raises(faults.StepFailed, match="needed by .*podman"):
        manager(tmp_path).purge(["runc"])


@pytest.fixture
def with_modules(host: Callable[..., str], modular: Path, tmp_path: Path) -> Callable[..., str]:
    """A host that knows the repository with modules as well."""
    text = f"[modular]\nname=modular\nbaseurl=file://{modular}\ngpgcheck=0\nenabled=1\n"
    (tmp_path / "root/etc/yum.repos.d/modular.repo").write_text(text)
    return host


def states(tmp_path: Path) -> dict[str, str]:
    """Return what dnf keeps of modules, by the names of its files."""
    kept = (tmp_path / "root/etc/dnf/modules.d").glob("*")
    return {path.name: path.read_text() for path in kept}


def of_root(tmp_path: Path, mode: str = "apply") -> rpm.Dnf:
    """Return the package manager of a step whose root is the one that dnf installs to."""
    return rpm.Dnf(steps.Step("install_docker", mode, {}, tmp_path / "root"))


@pytest.mark.parametrize("before", ["never enabled", "reset"])
def test_a_stream_that_the_engine_needs_is_told_and_undone_with_it(
    with_modules: Callable[..., str], tmp_path: Path, before: str
) -> None:
    if before == "reset":
        with_modules("-y", "module", "enable", "container-tools:rhel8")
        with_modules("-y", "module", "reset", "container-tools")
    was = states(tmp_path)
    dnf = of_root(tmp_path)
    engine = dnf.choice(dnf.engine)
    new = dnf.planned(engine)
    assert sorted(new) == ["container-selinux", "moby-engine"]
    assert "enables the module stream container-tools:rhel8" in dnf.step.facts["notes"][0]
    assert states(tmp_path) == was
    dnf.install(engine)
    assert "state=enabled" in states(tmp_path)["container-tools.module"]
    undone = of_root(tmp_path, "undo")
    undone.purge(new)
    assert undone.installed() == set()
    assert states(tmp_path) == was


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (
            ("disable", "container-tools"),
            (
                *("container-selinux", "filtered out", "container-tools is disabled"),
                "`dnf module reset`",
            ),
        ),
        (
            ("enable", "engines:old"),
            ("dnf does not offer moby-engine", "engines:old is enabled", "`dnf module reset`"),
        ),
        (("exclude",), ("dnf does not offer moby-engine", "excludepkgs", "take it out there")),
    ],
)
def test_what_hides_packages_is_named_before_anything(
    with_modules: Callable[..., str], tmp_path: Path, asked: tuple[str, ...], words: tuple[str, ...]
) -> None:
    if asked[0] == "exclude":
        (tmp_path / "root/etc/yum.repos.d/modular.repo").open("a").write("excludepkgs=moby*\n")
        (tmp_path / "root/etc/yum.repos.d/all.repo").open("a").write("excludepkgs=docker*\n")
    else:
        with_modules("-y", "module", *asked)
    was = states(tmp_path)
    with pytest.raises(faults.StepFailed) as caught:
        dnf = of_root(tmp_path, "check")
        dnf.planned(dnf.choice(dnf.engine))
    assert [word for word in words if word not in str(caught.value)] == []
    assert states(tmp_path) == was
