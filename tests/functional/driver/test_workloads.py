# SPDX-License-Identifier: Apache-2.0
"""Workloads that mean no good, on a real Docker Engine."""

from __future__ import annotations

import errno
import platform
import re
import struct
import time
import uuid
from collections.abc import Iterator
from typing import Any

import docker
import pytest
from nova import objects

from novadocker import exceptions
from novadocker.tests import archives, make
from novadocker.tests.archives import Parts
from novadocker.virt.docker.engine import (
    client,
    containers,
    isolation,
    names,
    readiness,
    sandbox,
    seccomp,
    system_calls,
)
from novadocker.virt.docker.host import disks
from novadocker.virt.docker.host.facts import HostFacts
from novadocker.virt.docker.instances import guest
from tests.functional.driver import busybox, own_engine

pytestmark = pytest.mark.docker

HOST = "novadocker-test-workloads"
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "SETGID", "SETUID")


@pytest.fixture(autouse=True, scope="module")
def _objects() -> None:
    objects.register_all()


@pytest.fixture
def image(engine: docker.DockerClient) -> Iterator[str]:
    # One of its own: others may make images from the same one meanwhile.
    inner = {"Cmd": ["sh"], "Env": ["PATH=/bin", f"TEST={uuid.uuid4()}"]}
    parts = Parts(layers=[busybox.root_layer()], config={"config": inner})
    with own_engine.loaded(engine, parts) as made:
        yield made


class Boxes:
    """Workloads that join the network of a container of the test's."""

    def __init__(self, engine: docker.DockerClient, image: str, **options: Any) -> None:
        self.engine = engine
        self.image = image
        self.workloads = containers.Containers(
            client.Engine(own_engine.given_url()),
            HostFacts(HOST),
            isolation.Isolation(CAPABILITIES, **options),
        )

    def make(self, *command: str, **extra_specs: str) -> str:
        identity = str(uuid.uuid4())
        labels = {"org.openstack.nova.host": HOST, "org.openstack.nova.uuid": identity}
        sandbox = self.engine.containers.run(
            self.image, ["sleep", "600"], network_mode="none", detach=True, labels=labels
        )
        name = names.workload_name(identity)
        self.workloads.create(
            containers.Workload(
                name=name,
                sandbox=sandbox.id,
                image=self.image,
                labels=labels,
                command=list(command),
                environment={},
                tty=True,
                init=False,
            ),
            make.flavor(memory_mb=64, extra_specs=extra_specs),
        )
        self.workloads.start(name)
        return name


@pytest.fixture
def boxes(engine: docker.DockerClient, image: str) -> Boxes:
    return Boxes(engine, image, log_max_size="20k", log_max_files=2)


