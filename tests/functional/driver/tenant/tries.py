# SPDX-License-Identifier: Apache-2.0
"""What a tenant tries in a container, and what a neighbour looks at.

It is run there as ``python tries.py NAME [ARGUMENT]`` and prints a line of JSON. What holds
something goes on holding it until its standard input ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import glob
import json
import mmap
import os
import platform
import signal
import socket
import stat
import struct
import sys
import time
from collections.abc import Callable

LIBC = ctypes.CDLL(None, use_errno=True)
_NUMBERS = {
    "x86_64": {
        "io_setup": 206,
        "add_key": 248,
        "keyctl": 250,
        "kexec_load": 246,
        "init_module": 175,
        "perf_event_open": 298,
        "open_by_handle_at": 304,
        "process_vm_readv": 310,
        "bpf": 321,
        "userfaultfd": 323,
        "ioprio_set": 251,
    },
    "aarch64": {
        "io_setup": 0,
        "add_key": 217,
        "keyctl": 219,
        "kexec_load": 104,
        "init_module": 105,
        "perf_event_open": 241,
        "open_by_handle_at": 265,
        "process_vm_readv": 270,
        "bpf": 280,
        "userfaultfd": 282,
        "ioprio_set": 30,
    },
}
IO_URING_SETUP = 425
PIPES = 1100
TERMINALS = 64
REQUESTS = 1000
DESCRIPTORS = 10_000
PROCESSES = 200
# Enough for any limit of a user's.
SIGNALS = 200_000
QUEUES = 1000
SIGNAL = signal.SIGRTMIN + 3
# What is held until this process ends.
held: list[object] = []


class Refused(Exception):
    """The kernel has refused it."""


def call(name: str, *arguments: int | bytes | None) -> int:
    """Make a system call by its number."""
    number = IO_URING_SETUP if name == "io_uring_setup" else _NUMBERS[platform.machine()][name]
    wide = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    return checked(name, LIBC.syscall(ctypes.c_long(number), *wide))


def checked(name: str, answer: int) -> int:
    """Return what the kernel has answered, or raise that it has refused."""
    if answer < 0:
        raise Refused(f"{name}: {errno.errorcode[ctypes.get_errno()]}")
    return answer


def until_refused(take: Callable[[], object], most: int) -> int:
    """Take as many of something as there are, and return how many."""
    for number in range(most):
        try:
            held.append(take())
        except (OSError, Refused):
            return number
    return most


# What is counted for a user or for the whole host.


def inotify_instances(_argument: str) -> object:
    return until_refused(lambda: checked("inotify_init", LIBC.inotify_init()), DESCRIPTORS)


def see_inotify(_argument: str) -> object:
    return LIBC.inotify_init() >= 0


def signals(_argument: str) -> object:
    signal.pthread_sigmask(signal.SIG_BLOCK, {SIGNAL})
    value = ctypes.c_void_p(1)

    def queue() -> int:
        return checked("sigqueue", LIBC.sigqueue(os.getpid(), SIGNAL, value))

    return until_refused(queue, SIGNALS)


def see_signals(_argument: str) -> object:
    signal.pthread_sigmask(signal.SIG_BLOCK, {SIGNAL})
    return all(LIBC.sigqueue(os.getpid(), SIGNAL, ctypes.c_void_p(1)) == 0 for _ in range(8))


def queues(_argument: str) -> object:
    numbers = iter(range(QUEUES))

    def make() -> int:
        name = b"/queue-%d" % next(numbers)
        flags = os.O_CREAT | os.O_RDWR
        return checked("mq_open", LIBC.mq_open(name, flags, 0o600, None))

    return until_refused(make, QUEUES)


def see_queues(_argument: str) -> object:
    name = b"/seen-%d" % os.getpid()
    is_made: bool = LIBC.mq_open(name, os.O_CREAT | os.O_RDWR, 0o600, None) >= 0
    LIBC.mq_unlink(name)
    return is_made


def pipes(_argument: str) -> object:
    return until_refused(os.pipe, PIPES)


def see_pipes(_argument: str) -> object:
    return fcntl.fcntl(os.pipe()[0], fcntl.F_GETPIPE_SZ)


def terminals(_argument: str) -> object:
    return until_refused(lambda: os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY), TERMINALS)


def see_terminals(_argument: str) -> object:
    return _number("/proc/sys/kernel/pty/nr")


def requests(_argument: str) -> object:
    held.append(context := ctypes.c_ulong(0))
    call("io_setup", REQUESTS, ctypes.addressof(context))
    return REQUESTS


def see_requests(_argument: str) -> object:
    return _number("/proc/sys/fs/aio-nr")


def _number(path: str) -> int:
    with open(path, encoding="ascii") as file:
        return int(file.read().split()[0])


def descriptors(_argument: str) -> object:
    return until_refused(lambda: os.open("/", os.O_RDONLY), DESCRIPTORS)


def see_descriptors(_argument: str) -> object:
    return until_refused(lambda: os.open("/", os.O_RDONLY), 100)


def processes(_argument: str) -> object:
    def fork() -> int:
        child = os.fork()
        if child == 0:
            os.execv("/bin/busybox", ["sleep", "60"])
        return child

    return until_refused(fork, PROCESSES)


def see_processes(_argument: str) -> object:
    child = os.fork()
    if child == 0:
        os._exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def memory(_argument: str) -> object:
    child = os.fork()
    if child == 0:
        taken = mmap.mmap(-1, 1 << 28)
        for page in range(0, 1 << 28, 4096):
            taken[page] = 1
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise Refused("256 MiB of 64: killed")
    return "256 MiB of 64"


# Files, names and memory that the other could see.


def lock(_argument: str) -> object:
    held.append(file := open("/etc/passwd", "r+", encoding="ascii"))  # noqa: SIM115
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return "locked"


def see_lock(_argument: str) -> object:
    with open("/etc/passwd", "r+", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return "free"


def write(path: str) -> object:
    with open(path, "a", encoding="ascii") as file:
        file.write("10.9.8.7 tenant\n")
    return "written"


def see_text(path: str) -> object:
    with contextlib.suppress(FileNotFoundError), open(path, encoding="ascii") as file:
        return "tenant" in file.read()
    return False


def system_v(_argument: str) -> object:
    made = checked("shmget", LIBC.shmget(0x7E57, 4096, 0o1666))
    held.append(made)
    return "made"


def see_system_v(_argument: str) -> object:
    return LIBC.shmget(0x7E57, 4096, 0) >= 0


def abstract(_argument: str) -> object:
    held.append(listening := socket.socket(socket.AF_UNIX))
    listening.bind("\0tenant")
    listening.listen()
    return "listens"


def see_abstract(_argument: str) -> object:
    return socket.socket(socket.AF_UNIX).connect_ex("\0tenant") == 0


def loopback(_argument: str) -> object:
    held.append(listening := socket.create_server(("127.0.0.1", 4444)))
    return "listens" if listening else ""


def see_loopback(_argument: str) -> object:
    return socket.socket().connect_ex(("127.0.0.1", 4444)) == 0


def host_name(_argument: str) -> object:
    socket.sethostname("tenant")
    return "named"


def see_host_name(_argument: str) -> object:
    return socket.gethostname()


def own_table(_argument: str) -> object:
    with open("/proc/self/mounts", encoding="ascii") as mounts:
        return sorted(line.split()[1] for line in mounts)


# The other's processes.


def kill_all(_argument: str) -> object:
    os.kill(-1, signal.SIGKILL)
    return "sent"


def see_oneself(_argument: str) -> object:
    with open("/proc/1/stat", encoding="ascii") as file:
        return file.read().rpartition(")")[2].split()[19]


def kill_one(pid: str) -> object:
    os.kill(int(pid), signal.SIGKILL)
    return "sent"


def trace(pid: str) -> object:
    ptrace_attach = 16
    checked("ptrace", LIBC.ptrace(ptrace_attach, int(pid), 0, 0))
    return "attached"


def read_memory(pid: str) -> object:
    buffer = ctypes.create_string_buffer(8)
    local = struct.pack("QQ", ctypes.addressof(buffer), 8)
    remote = struct.pack("QQ", 0x400000, 8)
    return call("process_vm_readv", int(pid), local, 1, remote, 1, 0)


def list_processes(marker: str) -> object:
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        with contextlib.suppress(OSError), open(path, "rb") as file:
            if marker.encode() in file.read() and path.split("/")[2] != str(os.getpid()):
                return path
    raise Refused("not listed")


def read_root(path: str) -> object:
    for root in glob.glob("/proc/[0-9]*/root"):
        with contextlib.suppress(OSError), open(root + path, encoding="ascii") as file:
            return file.read()
    raise Refused("not there")


# Privileges.


def new_user_namespace(_argument: str) -> object:
    return checked("unshare", LIBC.unshare(0x10000000))


def new_mount_namespace(_argument: str) -> object:
    return checked("unshare", LIBC.unshare(0x00020000))


def enter_namespace(pid: str) -> object:
    with open(f"/proc/{pid}/ns/net", "rb") as file:
        return checked("setns", LIBC.setns(file.fileno(), 0))


def mount(kind: str) -> object:
    os.makedirs("/tmp/mounted", exist_ok=True)
    answer = LIBC.mount(kind.encode(), b"/tmp/mounted", kind.encode(), 0, b"")
    return checked("mount", answer)


def remount_sys(_argument: str) -> object:
    return checked("mount", LIBC.mount(b"none", b"/sys", None, 32, None))


def open_to_write(path: str) -> object:
    os.close(os.open(path, os.O_WRONLY))
    return "opened"


def read(path: str) -> object:
    with open(path, "rb") as file:
        data = file.read(64)
    if not data:
        raise Refused("empty")
    return repr(data)


def list_directory(path: str) -> object:
    names = os.listdir(path)
    if not names:
        raise Refused("empty")
    return ", ".join(names)


def kernel_log(_argument: str) -> object:
    return checked("syslog", LIBC.klogctl(3, ctypes.create_string_buffer(64), 64))


def disk(_argument: str) -> object:
    """Open each disk of the host by a device that it makes."""
    with open("/proc/partitions", encoding="ascii") as file:
        numbers = [tuple(map(int, line.split()[:2])) for line in file.readlines()[2:]]
    return _devices([(stat.S_IFBLK, *number) for number in numbers])


def kernel_memory(_argument: str) -> object:
    return _devices([(stat.S_IFCHR, 1, minor) for minor in (1, 2, 4, 11)])


def _devices(wanted: list[tuple[int, int, int]]) -> object:
    refusal = ""
    for number, (kind, major, minor) in enumerate(wanted):
        path = f"/tmp/device-{major}-{minor}-{number}"
        try:
            os.mknod(path, kind | 0o600, os.makedev(major, minor))
            os.close(os.open(path, os.O_RDONLY))
        except OSError as err:
            refusal = err.strerror or str(err)
            continue
        return f"{major}:{minor} is open"
    raise Refused(refusal)


def bpf(_argument: str) -> object:
    attributes = struct.pack("IIII", 2, 4, 4, 1).ljust(72, b"\0")
    return call("bpf", 0, attributes, len(attributes))


def perf(_argument: str) -> object:
    attributes = struct.pack("II", 1, 112).ljust(112, b"\0")
    return call("perf_event_open", attributes, -1, 0, -1, 0)


def add_key(_argument: str) -> object:
    return call("add_key", b"user", b"tenant", b"secret", 6, -3)


def keyctl(_argument: str) -> object:
    return call("keyctl", 0, -3, 1)


def userfaultfd(_argument: str) -> object:
    return call("userfaultfd", 0)


def io_uring(_argument: str) -> object:
    return call("io_uring_setup", 4, bytes(120))


def modules(_argument: str) -> object:
    return call("init_module", b"x", 1, b"")


def kexec(_argument: str) -> object:
    return call("kexec_load", 0, 0, None, 0)


def file_handle(_argument: str) -> object:
    """Open the root of the engine's file system by its number, as Shocker did."""
    handle = struct.pack("Ii", 8, 1) + struct.pack("II", 2, 0)
    with open("/etc/hosts", "rb") as file:
        return call("open_by_handle_at", file.fileno(), handle, os.O_RDONLY)


