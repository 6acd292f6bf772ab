# SPDX-License-Identifier: Apache-2.0
"""The driver's own filter of system calls, on a real Docker Engine."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from novadocker import conf
from novadocker.tests.archives import Parts
from novadocker.virt.docker.engine import seccomp
from tests.functional.driver import busybox, own_engine, sshd

pytestmark = pytest.mark.docker

OWN = seccomp.profile(conf.DEFAULT_CAPABILITIES)
# What filters of engines let through, and the driver's does not.
LEFT_OUT = {
    # What docker says of Docker 25: ways out of containers.
    *("io_uring_setup", "io_uring_enter", "io_uring_register"),
    # Programs of 32 bits make any socket by it.
    "socketcall",
    # The kernel has never had them.
    *("epoll_ctl_old", "epoll_wait_old"),
    # Of use with what fanotify_init makes alone, which takes SYS_ADMIN.
    "fanotify_mark",
    # The kernel has it for other processors than those that there are sandboxes for.
    *("riscv_hwprobe", "swapcontext"),
}


@pytest.fixture
def image(engine: docker.DockerClient) -> Iterator[str]:
    parts = Parts(layers=[busybox.root_layer(), sshd.layer()])
    with own_engine.loaded(engine, parts) as made:
        yield made


def start(engine: docker.DockerClient, image: str, *command: str, **options: Any) -> Any:
    """Start a container with the default capabilities, but for AUDIT_WRITE."""
    capabilities = [name for name in conf.DEFAULT_CAPABILITIES if name != "AUDIT_WRITE"]
    return engine.containers.run(
        image,
        list(command),
        network_mode="none",
        detach=True,
        cap_drop=["ALL"],
        cap_add=capabilities,
        **options,
    )


def filter_of(box: Any) -> dict[str, Any]:
    """Return the filter that runc was given for a container."""
    run = Path(own_engine.given_url().removeprefix("unix://")).parent / "run"
    (path,) = run.glob(f"**/{box.id}/config.json")
    told: dict[str, Any] = json.loads(path.read_text())["linux"]["seccomp"]
    return told


def allowed(filtered: dict[str, Any]) -> set[str]:
    """Return the calls that are let through at least with some arguments."""
    return {
        name
        for rule in filtered["syscalls"]
        if rule["action"] == "SCMP_ACT_ALLOW"
        for name in rule["names"]
    }


def test_a_container_may_ask_for_what_the_engines_filter_lets_through(
    engine: docker.DockerClient, image: str
) -> None:
    engines = filter_of(start(engine, image, "sleep", "60"))
    own = filter_of(start(engine, image, "sleep", "60", security_opt=[f"seccomp={OWN}"]))
    assert allowed(engines) - allowed(own) <= LEFT_OUT
    assert own["defaultAction"] == engines["defaultAction"] == "SCMP_ACT_ERRNO"
    assert own["architectures"][0] == engines["architectures"][0]


@pytest.mark.parametrize(
    ("filtered", "works"), [(True, True), (False, False)], ids=["own", "the engine's"]
)
def test_openssh_goes_on_where_there_is_no_audit_log(
    filtered: bool, works: bool, engine: docker.DockerClient, image: str
) -> None:
    """By the engine's filter it finds the log, and ends a session that it may not write of."""
    options = {"security_opt": [f"seccomp={OWN}"]} if filtered else {}
    box = start(engine, image, *sshd.SERVER, environment={"PATH": "/bin:/usr/bin"}, **options)
    deadline = time.monotonic() + 60
    while b"Server listening" not in (told := box.logs()):
        assert time.monotonic() < deadline, told
        time.sleep(0.1)
    done = box.exec_run([*sshd.CLIENT, "echo it is $((6 * 7))"])
    assert (b"it is 42" in done.output, done.exit_code == 0) == (works, works), (
        done.output + box.logs()
    )
    assert (b"linux_audit_write_entry failed" in done.output + box.logs()) is not works
