# SPDX-License-Identifier: Apache-2.0
"""install_driver, with a real pip in a real virtual environment and wheels made for the purpose."""

from __future__ import annotations

import functools
import getpass
import http.server
import json
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from typing import Any

import bring_wheels
import install_driver
import pip
import pytest
from library import faults, instances, outcome, package, probes, service_pip, services
from library import wheels as store

from .conftest import Make
from .made_wheels import file_of, sha256, wheel


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("wheels")
    wheel(folder, "shared-lib", "1.0")
    wheel(folder, "shared-lib", "2.0")
    wheel(folder, "docker", "7.1.0")
    wheel(folder, "nova-docker", "1.0", "docker>=7", "shared-lib")
    wheel(folder, "nova-docker", "1.1", "docker>=7", "shared-lib>=1")
    wheel(folder, "nova-docker", "1.1rc1", "docker>=7", "shared-lib", "extra-lib")
    wheel(folder, "nova-docker", "1.2", "docker>=7", "unlocked-lib")
    wheel(folder, "nova-docker", "1.3", "docker>=7", "absent-lib")
    wheel(folder, "extra-lib", "1.0")
    wheel(folder, "unlocked-lib", "1.0")
    wheel(folder, "nova-docker", "2.0", "shared-lib>=2")
    return folder


@pytest.fixture
def lock(wheels: Any, monkeypatch: pytest.MonkeyPatch) -> list[store.Locked]:
    """Have driver.lock name what the driver of these tests needs."""
    names = [("docker", "7.1.0"), ("extra-lib", "1.0"), ("shared-lib", "1.0")]
    entries = [
        store.Locked(name, version, "", (sha256(wheels / file_of(name, version)),))
        for name, version in names
    ]
    monkeypatch.setattr(store, "locked", lambda: entries)
    return entries