def clock(_argument: str) -> object:
    time.clock_settime(time.CLOCK_REALTIME, time.time())
    return "set"


def niceness(_argument: str) -> object:
    return os.nice(-5)


def real_time(_argument: str) -> object:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    return "real time"


def disk_priority(_argument: str) -> object:
    real_time_class = 1 << 13
    return call("ioprio_set", 1, 0, real_time_class)


def out_of_memory(_argument: str) -> object:
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("-500")
    return "written"


def limits(_argument: str) -> object:
    """Raise a limit of one's own above its hard limit."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard + 1, hard + 1))
    return "raised"


# The network.


def address(other: str) -> object:
    """Take the neighbour's address."""
    siocsifaddr = 0x8916
    request = b"eth0".ljust(16, b"\0") + struct.pack("HH", socket.AF_INET, 0)
    fcntl.ioctl(socket.socket(), siocsifaddr, request + socket.inet_aton(other) + bytes(8))
    return "taken"


def hardware_address(other: str) -> object:
    siocsifhwaddr = 0x8924
    request = b"eth0".ljust(16, b"\0") + struct.pack("H", 1) + bytes.fromhex(other.replace(":", ""))
    fcntl.ioctl(socket.socket(), siocsifhwaddr, request + bytes(8))
    return "taken"


