# SPDX-License-Identifier: Apache-2.0
"""How Nova finds the driver, on interpreters of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from novadocker import _alias, compat, conf

CHECKOUT = Path(__file__).parents[4]


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={"PYTHONPATH": str(CHECKOUT / "driver"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_nova_loads_the_driver_under_its_old_name_and_without_eventlet() -> None:
    done = run(
        (CHECKOUT / "driver/novadocker.pth").read_text()
        + "from nova import monkey_patch; monkey_patch.patch(backend='threading')\n"
        "import nova.virt.novadocker.virt.docker as alias, novadocker.virt.docker as real\n"
        "assert alias is real\n"
        "import nova.virt.novadocker.privsep.net as net\n"
        "assert net.__name__ == 'novadocker.privsep.net'\n"
        "assert alias.__spec__.name == 'novadocker.virt.docker'\n"
        "import sys; assert 'eventlet' not in sys.modules"
    )
    assert done.returncode == 0, done.stderr


def test_nova_imports_the_class_by_the_name_that_it_is_configured_by() -> None:
    done = run(
        (CHECKOUT / "driver/novadocker.pth").read_text()
        + "from nova import monkey_patch; monkey_patch.patch(backend='threading')\n"
        "from oslo_utils import importutils\n"
        "found = importutils.import_class('nova.virt.novadocker.virt.docker.DockerDriver')\n"
        "from nova.virt import driver; assert issubclass(found, driver.ComputeDriver)\n"
        "assert found.__module__ == 'novadocker.virt.docker.driver'"
    )
    assert done.returncode == 0, done.stderr


def test_a_wing_is_loaded_without_the_driver_and_its_face() -> None:
    done = run(
        "import sys, novadocker.virt.docker.host.facts\n"
        "above = ('novadocker.virt.docker.driver', 'novadocker.virt.docker.face', 'nova.')\n"
        "loaded = [name for name in sys.modules if name.startswith(above)]\n"
        "assert not loaded, loaded"
    )
    assert done.returncode == 0, done.stderr


def test_nova_does_not_load_it_without() -> None:
    assert "No module named 'nova.virt.novadocker'" in run("import nova.virt.novadocker").stderr


def test_the_alias_imports_next_to_nothing() -> None:
    done = run(
        "import sys; before = set(sys.modules)\n"
        + (CHECKOUT / "driver/novadocker.pth").read_text()
        + "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "assert new <= {'novadocker', 'importlib', 'collections', '_collections_abc', 'keyword',"
        " 'operator', '_operator', 'reprlib', '_collections', 'itertools', '_functools',"
        " 'functools', 'warnings', '_weakrefset', 'types', '_weakref', 'weakref'}, new"
    )
    assert done.returncode == 0, done.stderr


def test_the_command_makes_the_alias_itself() -> None:
    done = run(
        "import sys, types\n"
        "fake = types.ModuleType('nova.cmd.compute')\n"
        "fake.main = lambda: __import__('nova.virt.novadocker.virt.docker')\n"
        "import nova.cmd; sys.modules['nova.cmd.compute'] = nova.cmd.compute = fake\n"
        "from novadocker.cmd import compute; compute.main()\n"
        "assert sys.modules['nova.virt.novadocker.virt.docker'].DockerDriver\n"
        "assert 'novadocker.virt.docker.driver' in sys.modules"
    )
    assert done.returncode == 0, done.stderr


def test_install_is_done_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", [])
    assert not _alias.installed()
    _alias.install()
    _alias.install()
    assert len(sys.meta_path) == 1
    assert _alias.installed()
    finder = sys.meta_path[0]
    assert finder.find_spec("nova.virt.novadockerx") is None
    assert finder.find_spec("nova.virt.novadocker.conf").name == "nova.virt.novadocker.conf"
    module = type(sys)("nova.virt.novadocker.conf")
    finder.create_module(finder.find_spec(module.__name__))
    monkeypatch.delitem(sys.modules, module.__name__, raising=False)
    finder.exec_module(module)
    assert sys.modules.pop(module.__name__) is conf


def test_time_that_is_up_is_found_in_every_release(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compat._event_timeout() is compat.exception.InstanceEventTimeout
    monkeypatch.delattr(compat.exception, "InstanceEventTimeout")
    eventlet = type(sys)("eventlet")
    eventlet.timeout = type(sys)("timeout")
    eventlet.timeout.Timeout = type("Timeout", (BaseException,), {})
    monkeypatch.setitem(sys.modules, "eventlet", eventlet)
    assert compat._event_timeout() is eventlet.timeout.Timeout
    monkeypatch.setitem(sys.modules, "eventlet", None)
    assert compat._event_timeout() is TimeoutError


def test_options_are_listed_for_the_sample() -> None:
    ((group, options),) = conf.list_opts()
    assert group == "docker"
    assert all(option.help for option in options)
