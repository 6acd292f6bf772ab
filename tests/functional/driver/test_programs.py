# SPDX-License-Identifier: Apache-2.0
"""The driver in processes that are set up as Nova's tests want them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.functional.driver import fetch, own_engine

CHECKOUT = Path(__file__).parents[3]


# The databases of Nova's own fixtures are SQLite files, which on native threads now and then refuse
# a write at once: Nova's API then answers 500, whatever the driver.
LOST_DATABASE = "sqlite3.OperationalError) database is locked"


def run_on_engine(name: str, threading: bool = True, timeout_s: int = 900) -> None:
    """Run a test program with a Docker Engine that nobody else uses, so that others run beside it.

    :param threading: on native threads; otherwise on eventlet
    """
    with own_engine.running() as engine:
        run_program(name, threading=threading, timeout_s=timeout_s, engine_url=engine.url)


def run_program(
    name: str,
    *arguments: str,
    threading: bool = True,
    timeout_s: int = 900,
    engine_url: str = "unix:///none",
) -> None:
    """Run a test program as root in a network namespace of its own, and expect success.

    A program that fails after it lost its database is run once more.

    :param threading: on native threads; otherwise on eventlet
    :param engine_url: of the engine that it is given; without one it starts its own
    """
    environment = {
        **os.environ,
        "DOCKER_HOST": engine_url,
        "PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'driver'}",
        "OS_NOVA_DISABLE_EVENTLET_PATCHING": "true" if threading else "false",
    }
    done = _run(name, *arguments, environment=environment, timeout_s=timeout_s)
    if done.returncode and LOST_DATABASE in done.stdout:
        done = _run(name, *arguments, environment=environment, timeout_s=timeout_s)
    assert done.returncode == 0, done.stdout[-20000:]
    for line in done.stdout.splitlines():
        if line.startswith("figures: "):
            print(line)


def _run(
    name: str, *arguments: str, environment: dict[str, str], timeout_s: int
) -> subprocess.CompletedProcess[str]:
    if os.geteuid() != 0:
        pytest.fail("network namespaces take root: run the functional tests of the driver as root")
    # There is no network to fetch them by in the namespace.
    fetch.everything()
    return subprocess.run(
        [
            *("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$0" "$@"'),
            *(sys.executable, "-W", "ignore", "-m", f"tests.functional.driver.programs.{name}"),
            *arguments,
        ],
        cwd=CHECKOUT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        check=False,
    )


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.parametrize("threading", [True, False], ids=["threads", "eventlet"])
def test_novas_generic_driver_suite(threading: bool) -> None:
    run_on_engine("generic", threading=threading)


@pytest.mark.docker
@pytest.mark.slow
def test_ports_of_instances() -> None:
    run_on_engine("network")


@pytest.mark.docker
@pytest.mark.slow
def test_an_engine_that_is_reached_by_tls() -> None:
    run_program("tls")


@pytest.mark.docker
@pytest.mark.slow
def test_what_an_instance_sees_of_its_host() -> None:
    run_on_engine("guest_view")


@pytest.mark.docker
@pytest.mark.slow
def test_instances_of_an_engine_with_user_namespaces() -> None:
    run_program("remapped")


@pytest.mark.docker
@pytest.mark.slow
def test_life_cycles_in_novas_own_cloud() -> None:
    run_on_engine("cloud")


@pytest.mark.docker
@pytest.mark.slow
def test_file_systems_of_volumes() -> None:
    run_on_engine("file_systems")


@pytest.mark.docker
@pytest.mark.slow
def test_space_that_is_promised_stays_free() -> None:
    run_program("space")


@pytest.mark.docker
@pytest.mark.proof
def test_amounts_are_bounded() -> None:
    run_program("amounts", timeout_s=1800)


@pytest.mark.docker
@pytest.mark.proof
def test_tenants_are_apart() -> None:
    run_program("tenants")


@pytest.mark.docker
@pytest.mark.slow
def test_a_walk_through_some_actions_strands_nobody() -> None:
    run_program("walks", "--layers=1", "--walks=1", "--seed=1")


@pytest.mark.docker
@pytest.mark.proof
def test_no_instance_is_stranded() -> None:
    walks = os.environ.get("NOVADOCKER_WALKS", "180")
    seed = os.environ.get("NOVADOCKER_WALKS_SEED", "1")
    run_program("walks", f"--walks={walks}", f"--seed={seed}", timeout_s=6 * 3600)


@pytest.mark.docker
@pytest.mark.slow
def test_volumes_in_novas_own_cloud() -> None:
    run_on_engine("volumes")


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.parametrize("what", ["LeakTest", "ArrivalTest", "RescueTest", "LossTest"])
def test_crashes_at_every_step(what: str) -> None:
    run_program("crash", what, timeout_s=1200)