def route(_argument: str) -> object:
    ip_forward = "/proc/sys/net/ipv4/ip_forward"
    return open_to_write(ip_forward)


def engine(_argument: str) -> object:
    for path in ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock"):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as asked:
            asked.connect(path)
            return path
    for port in (2375, 2376):
        for at in ("127.0.0.1", "198.51.100.1"):
            with socket.socket() as asked:
                asked.settimeout(0.2)
                if asked.connect_ex((at, port)) == 0:
                    return f"{at}:{port}"
    raise Refused("not there")


def console(_argument: str) -> object:
    with open("/proc/1/fd/1", "w", encoding="ascii") as file:
        file.write("tenant was here\n")
    return "written"


def family(number: str) -> object:
    """Make a socket of a family."""
    socket.socket(int(number), socket.SOCK_STREAM).close()
    return "made"


def audit_as_32_bits(way: str) -> object:
    """Make a socket for the audit log as a program of 32 bits does.

    :param way: "socketcall", or "socket"
    """
    if platform.machine() != "x86_64":
        raise Refused("not there")
    map_32bit = 0x40
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | map_32bit
    memory = mmap.mmap(-1, 4096, flags, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    wanted = (socket.AF_NETLINK, socket.SOCK_RAW, 9)
    number, arguments = {"socketcall": (102, (1, start + 512, 0)), "socket": (359, wanted)}[way]
    # push rbx; mov eax, ebx, ecx, edx; int 0x80; pop rbx; ret
    code = b"\x53" + b"".join(
        struct.pack("<BI", load, value)
        for load, value in zip((0xB8, 0xBB, 0xB9, 0xBA), (number, *arguments), strict=True)
    )
    code += bytes.fromhex("cd805bc3")
    memory[: len(code)] = code
    memory[512:524] = struct.pack("<III", *wanted)
    child = os.fork()
    if child == 0:
        answer = ctypes.CFUNCTYPE(ctypes.c_int)(start)()
        os._exit(min(-answer, 255) if answer < 0 else 0)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if ended:
        raise Refused(errno.errorcode.get(ended, f"ended with {ended}"))
    return "made"


def audit(_argument: str) -> object:
    """Write into the host's audit log, as a log-in program does."""
    audit_user_login, netlink_audit = 1112, 9
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, netlink_audit) as asked:
        asked.settimeout(1)
        text = b"tenant\0"
        asked.sendto(struct.pack("IHHII", 16 + len(text), audit_user_login, 5, 1, 0) + text, (0, 0))
        answer = struct.unpack("i", asked.recv(64)[16:20])[0]
    if answer:
        raise Refused(errno.errorcode[-answer])
    return "written"


def main(name: str, argument: str = "") -> None:
    """Try something, say what came of it, and hold what was taken."""
    try:
        told = {"got": globals()[name](argument)}
    except (OSError, Refused, ValueError) as err:
        refused = errno.errorcode.get(getattr(err, "errno", None) or 0, "")
        told = {"refused": refused or str(err)}
    print(json.dumps({**told, "pid": os.getpid()}), flush=True)
    if held:
        signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
