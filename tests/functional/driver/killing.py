# SPDX-License-Identifier: Apache-2.0
"""Work that is killed at a step of it, each in a process of its own."""

from __future__ import annotations

import functools
import itertools
import os
import signal
import time
import traceback
from collections.abc import Callable
from typing import Any

import os_vif

from novadocker.privsep import mounts, net
from novadocker.virt.docker.engine import client


def in_child(work: Callable[[], None]) -> int:
    """Do something in a process of its own.

    :return: its exit code; negative is the signal that killed it
    """
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - whatever it is, it is told by the exit code
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def at_step(
    step: int,
    happens: Callable[[], None],
    only_engine: bool = False,
    taken: Callable[[], int] | None = None,
) -> None:
    """Let something happen when this process is about to take so many steps.

    A step is a request to the engine, a change of the network, one of os-vif's, or one of what is
    mounted.

    :param only_engine: count nothing but requests to the engine
    :param taken: returns how many steps there are with the one that is about to be taken
    """
    count = taken or functools.partial(next, itertools.count(1))

    def counted(function: Any) -> Any:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if count() == step:
                happens()
            return function(*args, **kwargs)

        return call

    client.Engine.call = counted(client.Engine.call)
    for module, names in (
        (net, ("veth_create", "ns_attach", "device_delete")),
        (os_vif, ("plug", "unplug")),
        (mounts, ("make", "mount", "unmount")),
    ):
        for name in names if not only_engine else ():
            setattr(module, name, counted(getattr(module, name)))


def die() -> None:
    """Be killed."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)
