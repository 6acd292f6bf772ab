# SPDX-License-Identifier: Apache-2.0
"""The driver's own filter of system calls, read as libseccomp reads it."""

from __future__ import annotations

import errno
import json

import pytest

from novadocker import conf
from novadocker.virt.docker.engine import seccomp

ALLOWED = 0
UNIX, INET, INET6, NETLINK, PACKET = 1, 2, 10, 16, 17
CRYPTOGRAPHY, VSOCK = 38, 40


def answers(name: str, *arguments: int, capabilities: tuple[str, ...] = ("CHOWN",)) -> set[int]:
    """Return the errors of all rules that match a call; ``ALLOWED`` where it is let through."""
    profile = json.loads(seccomp.profile(capabilities))
    matching = {
        ALLOWED if rule["action"] == "SCMP_ACT_ALLOW" else rule["errnoRet"]
        for rule in profile["syscalls"]
        if name in rule["names"]
        and all(
            arguments[condition["index"]] & condition["value"] == condition["valueTwo"]
            for condition in rule["args"]
        )
    }
    return matching or {profile["defaultErrnoRet"]}


@pytest.mark.parametrize(
    ("name", "arguments", "answer"),
    [
        ("read", (), ALLOWED),
        ("getrandom", (), ALLOWED),
        ("chown32", (), ALLOWED),
        ("futex_time64", (), ALLOWED),
        ("clock_gettime64", (), ALLOWED),
        ("lgetxattr", (), ALLOWED),
        ("io_uring_setup", (), errno.EPERM),
        ("add_key", (), errno.EPERM),
        ("a_call_of_tomorrow", (), errno.EPERM),
        ("clone3", (), errno.ENOSYS),
        ("clone", (0x11,), ALLOWED),
        ("clone", (0x10000011,), errno.EPERM),
        ("personality", (0xFFFFFFFF,), ALLOWED),
        ("personality", (0x40000,), errno.EPERM),
        ("socketpair", (UNIX, 1, 0), ALLOWED),
        ("socketpair", (INET, 1, 0), errno.EPERM),
        ("socketcall", (1, 0), errno.ENOSYS),
        ("socket", (UNIX, 1, 0), ALLOWED),
        ("socket", (INET, 1, 0), ALLOWED),
        ("socket", (INET6, 1, 0), ALLOWED),
        ("socket", (PACKET, 3, 0), ALLOWED),
        ("socket", (NETLINK, 3, 0), ALLOWED),
        ("socket", (NETLINK, 3, 12), ALLOWED),
        ("socket", (NETLINK, 3, 6), errno.EPERM),
        ("socket", (CRYPTOGRAPHY, 5, 0), errno.EPERM),
        ("socket", (VSOCK, 1, 0), errno.EPERM),
    ],
)
def test_a_call_has_one_answer(name: str, arguments: tuple[int, ...], answer: int) -> None:
    assert answers(name, *arguments) == {answer}


@pytest.mark.parametrize("above", [0, 1 << 32, 0xFFFFFFFF << 32])
def test_the_audit_log_is_not_there_whatever_the_kernel_does_not_read(above: int) -> None:
    assert answers("socket", NETLINK | above, 3, 9 | above) == {errno.EPROTONOSUPPORT}


@pytest.mark.parametrize(
    ("capability", "name", "arguments"),
    [
        ("SYS_CHROOT", "chroot", ()),
        ("CAP_SYS_TIME", "clock_settime", ()),
        ("SYS_ADMIN", "clone", (0x10000011,)),
        ("SYS_ADMIN", "clone3", ()),
        ("SYS_ADMIN", "mount", ()),
        ("NET_ADMIN", "socket", (NETLINK, 3, 6)),
        ("ALL", "socket", (NETLINK, 3, 6)),
        ("all", "finit_module", ()),
    ],
)
def test_what_a_capability_is_for_can_be_asked_for_with_it(
    capability: str, name: str, arguments: tuple[int, ...]
) -> None:
    assert ALLOWED not in answers(name, *arguments)
    assert answers(name, *arguments, capabilities=(capability,)) == {ALLOWED}


def test_no_capability_opens_the_audit_log() -> None:
    answered = answers("socket", NETLINK, 3, 9, capabilities=("ALL", "AUDIT_WRITE"))
    assert answered == {errno.EPROTONOSUPPORT}


def test_what_answers_otherwise_stands_before_what_is_allowed() -> None:
    # libseccomp lets socketcall through for each socket that is allowed, unless it knows better.
    profile = json.loads(seccomp.profile(conf.DEFAULT_CAPABILITIES))
    actions = [rule["action"] for rule in profile["syscalls"]]
    assert actions == sorted(actions, key="SCMP_ACT_ERRNO".__ne__)
