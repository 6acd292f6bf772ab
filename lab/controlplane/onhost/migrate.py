# SPDX-License-Identifier: Apache-2.0
"""Create the schemas of all services' databases, each chain of commands in a child of its own.

What all of them import is imported once, before the children are made: that is most of the time.

    migrate.py < {"nova": [{"call": "nova.cmd.manage:main", "argv": ["nova-manage", "api_db",
                  "sync"], "accept": [0]}, ...], ...}

``accept`` has the exit codes that are no failure: some commands say "is there already" by one.
"""

from __future__ import annotations

import importlib
import json
import os
import pwd
import sys
import time
import traceback
from typing import TypedDict

SHARED = (
    "alembic.command",
    "keystoneauth1.loading",
    "oslo_config.cfg",
    "oslo_log.log",
    "pymysql",
    "sqlalchemy.orm",
)


class Command(TypedDict):
    """One command: an entry point and what it finds in sys.argv."""

    call: str
    argv: list[str]
    accept: list[int]


Chain = list[Command]


def main() -> int:
    """Run all chains side by side; the exit code is 1 when one of them has failed."""
    chains: dict[str, Chain] = json.load(sys.stdin)
    for name in SHARED:
        importlib.import_module(name)
    began = time.monotonic()
    children = {start(user, chain): user for user, chain in chains.items()}
    failed = []
    while children:
        pid, status = os.wait()
        user = children.pop(pid, None)
        if user is None:
            continue
        print(f"{user}: {time.monotonic() - began:.1f} s, exit {status}", flush=True)
        if status:
            failed.append(user)
    if failed:
        print(f"failed: {', '.join(sorted(failed))}", file=sys.stderr)
    return 1 if failed else 0


def start(user: str, chain: Chain) -> int:
    """Start a child that runs a chain as the service's user; return its process id."""
    pid = os.fork()
    if pid:
        return pid
    account = pwd.getpwnam(user)
    os.initgroups(user, account.pw_gid)
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    os.environ["HOME"] = account.pw_dir
    # nova-manage alone would patch its threads for eventlet, too late to be safe.
    os.environ["OS_NOVA_DISABLE_EVENTLET_PATCHING"] = "yes"
    os._exit(run_chain(chain))


def run_chain(chain: Chain) -> int:
    """Run commands one after the other, each in a fresh copy of this process."""
    importlib.import_module(chain[0]["call"].partition(":")[0])
    for command in chain:
        pid = os.fork()
        if not pid:
            os._exit(run_command(command))
        _, status = os.waitpid(pid, 0)
        if os.waitstatus_to_exitcode(status) not in command["accept"]:
            print(f"failed: {' '.join(command['argv'][:3])}", file=sys.stderr)
            return 1
    return 0


def run_command(command: Command) -> int:
    """Call an entry point with its arguments; return its exit code."""
    module, _, function = command["call"].partition(":")
    sys.argv = command["argv"]
    try:
        return int(getattr(importlib.import_module(module), function)() or 0)
    except SystemExit as err:
        return err.code if isinstance(err.code, int) else int(bool(err.code))
    except Exception:  # noqa: BLE001 - a child of fork must not go on with its parent's work
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
