# SPDX-License-Identifier: Apache-2.0
"""The lab's command line."""

from __future__ import annotations

import argparse
import dataclasses
import os
import socket
import subprocess
import sys
import traceback
from collections.abc import Sequence

from lab import controlplane, lifecycle
from lab.client import connection
from lab.errors import HostError, LabError
from lab.hosts import containers, ssh
from lab.hosts.access import Host
from lab.lifecycle import BareStage, Stage
from lab.machine import lock
from lab.machine.progress import Progress
from lab.settings import MOST_COMPUTES, NETWORKING, OVS, LabSettings


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of the command line."""

    arguments: argparse.Namespace
    settings: LabSettings
    progress: Progress
    stage: Stage


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the lab's command line."""
    parser = argparse.ArgumentParser(
        prog="python -m lab",
        description="A real OpenStack on this machine: a controller and three computes, each a"
        " container that boots systemd. Nothing of it is left after 'down'.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    commands.add_parser(
        "build", help="build the images of the hosts and the wheels; 'up' does it as well"
    ).set_defaults(run=_build)

    _add_up(commands)

    down = commands.add_parser("down", help="remove hosts, volumes and networks; images stay")
    down.add_argument("--purge", action="store_true", help="remove images and the cache as well")
    down.set_defaults(run=_down)

    commands.add_parser("status", help="show hosts, addresses and states").set_defaults(run=_status)
    commands.add_parser(
        "env", help="print the administrator's credentials as shell exports, for eval"
    ).set_defaults(run=_env)

    dashboard = commands.add_parser(
        "dashboard",
        help="open a port of this machine's loopback that leads to the dashboard, until Ctrl-C",
    )
    dashboard.add_argument("--port", type=int, default=8080, help="the port (%(default)s)")
    dashboard.set_defaults(run=_dashboard)

    execute = commands.add_parser("exec", help="run a command on a host as root")
    execute.add_argument("host", metavar="HOST")
    execute.add_argument("argv", metavar="-- CMD", nargs=argparse.REMAINDER)
    execute.set_defaults(run=_exec)

    logs = commands.add_parser("logs", help="show the journal of a host, or of one unit of it")
    logs.add_argument("host", metavar="HOST")
    logs.add_argument("unit", metavar="UNIT", nargs="?", help="e.g. nova-compute")
    logs.add_argument("-f", "--follow", action="store_true", help="go on showing what comes")
    logs.add_argument("-n", "--lines", type=int, default=200, help="how many lines (200)")
    logs.set_defaults(run=_logs)

    add = commands.add_parser("add-host", help="start one more, blank host")
    add.add_argument("name", metavar="NAME")
    add.set_defaults(run=_add_host)
    return parser


def _add_up(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    up = commands.add_parser("up", help="bring the lab up; harmless when it is up")
    up.add_argument(
        "--networking",
        choices=NETWORKING,
        default=OVS,
        help="what wires the ports of instances: Neutron's Open vSwitch agents, or OVN, which has"
        " routers and an external network as well (%(default)s)",
    )
    up.add_argument(
        "--computes",
        type=_count,
        default=len(LabSettings().computes),
        metavar="N",
        help="how many compute hosts there are (%(default)s)",
    )
    up.set_defaults(run=_up)


def main(argv: Sequence[str] | None = None, stage: Stage | None = None) -> int:
    """Run one command of the lab and return its exit code.

    :param stage: what the lab is brought up for; nothing but the cloud by default
    """
    arguments = build_parser().parse_args(argv)
    progress = Progress()
    settings = LabSettings()
    try:
        return int(arguments.run(Call(arguments, settings, progress, stage or BareStage())) or 0)
    except LabError as err:
        where = f" (log: {err.log})" if err.log else ""
        print(f"lab: {err}{where}", file=sys.stderr)
        return 1
    except Exception as err:  # noqa: BLE001 (a fault of the lab itself: its trace goes to a log)
        log = settings.log_dir / "lab.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(traceback.format_exc())
        print(f"lab: {type(err).__name__}: {err} (log: {log})", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted; run the same command again to go on", file=sys.stderr)
        return 130


def _count(text: str) -> int:
    count, least = int(text), len(LabSettings().computes)
    if not least <= count <= MOST_COMPUTES:
        raise argparse.ArgumentTypeError(f"{count} is not from {least} to {MOST_COMPUTES}")
    return count


def _build(call: Call) -> None:
    with lock.held(call.settings, "build"):
        lifecycle.build(call.settings, call.progress, call.stage)


def _up(call: Call) -> None:
    settings = dataclasses.replace(call.settings, networking=call.arguments.networking)
    settings = settings.with_computes(call.arguments.computes)
    with lock.held(settings, "up"):
        lifecycle.up(settings, call.progress, call.stage)


def _down(call: Call) -> None:
    with lock.held(call.settings, "down"):
        lifecycle.down(call.settings, call.progress, purge=call.arguments.purge)


def _status(call: Call) -> int:
    there = containers.existing(call.settings)
    if not there:
        call.progress.say("The lab is down.")
        return 3
    for planned in there:
        host = Host(planned.name, call.settings)
        state = host.state()
        if state == "running":
            state = host.run(["systemctl", "is-system-running"], check=False).stdout.strip()
        call.progress.say(f"{host.name:<20} {planned.role:<11} {planned.address:<15} {state}")
    return 0


def _env(call: Call) -> None:
    controller = _running(call.settings, call.settings.controller.name)
    print(controller.read(connection.OPENRC), end="")


def _dashboard(call: Call) -> None:
    controller = _running(call.settings, call.settings.controller.name)
    remote_port = controlplane.await_dashboard(controller)
    port = call.arguments.port
    with socket.socket() as taken:
        if not taken.connect_ex(("127.0.0.1", port)):
            raise HostError(f"port {port} of 127.0.0.1 is taken: choose another: --port")
    print(
        f"http://127.0.0.1:{port}/  until Ctrl-C\n"
        "User: admin. Password: OS_PASSWORD of the lab's env (/root/admin-openrc on the"
        " controller).",
        flush=True,
    )
    # In its place: who ends this command ends what it has opened.
    command = ssh.forward_command(call.settings, controller.name, port, remote_port)
    os.execvp(command[0], command)


def _exec(call: Call) -> int:
    host = _running(call.settings, call.arguments.host)
    argv = call.arguments.argv
    argv = argv[1:] if argv[:1] == ["--"] else argv
    if not argv:
        raise HostError("no command given: exec HOST -- CMD")
    terminal = ["--tty"] if sys.stdin.isatty() and sys.stdout.isatty() else []
    return subprocess.call(["docker", "exec", "--interactive", *terminal, host.container, *argv])


def _logs(call: Call) -> int:
    host = _running(call.settings, call.arguments.host)
    argv = ["journalctl", "--no-pager", f"--lines={call.arguments.lines}"]
    argv += [f"--unit={call.arguments.unit}"] if call.arguments.unit else []
    argv += ["--follow"] if call.arguments.follow else []
    return subprocess.call(["docker", "exec", host.container, *argv])


def _add_host(call: Call) -> None:
    with lock.held(call.settings, "add-host"):
        host = lifecycle.add_host(call.settings, call.progress, call.arguments.name, call.stage)
    call.progress.say(f"{host.name} is up at {host.address}; {call.stage.next_step}")


def _running(settings: LabSettings, name: str) -> Host:
    host = Host(name, settings)
    state = host.state()
    if state != "running":
        names = ", ".join(x.name for x in containers.existing(settings)) or "none: run up"
        raise HostError(f"host {name} is {state}; hosts there are: {names}")
    return host
