# SPDX-License-Identifier: Apache-2.0
"""The driver's own filter of system calls: what a program in a container may ask the kernel for.

What is not named is refused, by EPERM where nothing else is said. The engine and runc leave out
names that they, or the processor's architecture, do not know. A container may have what programs
of the common distributions ask for, and no more of the kernel than that: no io_uring, and sockets
of five families only. Of those the audit log of the host is left out, into which each container
could write with AUDIT_WRITE: programs are answered that the kernel has none, and go on.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Collection, Iterable
from typing import Any

# Of the option seccomp_profile; otherwise it is a path.
OWN, ENGINES = "own", "engine"
_BY_TOPIC = {
    "processes": """
        execve execveat exit exit_group fork vfork wait4 waitid waitpid getpid getppid gettid
        getpgid getpgrp getsid setpgid setsid set_tid_address pidfd_open pidfd_send_signal
        process_mrelease ptrace process_vm_readv process_vm_writev prctl arch_prctl modify_ldt
        get_thread_area set_thread_area set_tls breakpoint cacheflush rseq uretprobe membarrier
        restart_syscall getrandom uname sysinfo getcpu times getrusage seccomp
        landlock_create_ruleset landlock_add_rule landlock_restrict_self""",
    "users": "capget capset umask",
    "limits": """
        getrlimit ugetrlimit setrlimit prlimit64 getpriority setpriority ioprio_get ioprio_set""",
    "scheduling": """
        sched_yield sched_getaffinity sched_setaffinity sched_getattr sched_setattr
        sched_getparam sched_setparam sched_getscheduler sched_setscheduler
        sched_get_priority_max sched_get_priority_min""",
    "signals": """
        kill tkill tgkill pause alarm sigaltstack sigprocmask sigreturn rt_sigaction
        rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_tgsigqueueinfo
        signalfd signalfd4""",
    "time": """
        time gettimeofday getitimer setitimer nanosleep adjtimex timer_create timer_delete
        timer_getoverrun timerfd_create""",
    "memory": """
        brk mmap mmap2 mremap munmap mprotect madvise mincore msync mlock mlock2 mlockall munlock
        munlockall mseal map_shadow_stack remap_file_pages memfd_create memfd_secret pkey_alloc
        pkey_free pkey_mprotect""",
    "threads": "set_robust_list get_robust_list futex_wait futex_wake futex_waitv futex_requeue",
    "files": """
        open openat openat2 creat close close_range access faccessat faccessat2 dup dup2 dup3
        pipe pipe2 fcntl fcntl64 flock ioctl name_to_handle_at link linkat unlink unlinkat
        symlink symlinkat readlink readlinkat rename renameat renameat2 mkdir mkdirat rmdir mknod
        mknodat chdir fchdir getcwd getdents getdents64 chmod fchmod fchmodat fchmodat2 fchownat
        utime utimes futimesat stat stat64 lstat lstat64 fstat fstat64 fstatat64 newfstatat statx
        statfs statfs64 fstatfs fstatfs64 statmount listmount truncate truncate64 ftruncate
        ftruncate64 inotify_init inotify_init1 inotify_add_watch inotify_rm_watch""",
    "contents": """
        read pread64 readv preadv preadv2 write pwrite64 writev pwritev pwritev2 lseek _llseek
        readahead fadvise64 fadvise64_64 arm_fadvise64_64 fallocate copy_file_range sendfile
        sendfile64 splice tee vmsplice sync syncfs fsync fdatasync sync_file_range
        sync_file_range2 arm_sync_file_range cachestat io_setup io_submit io_cancel io_destroy
        io_getevents""",
    "readiness": """
        select _newselect poll epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait
        epoll_pwait2 eventfd eventfd2""",
    "messages": """
        ipc msgctl msgget msgrcv msgsnd semctl semget semop shmat shmctl shmdt shmget mq_open
        mq_unlink mq_notify mq_getsetattr""",
    "sockets": """
        bind connect listen accept accept4 shutdown getsockname getpeername getsockopt setsockopt
        send sendto sendmsg sendmmsg recv recvfrom recvmsg""",
}
# With another name for users and groups of 32 bits, on processors that once had 16.
_OF_USERS = """
    chown fchown lchown getuid geteuid getgid getegid getgroups getresuid getresgid setuid setgid
    setgroups setreuid setregid setresuid setresgid setfsuid setfsgid"""
# With another name for times of 64 bits, on processors of 32: with _time64 at its end, or with 64.
_OF_TIMES = """
    futex ppoll pselect6 recvmmsg io_pgetevents mq_timedreceive mq_timedsend semtimedop utimensat
    rt_sigtimedwait sched_rr_get_interval clock_nanosleep clock_getres"""
_OF_CLOCKS = """
    clock_adjtime clock_gettime timer_gettime timer_settime timerfd_gettime timerfd_settime"""
_ATTRIBUTES = ("", "l", "f")
_BY_CAPABILITY = {
    "SYS_ADMIN": """
        clone clone3 unshare setns mount umount umount2 mount_setattr move_mount open_tree fsopen
        fsconfig fsmount fspick pivot_root sethostname setdomainname quotactl quotactl_fd
        fanotify_init fanotify_mark bpf perf_event_open syslog lookup_dcookie""",
    "BPF": "bpf",
    "PERFMON": "perf_event_open",
    "SYSLOG": "syslog",
    "DAC_READ_SEARCH": "open_by_handle_at",
    "SYS_BOOT": "reboot",
    "SYS_CHROOT": "chroot",
    "SYS_MODULE": "init_module finit_module delete_module",
    "SYS_NICE": "get_mempolicy set_mempolicy mbind set_mempolicy_home_node process_madvise",
    "SYS_PACCT": "acct",
    "SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "SYS_RAWIO": "iopl ioperm",
    "SYS_TIME": "settimeofday stime clock_settime clock_settime64",
    "SYS_TTY_CONFIG": "vhangup",
}
_LINUX, _UNAME26, _LINUX32 = 0, 0x20000, 0x8
_ASK = 0xFFFFFFFF
_PERSONALITIES = (_LINUX, _UNAME26, _LINUX32, _UNAME26 | _LINUX32, _ASK)
# Of clone: users, process ids, networks, IPC, host names, control groups, mounts.
_NEW_NAMESPACES = 0x7E020000
_UNIX, _INET, _INET6, _NETLINK, _PACKET = 1, 2, 10, 16, 17
_NETLINK_AUDIT = 9
# Routes, users of netlink, sockets of all, netfilter, events of the kernel, and families by name.
_NETLINK_PROTOCOLS = (0, 2, 4, 12, 15, 16)
# For what needs NET_ADMIN: logged packets, IPsec.
_NETLINK_OF_ADMINS = (5, 6)
# The kernel takes these arguments for numbers of 32 bits, and the filter sees 64.
_WORD = 0xFFFFFFFF
_ARCHITECTURES = (
    ("SCMP_ARCH_X86_64", ["SCMP_ARCH_X86"]),
    ("SCMP_ARCH_AARCH64", ["SCMP_ARCH_ARM"]),
)


def chosen(option: str, capabilities: Collection[str]) -> str | None:
    """Return the filter that an operator has chosen; None for the engine's.

    :param option: seccomp_profile
    :param capabilities: of the containers, as the engine takes their names
    """
    if option == OWN:
        return profile(capabilities)
    if option == ENGINES:
        return None
    with open(option, encoding="utf-8") as source:
        return source.read()


def profile(capabilities: Collection[str]) -> str:
    """Return the filter of containers, for the engine.

    :param capabilities: of the containers, as the engine takes their names
    """
    held = {name.upper().removeprefix("CAP_") for name in capabilities}
    if "ALL" in held:
        held = {*_BY_CAPABILITY, "NET_ADMIN"}
    allowed = _names()
    for capability in held & set(_BY_CAPABILITY):
        allowed.update(_BY_CAPABILITY[capability].split())
    rules = [*_answered(allowed), *_conditional(held), _allow(sorted(allowed))]
    filtered = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": errno.EPERM,
        "archMap": [
            {"architecture": main, "subArchitectures": others} for main, others in _ARCHITECTURES
        ],
        "syscalls": rules,
    }
    return json.dumps(filtered, separators=(",", ":"))


def _names() -> set[str]:
    """Return what every container may ask for, whatever its arguments."""
    names = {name for topic in _BY_TOPIC.values() for name in topic.split()}
    for name in _OF_USERS.split():
        names |= {name, f"{name}32"}
    for name in _OF_TIMES.split():
        names |= {name, f"{name}_time64"}
    for name in _OF_CLOCKS.split():
        names |= {name, f"{name}64"}
    for verb in ("get", "set", "list", "remove"):
        names |= {f"{kind}{verb}xattr" for kind in _ATTRIBUTES} | {f"{verb}xattrat"}
    return names


def _answered(allowed: Collection[str]) -> Iterable[dict[str, Any]]:
    """Yield what is refused with another error than EPERM; they stand before what is allowed."""
    # What it asks for is in memory, where no filter looks: programs would make any socket by it.
    yield _refuse("socketcall", errno.ENOSYS)
    if "clone" not in allowed:
        # Likewise. The C library takes clone then.
        yield _refuse("clone3", errno.ENOSYS)
    yield _refuse("socket", errno.EPROTONOSUPPORT, _equal(0, _NETLINK), _equal(2, _NETLINK_AUDIT))


def _conditional(capabilities: Collection[str]) -> Iterable[dict[str, Any]]:
    """Yield what is allowed with some arguments."""
    for family in (_UNIX, _INET, _INET6, _PACKET):
        yield _allow(["socket"], _equal(0, family))
    of_admins = _NETLINK_OF_ADMINS if "NET_ADMIN" in capabilities else ()
    for protocol in (*_NETLINK_PROTOCOLS, *of_admins):
        yield _allow(["socket"], _equal(0, _NETLINK), _equal(2, protocol))
    yield _allow(["socketpair"], _equal(0, _UNIX))
    for personality in _PERSONALITIES:
        yield _allow(["personality"], _equal(0, personality))
    if "SYS_ADMIN" not in capabilities:
        yield _allow(["clone"], _masked(0, _NEW_NAMESPACES, 0))


def _allow(names: list[str], *conditions: dict[str, Any]) -> dict[str, Any]:
    return {"names": names, "action": "SCMP_ACT_ALLOW", "args": list(conditions)}


def _refuse(name: str, error: int, *conditions: dict[str, Any]) -> dict[str, Any]:
    # What is refused as everything else is not told to the kernel at all.
    assert error != errno.EPERM
    return {
        "names": [name],
        "action": "SCMP_ACT_ERRNO",
        "errnoRet": error,
        "args": list(conditions),
    }


def _equal(index: int, value: int) -> dict[str, Any]:
    return _masked(index, _WORD, value)


def _masked(index: int, mask: int, value: int) -> dict[str, Any]:
    return {"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}
