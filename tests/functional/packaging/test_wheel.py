# SPDX-License-Identifier: Apache-2.0
"""The built wheel holds what a checkout holds, and finds it once installed."""

from __future__ import annotations

import ast
import configparser
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[3]
BUILD = "import sys; from {0} import build_wheel; print(build_wheel(sys.argv[1]))"
VERSION = configparser.ConfigParser()
VERSION.read(TOP / "setup.cfg")


def files(*patterns: str) -> set[str]:
    """Return the checkout's files that match, relative to its top."""
    return {str(path.relative_to(TOP)) for pattern in patterns for path in TOP.glob(pattern)}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheels of bundle, driver and client, built from what git has, by project name."""
    where = tmp_path_factory.mktemp("wheels")
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=TOP, check=True, capture_output=True
    ).stdout
    subprocess.run(
        ["tar", "--create", "--null", "--files-from=-", f"--file={where}/source.tar"],
        cwd=TOP,
        input=tracked,
        check=True,
    )
    built = {}
    for project, folder, backend in (
        ("novadocker-deploy", ".", "pbr.build"),
        ("nova-docker", "driver", "setuptools.build_meta"),
        ("novadocker-client", "novadocker_client", "setuptools.build_meta"),
    ):
        source, out = where / f"{project}-source", where / project
        source.mkdir()
        out.mkdir()
        subprocess.run(["tar", "--extract", f"--file={where}/source.tar"], cwd=source, check=True)
        subprocess.run(
            [sys.executable, "-c", BUILD.format(backend), str(out)],
            cwd=source / folder,
            check=True,
            capture_output=True,
            # There is no git to ask: as in an export of the checkout, setup.cfg tells the version.
            env={
                "PATH": "/usr/bin:/bin",
                "PBR_VERSION": VERSION["metadata"]["version"],
                "HOME": str(where),
            },
        )
        (built[project],) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the bundle's wheel and nothing else of its own."""
    where = tmp_path_factory.mktemp("wheel")
    wheel = wheels["novadocker-deploy"]
    target = where / "venv"
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "-q", str(target)], check=True)
    subprocess.run(
        [
            *uv,
            "pip",
            "install",
            "-q",
            "--offline",
            "--no-deps",
            "--python",
            str(target),
            str(wheel),
        ],
        check=True,
    )
    # The dependencies come from the environment of the tests, which has the same versions.
    (site_packages,) = target.glob("lib/python*/site-packages")
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return target


def test_wheel_holds_workbooks_templates_and_scripts(environment: Path) -> None:
    wanted = files("workbooks/*.yaml", "heat_templates/**/*.yaml", "heat_templates/**/*.py")
    share = environment / "share" / "novadocker"
    installed = {str(path.relative_to(share)) for path in share.rglob("*") if path.is_file()}
    assert wanted
    assert wanted <= installed


def ask(environment: Path, program: str) -> str:
    """Run a program in the environment, far from the checkout, and return what it prints."""
    done = subprocess.run(
        [environment / "bin" / "python", "-I", "-c", program],
        cwd="/",
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_installed_actions_find_their_host_scripts(environment: Path) -> None:
    names = [
        name
        for folder in ("agent", "configs", "library")
        for name in files(f"heat_templates/{folder}/*.py")
    ]
    told = ask(
        environment,
        "from novadocker_actions import resources;"
        "print(resources.__file__);"
        f"print(*map(resources.path, {names!r}));"
        "from novadocker_actions import host_package;"
        "assert 'run_step(' in host_package.contents()['configs/install_docker.py']",
    )
    assert told.count(str(environment)) == 1 + len(names)


def test_an_installed_bundle_makes_the_package_of_this_checkout(environment: Path) -> None:
    program = "from novadocker_actions import host_package; print(host_package.digest())"
    here = subprocess.run(
        [sys.executable, "-c", program], cwd=TOP, check=True, capture_output=True, text=True
    )
    assert ask(environment, program) == here.stdout


def test_the_bundle_carries_the_driver_as_its_own_build_makes_it(
    environment: Path, wheels: dict[str, Path]
) -> None:
    program = "from novadocker_actions import driver_wheel; print(driver_wheel.find().path)"
    carried = Path(ask(environment, program).strip())
    assert carried == environment / "share/novadocker/wheels" / wheels["nova-docker"].name
    with zipfile.ZipFile(carried) as here, zipfile.ZipFile(wheels["nova-docker"]) as own:
        names = sorted(own.namelist())
        assert sorted(here.namelist()) == names
        assert [name for name in names if here.read(name) != own.read(name)] == []


def test_every_entry_point_can_be_loaded(environment: Path) -> None:
    groups = ask(
        environment,
        "from importlib.metadata import distribution\n"
        "for point in distribution('novadocker-deploy').entry_points:\n"
        "    point.load()\n"
        "    print(point.group)",
    )
    assert {"console_scripts", "mistral.actions", "tempest.test_plugins"} <= set(groups.split())


@pytest.mark.parametrize("project", ["novadocker-deploy", "nova-docker", "novadocker-client"])
def test_a_wheel_has_its_license_with_it(wheels: dict[str, Path], project: str) -> None:
    with zipfile.ZipFile(wheels[project]) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/LICENSE"))
        assert archive.read(name) == (TOP / "LICENSE").read_bytes()


def test_the_version_is_told_once(wheels: dict[str, Path]) -> None:
    told = tomllib.loads((TOP / "driver" / "pyproject.toml").read_text())["project"]
    assert "version" in told["dynamic"]
    versions = {project: path.name.split("-")[1] for project, path in wheels.items()}
    assert versions == {
        "novadocker-deploy": VERSION["metadata"]["version"],
        "nova-docker": version_in("driver/novadocker"),
        "novadocker-client": version_in("novadocker_client"),
    }


def test_the_client_s_wheel_has_all_modules_and_no_tests(wheels: dict[str, Path]) -> None:
    wanted = files("novadocker_client/**/*.py", "novadocker_client/py.typed")
    with zipfile.ZipFile(wheels["novadocker-client"]) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == {name for name in wanted if "/tests/" not in name and "/build/" not in name}


def version_in(package: str) -> str:
    """Return the version that a package says it has."""
    text = (TOP / package / "__init__.py").read_text()
    return str(ast.literal_eval(text.partition("__version__ = ")[2].splitlines()[0]))
