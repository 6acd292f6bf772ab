# SPDX-License-Identifier: Apache-2.0
"""What one tenant's container does to another's: a table of tries, each of which is to be nothing.

Two instances of two projects on one host, made by the driver as its defaults are, on an engine with
and one without user namespaces. What is counted for a user is tried as a user that nobody else on
this machine is; of what is counted for the whole host no more is taken than can be seen.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from tests.functional.driver import nova_process  # isort: skip - before anything of Nova's

import os_vif
from nova import context, exception, objects
from nova.network import model

from novadocker.tests import archives
from tests.functional.driver import busybox, openvswitch, own_engine, python_root, remapping
from tests.functional.driver.programs import network
from tests.functional.driver.tenant import tries

CONTEXT = context.get_admin_context()
HOST = "novadocker-test-tenants"
UNKNOWN = exception.InstanceNotFound(instance_id="any")
NO_SERVICE = exception.ComputeHostNotFound(host="any")
# Of nobody on this machine.
USER = "31337:31337"
PLAIN, REMAP = "without user namespaces", "with userns-remap"
# An argument of a program that the neighbour alone runs.
MARKER = "31337"


@dataclasses.dataclass(frozen=True)
class Try:
    """Something that a tenant tries.

    :param attack: what is run in its container, with an argument
    :param see: what is run in the neighbour's before and while it is held; None where the kernel is
        to refuse it
    :param user: of both; None for the image's, who is root
    :param shared: in which of the ways of running an engine the kernel has it for all containers of
        a host, by design
    """

    attack: str
    argument: str = ""
    see: str | None = None
    user: str | None = None
    shared: tuple[str, ...] = ()


TRIES = {
    # Counters.
    "instances of inotify": Try(
        "inotify_instances", see="see_inotify", user=USER, shared=(PLAIN, REMAP)
    ),
    "signals that wait": Try("signals", see="see_signals", user=USER, shared=(PLAIN,)),
    "message queues": Try("queues", see="see_queues", user=USER, shared=(PLAIN,)),
    "pages of pipes": Try("pipes", see="see_pipes", user=USER, shared=(PLAIN, REMAP)),
    "terminals": Try("terminals", see="see_terminals", shared=(PLAIN, REMAP)),
    "asynchronous requests": Try("requests", see="see_requests", shared=(PLAIN, REMAP)),
    "open files": Try("descriptors", see="see_descriptors", user=USER),
    "processes": Try("processes", see="see_processes", user=USER),
    "memory": Try("memory"),
    # Files and names.
    "locks of files of one image": Try("lock", see="see_lock"),
    "a file of one image": Try("write", "/etc/passwd", "see_text"),
    "a file in /tmp": Try("write", "/tmp/tenant", "see_text"),
    "a file in /dev/shm": Try("write", "/dev/shm/tenant", "see_text"),
    "/etc/hosts": Try("write", "/etc/hosts", "see_text"),
    "/etc/resolv.conf": Try("write", "/etc/resolv.conf", "see_text"),
    "shared memory of System V": Try("system_v", see="see_system_v"),
    "an abstract socket": Try("abstract", see="see_abstract"),
    "a socket on the loopback": Try("loopback", see="see_loopback"),
    "the host's name": Try("host_name"),
    "the other's console log": Try("console", see="own_table"),
    # Processes.
    "signals to all": Try("kill_all", see="see_oneself"),
    "a signal to the other's process": Try("kill_one", "{pid}"),
    "ptrace": Try("trace", "{pid}"),
    "the other's memory": Try("read_memory", "{pid}"),
    "a list of processes": Try("list_processes", MARKER),
    "the other's files by /proc": Try("read_root", "/secret"),
    # Privileges.
    "a user namespace": Try("new_user_namespace"),
    "a mount namespace": Try("new_mount_namespace"),
    "the other's network namespace": Try("enter_namespace", "{pid}"),
    "mount tmpfs": Try("mount", "tmpfs"),
    "mount proc": Try("mount", "proc"),
    "mount cgroup": Try("mount", "cgroup"),
    "mount devpts": Try("mount", "devpts"),
    "/sys to be written": Try("remount_sys"),
    "core_pattern": Try("open_to_write", "/proc/sys/kernel/core_pattern"),
    "drop_caches": Try("open_to_write", "/proc/sys/vm/drop_caches"),
    "modprobe's path": Try("open_to_write", "/proc/sys/kernel/modprobe"),
    "ip_forward": Try("route"),
    "sysrq": Try("open_to_write", "/proc/sysrq-trigger"),
    "release_agent": Try("open_to_write", "/sys/fs/cgroup/memory/release_agent"),
    "limits of its control group": Try(
        "open_to_write", "/sys/fs/cgroup/memory/memory.limit_in_bytes"
    ),
    "/sys/kernel/uevent_helper": Try("open_to_write", "/sys/kernel/uevent_helper"),
    "the kernel's memory by /proc": Try("read", "/proc/kcore"),
    "keys by /proc": Try("read", "/proc/keys"),
    "timers of all": Try("read", "/proc/timer_list"),
    "the firmware's tables": Try("list_directory", "/sys/firmware"),
    "the kernel's log": Try("kernel_log"),
    "disks of the host": Try("disk"),
    "the kernel's memory by /dev": Try("kernel_memory"),
    "bpf": Try("bpf"),
    "perf": Try("perf"),
    "add_key": Try("add_key"),
    "keyctl": Try("keyctl"),
    "userfaultfd": Try("userfaultfd"),
    "modules": Try("modules"),
    "kexec": Try("kexec"),
    "a file by its handle": Try("file_handle"),
    "the clock": Try("clock"),
    "niceness": Try("niceness"),
    "real time": Try("real_time"),
    "priority at disks": Try("disk_priority"),
    "oom_score_adj": Try("out_of_memory"),
    "its own limits": Try("limits"),
    "io_uring": Try("io_uring"),
    "the audit log": Try("audit"),
    "the audit log, by 32 bits": Try("audit_as_32_bits", "socket"),
    "the audit log, by socketcall": Try("audit_as_32_bits", "socketcall"),
    "the kernel's cryptography": Try("family", "38"),
    "a socket to other machines of the hypervisor": Try("family", "40"),
    # The network.
    "the other's address": Try("address", "198.51.100.12"),
    "the other's hardware address": Try("hardware_address", "fa:16:3e:00:00:02"),
    "the engine": Try("engine"),
}


class Tenants:
    """Two instances of two projects."""

    def __init__(self, engine: own_engine.OwnEngine) -> None:
        self.docker = engine.client()
        self.driver = nova_process.load_driver()
        self.driver.init_host(HOST)
        self.made: list[tuple[Any, Any]] = []
        self.tenant = self.spawn("tenant", 1, [])
        self.neighbour = self.spawn("neighbour", 2, [("/secret", b"of the other")])
        self.box(self.neighbour).exec_run(["sleep", MARKER], detach=True)
        self.pid = str(self.box(self.neighbour).attrs["State"]["Pid"])

    def spawn(self, project: str, number: int, files: list[Any]) -> Any:
        made = nova_process.instance(project_id=project, user_id=project, hostname=project)
        info = model.NetworkInfo([network.port(number, network.v4(10 + number))])
        self.driver.spawn(CONTEXT, made, nova_process.image_meta(), files, None, {}, info)
        self.made.append((made, info))
        return made

    def close(self) -> None:
        for instance, info in self.made:
            self.driver.destroy(CONTEXT, instance, info)
        self.driver.cleanup_host(HOST)

    def box(self, instance: Any) -> Any:
        return self.docker.containers.get(f"nova-{instance.uuid}")

    @contextlib.contextmanager
    def running(self, instance: Any, name: str, argument: str, user: str | None) -> Iterator[Any]:
        """Run one of the tries, yield what it says, and end it."""
        box = self.box(instance)
        argv = ["/bin/python", "-I", "-S", "/tries.py", name, argument]
        parts = box.exec_run(argv, user=user or "", stream=True).output
        told = b""
        for part in parts:
            told += part
            if b"\n" in told:
                break
        try:
            answer = json.loads(told.splitlines()[0])
        except (ValueError, IndexError):
            raise AssertionError(f"{name}: {told!r}") from None
        try:
            yield answer
        finally:
            box.exec_run(["kill", "-9", str(answer["pid"])], user="0")
            for _ in parts:
                pass

    def see(self, name: str, argument: str, user: str | None) -> Any:
        with self.running(self.neighbour, name, argument, user) as told:
            return told

    def attempt(self, tried: Try) -> tuple[bool, str]:
        """Try something.

        :return: whether it is nothing to the neighbour, and what came of it
        """
        argument = tried.argument.format(pid=self.pid)
        if tried.see is None:
            with self.running(self.tenant, tried.attack, argument, tried.user) as told:
                return "refused" in told, told.get("refused") or f"got {told['got']}"
        before = self.see(tried.see, argument, tried.user)
        with self.running(self.tenant, tried.attack, argument, tried.user) as told:
            during = self.see(tried.see, argument, tried.user)
        seen, saw = during.get("got"), before.get("got")
        got = told.get("got", told.get("refused"))
        if isinstance(seen, int) and not isinstance(seen, bool) and tried.attack in COUNTED:
            # Others on this machine take and give as well.
            same = seen - saw < int(got) / 2
        else:
            same = {**during, "pid": 0} == {**before, "pid": 0}
        return same, f"it has {got}; the other saw {saw or before}, and sees {seen or during}"

    def console_is_apart(self) -> bool:
        """Return whether what the one wrote to its console is in its own log alone."""
        own, others = (
            self.driver.get_console_output(CONTEXT, instance)
            for instance in (self.tenant, self.neighbour)
        )
        return "tenant was here" in own and "tenant" not in others


# What is counted for the whole host.
COUNTED = ("terminals", "requests")


def try_all(engine: own_engine.OwnEngine, way: str) -> tuple[list[str], list[str], int]:
    """Try everything.

    :return: what is not as it is said to be, what is shared, and how many were nothing
    """
    wrong, shared, nothing = [], [], 0
    with contextlib.closing(Tenants(engine)) as tenants:
        for name, tried in TRIES.items():
            try:
                is_nothing, told = tenants.attempt(tried)
            except (AssertionError, TypeError, ValueError) as err:
                wrong.append(f"{way}: {name}: {err}")
                continue
            if tried.attack == "console":
                is_nothing = is_nothing and tenants.console_is_apart()
            nothing += is_nothing
            print(f"{way}: {name}: {'nothing' if is_nothing else 'SHARED'}: {told}", flush=True)
            if not is_nothing:
                shared.append(name)
            if is_nothing == (way in tried.shared):
                wrong.append(f"{way}: {name}: {told}")
    return wrong, shared, nothing


def main() -> int:
    remapping.in_own_mounts("tests.functional.driver.programs.tenants")
    wrong: list[str] = []
    figures = []
    with contextlib.ExitStack() as entered:
        entered.enter_context(openvswitch.running("br-int"))
        entered.enter_context(remapping.users())
        layers = [busybox.root_layer(), python_root.layer(Path(tries.__file__))]
        config = {
            "config": {"Cmd": ["sh", "-c", "while :; do sleep 9999; done"], "Env": ["PATH=/bin"]}
        }
        archive = archives.Parts(layers=layers, config=config).docker()
        for way, options in ((PLAIN, ()), (REMAP, (remapping.OPTION,))):
            with own_engine.running(*options) as engine:
                os.environ["DOCKER_HOST"] = engine.url
                if way == PLAIN:
                    nova_process.set_up(HOST, stop_timeout_cap=0)
                    os_vif.initialize()
                    nova_process.serve_image(archive)
                    # There is no database: whoever is killed here is nobody's of Nova's.
                    entered.enter_context(
                        mock.patch.object(objects.Instance, "get_by_uuid", side_effect=UNKNOWN)
                    )
                    entered.enter_context(
                        mock.patch.object(
                            objects.Service, "get_by_compute_host", side_effect=NO_SERVICE
                        )
                    )
                nova_process.CONF.set_override("host_url", engine.url, group="docker")
                not_so, shared, nothing = try_all(engine, way)
                wrong += not_so
                figures.append(
                    f"{way} {nothing} of {len(TRIES)} are nothing, shared are {', '.join(shared)}"
                )
    print("figures: " + "; ".join(figures))
    for what in wrong:
        print(f"NOT AS SAID: {what}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
