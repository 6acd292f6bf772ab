# SPDX-License-Identifier: Apache-2.0
"""The driver on an engine in memory, with recorded calls instead of ports."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from nova import objects
from nova.image import glance as nova_glance

from novadocker.privsep import hosts, mounts
from novadocker.tests import make
from novadocker.tests.fake_engine import FakeEngine
from novadocker.tests.fake_host import FakeHost
from novadocker.virt.docker import driver
from novadocker.virt.docker.engine import sizes
from novadocker.virt.docker.host import space
from novadocker.virt.docker.network.wiring import Wiring
from novadocker.virt.docker.parts import Parts
from novadocker.virt.docker.volumes import mounted


class VirtAPI:
    """Records the events that are waited for.

    :ivar raising: what waiting ends with
    :ivar waiting: whether someone waits
    :ivar wired: called when all is done but the waiting
    """

    def __init__(self) -> None:
        self.waited: list[Any] = []
        self.raising: BaseException | None = None
        self.failing = False
        self.waiting = False
        self.wired: Callable[[], None] = lambda: None

    @contextlib.contextmanager
    def wait_for_instance_event(
        self, instance: Any, names: Any, deadline: int = 300, error_callback: Any = None
    ) -> Iterator[None]:
        self.waited.append((list(names), deadline))
        self.waiting = True
        yield
        self.waiting = False
        self.wired()
        if self.failing:
            error_callback(names[0], instance)
        if self.raising is not None:
            raise self.raising


@pytest.fixture(autouse=True, scope="session")
def _objects() -> None:
    objects.register_all()


@pytest.fixture
def conf(tmp_path: Path) -> Iterator[Any]:
    options = driver.CONF
    options([], project="nova", default_config_files=[], default_config_dirs=[])
    options.set_override("host", make.HOST)
    options.set_override("my_ip", "192.0.2.1")
    options.set_override("state_path", str(tmp_path))
    yield options
    options.reset()
    for name in ("host", "my_ip", "state_path"):
        options.clear_override(name)


@pytest.fixture
def option(conf: Any) -> Iterator[Any]:
    """Set an option for one test."""
    done = []

    def set_option(name: str, value: Any, group: str | None = "docker") -> None:
        conf.set_override(name, value, group=group)
        done.append((name, group))

    yield set_option
    for name, group in done:
        conf.clear_override(name, group=group)


@pytest.fixture
def engine() -> FakeEngine:
    fake = FakeEngine()
    fake.add_image(f"nova-glance/{make.IMAGE_ID}:{'a' * 16}", {"Cmd": ["sh"]})
    return fake


@pytest.fixture(scope="session")
def _wirings_methods() -> mock.MagicMock:
    # Looking at a class takes longer than most tests: it is done once.
    return mock.create_autospec(Wiring, spec_set=True, instance=True)


@pytest.fixture
def wiring(_wirings_methods: mock.MagicMock) -> mock.MagicMock:
    """Recorded calls instead of ports."""
    _wirings_methods.reset_mock(return_value=True, side_effect=True)
    _wirings_methods.devices.return_value = []
    return _wirings_methods


@pytest.fixture
def own_addresses(monkeypatch: pytest.MonkeyPatch) -> mock.Mock:
    """Recorded calls instead of changes of hosts files."""
    fake = mock.Mock()
    monkeypatch.setattr(hosts, "set_own_addresses", fake)
    return fake


@pytest.fixture(scope="session")
def _glances_methods() -> mock.MagicMock:
    return mock.create_autospec(nova_glance.API, spec_set=True, instance=True)


@pytest.fixture
def glance(_glances_methods: mock.MagicMock) -> mock.MagicMock:
    """Nova's client of Glance."""
    _glances_methods.reset_mock(return_value=True, side_effect=True)
    return _glances_methods


@pytest.fixture
def virtapi() -> VirtAPI:
    return VirtAPI()


@pytest.fixture
def interfaces(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The interfaces of every instance in Nova's database, which stores nothing."""
    known: list[Any] = []
    monkeypatch.setattr(
        objects.VirtualInterfaceList, "get_by_instance_uuid", lambda _context, _uuid: known
    )
    monkeypatch.setattr(objects.Instance, "save", mock.Mock())
    stored = mock.Mock(return_value=mock.Mock(task_state=None, host=make.HOST))
    monkeypatch.setattr(objects.Instance, "get_by_uuid", stored)
    monkeypatch.setattr(objects, "InstanceActionEvent", mock.Mock())
    return known


@pytest.fixture
def new_driver(
    conf: Any,
    engine: FakeEngine,
    wiring: mock.MagicMock,
    glance: Any,
    virtapi: VirtAPI,
    interfaces: list[Any],
    own_addresses: mock.Mock,
) -> Callable[..., driver.DockerDriver]:
    """Start a driver on the same host, with the options as they are now."""

    def start(**given: Any) -> driver.DockerDriver:
        fakes = {"engine": engine, "wiring": wiring, "glance": glance, **given}
        return driver.DockerDriver(virtapi, Parts.assemble(conf, virtapi, **fakes))

    return start


@pytest.fixture
def docker_driver(new_driver: Callable[..., driver.DockerDriver]) -> driver.DockerDriver:
    return new_driver()


@pytest.fixture
def migrations(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Nova's record of the one migration that there is: on this host."""
    migration = mock.Mock(source_compute=make.HOST, dest_compute=make.HOST)
    by_id = mock.Mock(return_value=migration)
    monkeypatch.setattr(objects.Migration, "get_by_id", by_id)
    monkeypatch.setattr(objects.Migration, "get_by_instance_and_status", by_id)
    return by_id


@pytest.fixture
def image_meta() -> Any:
    return make.image_meta()


@pytest.fixture
def instance() -> Any:
    return make.instance()


@pytest.fixture
def spawn(docker_driver: Any, image_meta: Any) -> Any:
    def run(instance: Any, meta: Any = image_meta, **more: Any) -> Any:
        arguments = {"injected_files": [], "admin_password": None, "network_info": [], **more}
        docker_driver.spawn(None, instance, meta, allocations={}, **arguments)
        return instance

    return run


@pytest.fixture
def spawned(spawn: Any) -> Any:
    """An instance that runs."""
    return spawn(make.instance())


@pytest.fixture
def leave_free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Set how many bytes are free on all file systems, beside the reserve; files take no more."""

    def set_free(size_bytes: int) -> None:
        usage = mock.Mock(free=space.RESERVE_BYTES + size_bytes)
        monkeypatch.setattr(space.shutil, "disk_usage", lambda _path: usage)
        monkeypatch.setattr(sizes, "_used_files", lambda _directory: 0)

    return set_free


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    fake = FakeHost()
    for name in (
        "share",
        "table",
        "look",
        "make",
        "mount",
        "mount_share",
        "mount_again",
        "unmount",
        "release",
        "grow",
    ):
        monkeypatch.setattr(mounts, name, getattr(fake, name))
    monkeypatch.setattr(mounted, "_number", fake.number)
    return fake