def test_output_without_end_is_cut_and_the_console_shows_its_end(boxes: Boxes) -> None:
    name = boxes.make("sh", "-c", "seq 1 20000; echo the end; sleep 600")
    deadline = time.monotonic() + 30
    while b"the end" not in (told := boxes.workloads.log_tail(name, 5000, 100 << 10)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    lines = told.split()
    assert lines[-3:] == [b"20000", b"the", b"end"]
    # More than the last file has, fewer than were written, and none is missing between them.
    numbers = [int(line) for line in lines[:-2]]
    assert numbers == list(range(numbers[0], 20001))
    assert numbers[0] > 1
    details = boxes.workloads.inspect(name)["HostConfig"]["LogConfig"]
    bounded = {"max-file": "2", "max-size": "20k", "mode": "non-blocking"}
    assert details == {"Type": "local", "Config": bounded}


@pytest.mark.parametrize(
    ("program", "code"), [("cat >/taken", 0), ("echo no >&2; exit 3", 3), (None, 127)]
)
def test_a_password_is_set_by_the_images_own_program(
    program: str | None, code: int, boxes: Boxes, engine: docker.DockerClient
) -> None:
    name = boxes.make("sleep", "600")
    put_chpasswd(boxes, name, program)
    argv, environment = guest.password_command("secret")
    assert boxes.workloads.run(name, argv, environment) == code
    if code == 0:
        answer = engine.containers.get(name).exec_run(["cat", "/taken"])
        assert answer.output == b"root:secret\n"


def test_a_password_program_without_end_is_left_to_itself(
    boxes: Boxes, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = boxes.make("sleep", "600")
    put_chpasswd(boxes, name, "while :; do echo without end; done")
    monkeypatch.setattr(containers, "_RUN_S", 2)
    argv, environment = guest.password_command("secret")
    began = time.monotonic()
    with pytest.raises(exceptions.EngineError, match="has not ended after 2 s"):
        boxes.workloads.run(name, argv, environment)
    assert time.monotonic() - began < 10


def put_chpasswd(boxes: Boxes, name: str, program: str | None) -> None:
    box = boxes.engine.containers.get(name)
    assert box.exec_run(["rm", "-f", "/bin/chpasswd"]).exit_code == 0
    if program is not None:
        written = ["sh", "-c", 'printf "#!/bin/sh\\n%s\\n" "$0" >/bin/chpasswd', program]
        assert box.exec_run(written).exit_code == 0
        assert box.exec_run(["chmod", "755", "/bin/chpasswd"]).exit_code == 0


def test_a_runtime_that_the_engine_does_not_have_is_named(
    engine: docker.DockerClient, image: str
) -> None:
    with pytest.raises(exceptions.EngineError, match="nosuch"):
        Boxes(engine, image, runtime="nosuch").make("true")
    readiness.require_runtime(engine.info(), "runc")
    with pytest.raises(exceptions.NotReady, match=r"does not have: it has .*runc"):
        readiness.require_runtime(engine.info(), "nosuch")


# Where the kernel tells of them in a container, on cgroup v1 and v2.
_RATES = "cd /sys/fs/cgroup; cat blkio/blkio.throttle.read_bps_device io.max 2>/dev/null || true"


def test_the_kernel_limits_what_an_instance_reads(
    boxes: Boxes, engine: docker.DockerClient
) -> None:
    megabyte = 1 << 20
    name = boxes.make("sleep", "600", **{"quota:disk_read_bytes_sec": str(megabyte)})
    box = engine.containers.get(name)
    told = box.exec_run(["sh", "-c", _RATES]).output.decode()
    assert re.search(rf"^[0-9]+:[0-9]+ (rbps=)?{megabyte}\b", told)
    assert box.exec_run("dd if=/dev/zero of=/file bs=1M count=4 conv=fsync").exit_code == 0
    began = time.monotonic()
    done = box.exec_run("dd if=/file of=/dev/null bs=1M iflag=direct")
    assert done.exit_code == 0, done.output
    # The kernel lets the first of them pass.
    assert time.monotonic() - began > 2.5


def test_limits_that_this_host_cannot_keep_are_named(
    boxes: Boxes, engine: docker.DockerClient
) -> None:
    written = "quota:disk_write_bytes_sec"
    flavor = make.flavor(extra_specs={written: "1000000"})
    if engine.info()["CgroupVersion"] == "1":
        with pytest.raises(exceptions.HostUnfit, match=f"{written} .* boot this host with"):
            boxes.workloads.throttling.check(flavor)
    else:
        boxes.workloads.throttling.check(flavor)
    assert disks.below("/dev/shm") == []
    assert disks.file_system("/dev/shm") == "tmpfs"


# Numbers of system calls, the same on all architectures that there are sandboxes for; of the last
# one no filter knows.
_CLONE3, _IO_URING_SETUP, _NEWEST = 435, 425, 999


def calling(number: int) -> dict[str, tuple[int, bytes]]:
    """Make programs that call the kernel with two zeros, and end with its error."""
    x86_64 = (
        struct.pack("<BI", 0xB8, number)
        + bytes.fromhex("31ff31f60f05")
        + bytes.fromhex("f7d889c7b83c0000000f05")
    )
    aarch64 = struct.pack(
        "<7I",
        *(0xD2800008 | number << 5, 0xD2800000, 0xD2800001, 0xD4000001),
        *(0xCB0003E0, 0xD2800BA8, 0xD4000001),
    )
    return {"x86_64": (62, x86_64), "aarch64": (183, aarch64)}


def test_what_is_told_of_the_filter_is_what_programs_meet(
    boxes: Boxes, engine: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = boxes.make("sleep", "600")

    def error(number: int) -> int:
        monkeypatch.setattr(sandbox, "_MACHINES", calling(number))
        program = sandbox.program(platform.machine())
        boxes.workloads.put_archive(name, archives.tar((f"call-{number}", program)))
        box = engine.containers.get(name)
        assert box.exec_run(["chmod", "755", f"/call-{number}"]).exit_code == 0
        return int(box.exec_run([f"/call-{number}"]).exit_code)

    lacks = system_calls.lacks(engine.version(), engine.info(), seccomp.ENGINES)
    told = " ".join(lack.told for lack in lacks)
    assert error(_CLONE3) == (errno.EPERM if "clone3" in told else errno.ENOSYS)
    assert error(_NEWEST) == (errno.EPERM if "runc" in told else errno.ENOSYS)
    # Their arguments are wrong where it is let through.
    assert (error(_IO_URING_SETUP) in (errno.EFAULT, errno.EINVAL)) is ("io_uring" in told)
