# SPDX-License-Identifier: Apache-2.0
"""The driver on an engine in memory, with ports that are only written down."""

import contextlib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from nova import context, objects

from novadocker.tests.unit.fake_engine import FakeEngine
from novadocker.virt.docker import driver
from novadocker.virt.docker.network.wiring import Wiring

HOST = "unit-host"
IMAGE_ID = "11111111-2222-4333-8444-555555555555"


class VirtAPI:
    """Takes note of the events that are waited for.

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
    options.set_override("host", HOST)
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
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    fake = FakeEngine()
    monkeypatch.setattr("novadocker.virt.docker.engine.client.Engine.from_conf", lambda _conf: fake)
    fake.add_image(f"nova-glance/{IMAGE_ID}:{'a' * 16}", {"Cmd": ["sh"]})
    return fake


@pytest.fixture
def wiring(monkeypatch: pytest.MonkeyPatch) -> mock.MagicMock:
    """Ports that are only written down."""
    fake = mock.create_autospec(Wiring, instance=True)
    fake.devices.return_value = []
    monkeypatch.setattr("novadocker.virt.docker.network.wiring.Wiring", lambda *_args: fake)
    return fake


@pytest.fixture
def virtapi() -> VirtAPI:
    return VirtAPI()


@pytest.fixture
def interfaces(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What Nova's database knows of every instance's interfaces; nothing is stored in it."""
    found: list[Any] = []
    monkeypatch.setattr(
        objects.VirtualInterfaceList, "get_by_instance_uuid", lambda _context, _uuid: found
    )
    monkeypatch.setattr(objects.Instance, "save", mock.Mock())
    monkeypatch.setattr(objects, "InstanceActionEvent", mock.Mock())
    return found


@pytest.fixture
def docker_driver(
    conf: Any, engine: FakeEngine, wiring: mock.MagicMock, virtapi: VirtAPI, interfaces: list[Any]
) -> driver.DockerDriver:
    return driver.DockerDriver(virtapi)


@pytest.fixture
def image_meta() -> Any:
    return make_image_meta()


def make_image_meta(**fields: Any) -> Any:
    return objects.ImageMeta.from_dict(
        {
            "id": IMAGE_ID,
            "container_format": "docker",
            "disk_format": "raw",
            "checksum": "a" * 32,
            "size": 1000,
            "properties": {},
            **fields,
        }
    )


@pytest.fixture
def instance() -> Any:
    return make_instance()


def make_flavor(**fields: Any) -> Any:
    return objects.Flavor(
        **{
            "name": "small",
            "flavorid": "small",
            "vcpus": 2,
            "memory_mb": 256,
            "root_gb": 5,
            "ephemeral_gb": 0,
            "swap": 0,
            "extra_specs": {},
            **fields,
        }
    )


def make_instance(**fields: Any) -> Any:
    made = objects.Instance(
        context.RequestContext("user", "project", is_admin=False),
        **{
            "uuid": str(uuid.uuid4()),
            "id": 7,
            "project_id": "project",
            "user_id": "user",
            "hostname": "web",
            "metadata": {},
            "system_metadata": {},
            "key_data": None,
            "config_drive": "",
            "image_ref": IMAGE_ID,
            "launched_at": None,
            "trusted_certs": None,
            "info_cache": None,
            "device_metadata": None,
            "host": HOST,
            "task_state": None,
            **fields,
        },
    )
    made.flavor = make_flavor()
    return made