@pytest.fixture
def environment(
    tmp_path: pathlib.Path,
    root: pathlib.Path,
    wheels: Any,
    lock: list[store.Locked],
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    """Return a service in an environment like Nova's, with pip and an older shared-lib in it.

    The host was given every wheel of the tests; its pip is set up for an index that there is not.
    """
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", "http://127.0.0.1:9/wheels")
    for name in ("PIP_CONFIG_FILE", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX", "PIP_CONSTRAINT"):
        monkeypatch.delenv(name, raising=False)
    for path in wheels.glob("*.whl"):
        store.put(root, path.name, path.read_bytes())
    place = tmp_path / "nova"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    python = place / "bin" / "python"
    (site,) = place.glob("lib/python*/site-packages")
    # The tests' own: without its metadata it is no package that is held where it is.
    (site / "pip").symlink_to(pathlib.Path(pip.__file__).parent)
    install(python, wheels / file_of("shared-lib", "1.0"))
    service = services.Service(
        "nova-compute.service",
        True,
        "active/running",
        getpass.getuser(),
        0,
        0,
        False,
        [str(python), str(place / "bin/nova-compute")],
        {},
    )
    monkeypatch.setattr(install_driver, "nova_service", lambda _step: service)
    monkeypatch.setattr(instances, "instance_containers", lambda _step: [])
    monkeypatch.setattr(install_driver, "restart_service", lambda *_args: None)
    return service


@pytest.fixture
def packages(environment: Any, make_step: Make) -> Any:
    def read() -> dict[str, str]:
        step = make_step("look")
        inventory = services.in_service_python(step, environment, probes.inventory)
        return dict(inventory["packages"])

    return read


def install(python: Any, *paths: pathlib.Path) -> None:
    """Install wheels as pip does it, but at once."""
    (site,) = pathlib.Path(python).parents[1].glob("lib/python*/site-packages")
    for path in paths:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(site)
        (info,) = site.glob(f"{path.name.rpartition('-py3')[0]}.dist-info")
        told = {"archive_info": {"hash": f"sha256={sha256(path)}"}, "url": path.as_uri()}
        (info / "direct_url.json").write_text(json.dumps(told))


@pytest.fixture
def run(make_step: Make, wheels: Any) -> Any:
    """Return a function that runs the step with a version of the driver."""

    def run(mode: str = "apply", version: str = "1.0", run_id: str = "one", **more: Any) -> Any:
        path = wheels / file_of("nova-docker", version)
        given = {"wheel": path.name, "sha256": sha256(path), "url": "", "index": "", **more}
        step = make_step("install_driver", mode, **given)
        step.run_id = run_id
        step.begin()
        outcome.work_of(mode, install_driver.converge, install_driver.undo)(step)
        return step

    return run


@pytest.fixture
def served(tmp_path: pathlib.Path) -> Iterator[tuple[pathlib.Path, str]]:
    """Return a folder and the address that it is served at."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def forget(root: pathlib.Path, path: pathlib.Path) -> None:
    """Take a wheel from the host."""
    (held,) = store.folder_of(root, sha256(path)).iterdir()
    held.unlink()
    held.parent.rmdir()


def test_install_repeat_and_undo(run: Any, packages: Any) -> None:
    before = packages()
    assert run("check").actions
    assert packages() == before

    step = run()
    assert step.facts["driver_version"] == "1.0"
    assert packages() == {**before, "docker": "7.1.0", "nova-docker": "1.0"}

    # The very wheel is there: nothing is done.
    assert run().actions == []
    assert run("check").actions == []

    assert run("undo").actions
    assert packages() == before
    assert run("undo").actions == []


def test_an_environment_without_pip_is_served_by_the_steps_own(
    run: Any, packages: Any, environment: Any
) -> None:
    (own,) = pathlib.Path(environment.python).parents[1].glob("lib/python*/site-packages/pip")
    own.unlink()
    before = packages()
    step = run()
    assert step.facts["pip"] == f"{sys.executable} -m pip"
    assert packages() == {**before, "docker": "7.1.0", "nova-docker": "1.0"}
    run("undo")
    assert packages() == before


def test_a_driver_that_needs_another_version_of_a_package_is_refused(
    run: Any, packages: Any
) -> None:
    before = packages()
    with pytest.raises(faults.StepFailed, match="held where they are"):
        run(version="2.0")
    assert packages() == before


def test_a_dependency_that_satisfies_stays_though_the_lock_has_another(
    run: Any, packages: Any, environment: Any, tmp_path: pathlib.Path
) -> None:
    wheel(tmp_path, "docker", "8.0")
    install(environment.python, tmp_path / file_of("docker", "8.0"))
    before = packages()
    run()
    assert packages() == {**before, "nova-docker": "1.0"}
    run("undo")
    assert packages() == before


@pytest.mark.parametrize("version", ["1.7build1", "2.36+ds", "1.0.0-dirty", "0.1~rc1"])
def test_a_version_of_the_distribution_s_own_kind_is_no_hindrance_and_stays(
    run: Any, packages: Any, environment: Any, version: str
) -> None:
    site = next(pathlib.Path(environment.python).parents[1].glob("lib/python*/site-packages"))
    info = site / "distro_info-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: distro-info\nVersion: {version}\n"
    )
    before = packages()
    assert before["distro-info"] == version
    assert run().facts["driver_version"] == "1.0"
    assert packages() == {**before, "docker": "7.1.0", "nova-docker": "1.0"}


def test_only_a_driver_that_nova_compute_may_have_loaded_disturbs(run: Any, packages: Any) -> None:
    assert run("check").facts["disturbs"] is False
    assert run().facts["disturbs"] is False
    assert run().facts["disturbs"] is False
    facts = run("check", version="1.1", run_id="two").facts
    assert facts["disturbs"] is True
    assert "nova-compute.service may have the driver loaded" in facts["disturbed"][0]


def test_a_wheel_that_the_host_has_not_is_refused_with_the_remedy(
    run: Any, packages: Any, root: pathlib.Path, wheels: Any
) -> None:
    before = packages()
    forget(root, wheels / file_of("nova-docker", "1.0"))
    with pytest.raises(faults.StepFailed, match=r"nova_docker-1\.0-py3.*novadocker-enroll update"):
        run("check")
    assert packages() == before


@pytest.mark.parametrize(
    ("mode", "name", "version"),
    [("check", "nova-docker", "1.0"), ("check", "docker", "7.1.0"), ("apply", "docker", "7.1.0")],
)
def test_a_wheel_with_one_byte_changed_is_refused_before_anything_has_changed(
    run: Any, packages: Any, root: pathlib.Path, wheels: Any, mode: str, name: str, version: str
) -> None:
    before = packages()
    path = wheels / file_of(name, version)
    held = store.folder_of(root, sha256(path)) / path.name
    data = bytearray(held.read_bytes())
    data[len(data) // 2] ^= 1
    held.write_bytes(data)
    with pytest.raises(faults.StepFailed, match=f"{path.name} is not the wheel.*take it away"):
        run(mode)
    assert packages() == before
    assert not (root / "var/lib/novadocker/install_driver.json").exists() or not json.loads(
        (root / "var/lib/novadocker/install_driver.json").read_text()
    ).get("installed")


def test_a_dependency_that_is_not_locked_is_refused_by_name(
    run: Any, packages: Any, served: tuple[pathlib.Path, str], wheels: Any
) -> None:
    folder, address = served
    for path in wheels.glob("*.whl"):
        (folder / path.name).write_bytes(path.read_bytes())
    before = packages()
    with pytest.raises(
        faults.StepFailed, match="needs unlocked-lib, which .* driver.lock does not"
    ):
        run("check", version="1.2", url=address)
    assert packages() == before


def test_a_dependency_that_is_nowhere_is_named_with_what_can_be_done(
    run: Any, packages: Any
) -> None:
    with pytest.raises(faults.StepFailed, match=r"--wheels DIRECTORY.*driver_index.*absent-lib"):
        run("check", version="1.3")


def only_there(root: pathlib.Path, wheels: pathlib.Path, folder: pathlib.Path) -> None:
    """Have the driver and its SDK be in a folder, and on the host no more."""
    for path in (wheels / file_of(*x) for x in [("nova-docker", "1.0"), ("docker", "7.1.0")]):
        forget(root, path)
        (folder / path.name).write_bytes(path.read_bytes())


def test_a_wheel_is_fetched_from_the_operator_s_address_and_undo_takes_it_away(
    run: Any,
    packages: Any,
    served: tuple[pathlib.Path, str],
    root: pathlib.Path,
    wheels: Any,
) -> None:
    folder, address = served
    only_there(root, wheels, folder)
    before = packages()
    listed = sorted(store.folder_of(root, "").rglob("*"))
    assert run("check", url=address).actions
    assert sorted(store.folder_of(root, "").rglob("*")) == listed
    run(url=address)
    assert packages() == {**before, "docker": "7.1.0", "nova-docker": "1.0"}
    run("undo")
    assert packages() == before
    assert sorted(store.folder_of(root, "").rglob("*")) == listed


@pytest.mark.parametrize(
    ("mode", "name", "version"),
    [("check", "nova-docker", "1.0"), ("check", "docker", "7.1.0"), ("apply", "docker", "7.1.0")],
)
def test_a_changed_wheel_at_the_operator_s_address_is_refused(
    run: Any,
    packages: Any,
    served: tuple[pathlib.Path, str],
    root: pathlib.Path,
    wheels: Any,
    mode: str,
    name: str,
    version: str,
) -> None:
    folder, address = served
    before = packages()
    only_there(root, wheels, folder)
    changed = folder / file_of(name, version)
    data = bytearray(changed.read_bytes())
    # The comment of the archive: it is a wheel all the same.
    data[-2:] = b"\x01\x00"
    changed.write_bytes(bytes(data) + b"!")
    with pytest.raises(faults.StepFailed, match=r"(?s)is not the wheel|DO NOT MATCH THE HASHES"):
        run(mode, url=address)
    assert packages() == before


def test_an_index_of_the_operator_s_is_asked_for_what_is_lacking_and_for_nothing_else(
    run: Any,
    packages: Any,
    served: tuple[pathlib.Path, str],
    root: pathlib.Path,
    wheels: Any,
) -> None:
    folder, address = served
    sdk = wheels / file_of("docker", "7.1.0")
    forget(root, sdk)
    page = folder / "simple" / "docker"
    page.mkdir(parents=True)
    (page / sdk.name).write_bytes(sdk.read_bytes())
    (page / "index.html").write_text(
        f'<html><body><a href="{sdk.name}">{sdk.name}</a></body></html>'
    )
    before = packages()
    run(index=f"{address}/simple")
    assert packages() == {**before, "docker": "7.1.0", "nova-docker": "1.0"}


def test_no_index_is_asked_unless_it_is_named(
    run: Any, packages: Any, served: tuple[pathlib.Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever registers a name on an index that a host is set up for gets nothing from it."""
    asked: list[str] = []
    monkeypatch.setattr(
        http.server.SimpleHTTPRequestHandler,
        "log_request",
        lambda self, *_: asked.append(self.path),
    )
    _, address = served
    monkeypatch.setenv("PIP_INDEX_URL", address)
    monkeypatch.setenv("PIP_FIND_LINKS", address)
    run("check")
    run()
    run("undo")
    assert asked == []


def test_a_version_that_was_there_before_comes_back(
    run: Any, packages: Any, environment: Any, wheels: Any
) -> None:
    install(environment.python, wheels / file_of("nova-docker", "1.0"))
    before = packages()
    step = run(version="1.1")
    assert step.facts["driver_version"] == "1.1"
    assert packages() == {**before, "docker": "7.1.0", "nova-docker": "1.1"}
    run("undo")
    assert packages() == before


@pytest.mark.parametrize("again", [False, True], ids=["at once", "deployed again"])
def test_what_an_operator_has_put_into_a_new_environment_of_nova_stays_there(
    run: Any, packages: Any, environment: Any, tmp_path: pathlib.Path, again: bool
) -> None:
    """As an upgrade of Nova makes one; the driver of before was in the old one."""
    old, new = pathlib.Path(environment.python).parents[1], tmp_path / "nova-of-the-next-release"
    shutil.copytree(old, new, symlinks=True)
    run()
    environment.command = [str(new / "bin/python"), str(new / "bin/nova-compute")]
    wheel(tmp_path, "docker", "7.1.0")
    install(environment.python, tmp_path / file_of("docker", "7.1.0"))
    before = packages()
    if again:
        run(run_id="two")
        assert packages() == {**before, "nova-docker": "1.0"}

    run("undo", run_id="three")

    assert packages() == before


def test_a_driver_of_which_the_host_has_no_wheel_comes_back_as_it_was(
    run: Any, packages: Any, environment: Any, wheels: Any, root: pathlib.Path
) -> None:
    """It was put there by an index, or by a release that kept no wheels."""
    install(environment.python, wheels / file_of("nova-docker", "1.0"))
    forget(root, wheels / file_of("nova-docker", "1.0"))
    site = next(pathlib.Path(environment.python).parents[1].glob("lib/python*/site-packages"))
    next(site.glob("nova_docker-*")).joinpath("direct_url.json").unlink()
    (site / "nova_docker_module.py").write_text("patched = True\n")
    before = packages()
    run(version="1.1")
    assert (site / "nova_docker_module.py").read_text() == ""
    run("undo")
    assert packages() == before
    assert (site / "nova_docker_module.py").read_text() == "patched = True\n"


def test_another_wheel_of_the_same_version_takes_its_place(
    run: Any, packages: Any, environment: Any, wheels: Any, tmp_path: pathlib.Path
) -> None:
    wheel(tmp_path, "nova-docker", "1.0", "docker>=7")
    install(environment.python, tmp_path / file_of("nova-docker", "1.0"))
    outcome = run()
    assert outcome.facts["disturbs"] is True
    assert run().actions == []


def test_a_driver_of_the_same_version_that_an_index_gave_is_replaced_once(
    run: Any, packages: Any, environment: Any, wheels: Any, root: pathlib.Path
) -> None:
    """As a release that asked an index has left it: which content that is was noted nowhere."""
    install(environment.python, wheels / file_of("nova-docker", "1.0"))
    site = next(pathlib.Path(environment.python).parents[1].glob("lib/python*/site-packages"))
    next(site.glob("nova_docker-*")).joinpath("direct_url.json").unlink()

    assert run("check").facts["disturbs"] is True
    assert run().actions
    assert run().actions == []


@pytest.mark.parametrize("kept", [True, False])
def test_a_record_that_tells_a_version_is_taken_back_without_failing(
    run: Any, packages: Any, environment: Any, wheels: Any, root: pathlib.Path, kept: bool
) -> None:
    """A release that kept no wheels recorded the version of the driver that it replaced."""
    install(environment.python, wheels / file_of("nova-docker", "1.0"))
    before = packages()
    run(version="1.1")
    place = root / "var/lib/novadocker/install_driver.json"
    record = json.loads(place.read_text())
    record["baseline"]["replaced"] = {"nova-docker": "1.0"}
    place.write_text(json.dumps(record["baseline"]))
    if not kept:
        forget(root, wheels / file_of("nova-docker", "1.0"))

    step = run("undo", run_id="two")

    assert not place.exists()
    assert packages() == (before if kept else {**before, "nova-docker": "1.1"})
    told = [note for note in step.actions + step.facts.get("notes", []) if "is left there" in note]
    assert bool(told) is not kept
    assert run("undo", run_id="three").actions == []


def test_an_upgrade_that_is_rolled_back_brings_the_version_before(
    run: Any, packages: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    restarts = []
    monkeypatch.setattr(install_driver, "restart_service", lambda *_args: restarts.append(1))
    monkeypatch.setattr(instances, "instance_containers", lambda _step: ["instance"])
    before = packages()
    run()
    run(version="1.1", run_id="two")
    assert packages()["nova-docker"] == "1.1"
    assert restarts == []

    run("roll_back", run_id="two")
    assert packages() == {**before, "docker": "7.1.0", "nova-docker": "1.0"}
    # What runs may have loaded the version that is gone.
    assert restarts == [1]
    # It is the very wheel that was there: the release before finds nothing to do.
    assert run(run_id="three").actions == []

    monkeypatch.setattr(instances, "instance_containers", lambda _step: [])
    run("undo", run_id="four")
    assert packages() == before


def test_a_nova_that_died_of_an_upgrade_is_started_with_the_version_before(
    run: Any, packages: Any, environment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    restarts = []
    monkeypatch.setattr(install_driver, "restart_service", lambda *_args: restarts.append(1))
    run()
    run(version="1.1", run_id="two")
    environment.active = False

    run("roll_back", run_id="two")

    assert packages()["nova-docker"] == "1.0"
    assert restarts == [1]


def test_an_upgrade_that_brought_a_dependency_is_rolled_back_under_instances(
    run: Any, packages: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    before = packages()
    run(version="1.1rc1", run_id="two")
    assert packages() == {**before, "nova-docker": "1.1rc1", "extra-lib": "1.0"}
    monkeypatch.setattr(instances, "instance_containers", lambda _step: ["instance"])

    run("roll_back", run_id="two")

    assert packages() == before


@pytest.mark.parametrize("mode", ["undo", "roll_back"])
def test_a_driver_is_not_taken_from_under_its_instances(
    run: Any, packages: Any, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    run()
    monkeypatch.setattr(instances, "instance_containers", lambda _step: ["instance"])
    with pytest.raises(faults.StepFailed, match="stays a Docker hypervisor"):
        run(mode)
    assert packages()["nova-docker"] == "1.0"


def test_a_changed_package_is_named() -> None:
    with pytest.raises(faults.StepFailed, match=r"oslo.config 9 -> 10"):
        service_pip.refuse_differences({"oslo.config": "9"}, {"oslo.config": "10"}, {"x"})


@pytest.mark.parametrize(
    ("field", "value", "good"),
    [
        ("wheel", "nova_docker-1.0-py3-none-any.whl", True),
        ("wheel", "", True),
        ("wheel", "../nova_docker-1.0-py3-none-any.whl", False),
        ("wheel", "nova_docker-1.0-py3-none-any.whl --index-url=x", False),
        ("sha256", "0" * 64, True),
        ("sha256", "0" * 63, False),
        ("url", "https://controller/wheels", True),
        ("url", "file:///root", False),
        ("url", "https://controller/ --index-url=x", False),
        ("index", "https://user:secret@pypi.example/simple", False),
    ],
)
def test_settings_name_a_wheel_and_places_and_nothing_else(
    field: str, value: str, good: bool
) -> None:
    pattern = install_driver.SETTINGS["properties"][field]["pattern"]
    assert bool(re.search(pattern, value)) is good


@pytest.fixture
def brought(
    make_step: Make, wheels: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """Return a function that brings wheels as enrolment does."""
    beside = tmp_path / "beside"
    (beside / "brought").mkdir(parents=True)
    monkeypatch.setattr(package, "own_package", lambda: beside / "novadocker-host.pyz")
    monkeypatch.setattr(bring_wheels, "own_package", lambda: beside / "novadocker-host.pyz")

    def bring(version: str = "1.0", spoil: bool = False) -> Any:
        path = wheels / file_of("nova-docker", version)
        (beside / "brought" / path.name).write_bytes(path.read_bytes() + b"!" * spoil)
        digest = sha256(path)
        step = make_step("bring_wheels", "apply", wheels={path.name: digest}, driver=digest)
        bring_wheels.converge(step)
        return step

    return bring


def test_what_enrolment_brought_last_is_the_driver_of_who_names_none(
    environment: Any, run: Any, brought: Any
) -> None:
    with pytest.raises(faults.StepFailed, match="no wheel of the driver"):
        run("check", wheel="", sha256="")
    assert brought("1.0").actions
    assert brought("1.0").actions == []
    assert run("check", wheel="", sha256="").facts["driver_version"] == "1.0"
    assert brought("1.1").actions
    assert run("check", wheel="", sha256="").facts["driver_version"] == "1.1"


def test_a_wheel_that_was_altered_on_its_way_is_not_kept(root: pathlib.Path, brought: Any) -> None:
    with pytest.raises(faults.StepFailed, match=r"nova_docker-1\.0-py3-none-any\.whl is not the"):
        brought("1.0", spoil=True)
    assert not list(store.folder_of(root, "").rglob("*.whl"))


def test_the_lock_names_every_file_by_its_hash() -> None:
    entries = {entry.name: entry for entry in store.locked()}
    assert set(entries) == {
        *("docker", "requests", "urllib3", "idna", "certifi", "charset-normalizer")
    }
    assert all(entry.sha256 and entry.version for entry in entries.values())
