# SPDX-License-Identifier: Apache-2.0
"""The demonstration: compute hosts become Docker hypervisors, containers are booted on them.

    python -m lab.stage.demo

It needs the lab to be up. Each step is shown as the command that an operator would type, and is
done over the same API. A step that does not come out right ends the demonstration with exit
code 1 and one line that says what was wrong.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import openstack.exceptions
from keystoneauth1.exceptions import ClientException
from openstack.compute.v2.server import Server
from openstack.connection import Connection
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lab.client import workflows
from lab.client.connection import connect
from lab.errors import LabError
from lab.settings import LabSettings

IMAGE = "busybox"
FLAVOR = "m1.nano"
NETWORK = "demo"
GROUP = "demo-apart"
SERVERS = ("demo-1", "demo-2")
PINGS = 3
# The driver hands a server's metadata to its container as environment variables.
COMMAND = (
    'sh -c "trap exit TERM; hostname; ip -4 addr show eth0;'
    ' test -z $PEER || ping -c 3 $PEER; while :; do sleep 1; done"'
)
# Many times what it takes: the machine may have other work to do.
DEPLOY_TIMEOUT_S = 1800
SERVER_TIMEOUT_S = 120
PING_TIMEOUT_S = 60

# What an ended task means to a reader, by workflow; others are shown only when they fail.
MEANINGS = {
    "deploy": {
        "validate_inputs": "the inputs are in order",
        "lock": "no other run is at these hosts",
        "gate": "the batch is through",
    },
    "_prepare": {
        "describe_hosts": "the hosts have described themselves",
        "require_images": "the registry has the images",
        "make_plan": "the plan is made",
    },
    "_convert_controllers": {
        "install_docker": "Docker Engine is installed",
        "configure_glance": "Glance is configured for docker images",
        "verify_glance": "Glance's API says so, too",
    },
    "_publish_image": {
        "export_image": "the image is pulled and saved",
        "verify_image": "the image is in Glance",
    },
    "_convert_batch": {
        "disable_compute": "out of service",
        "recheck_instances": "nobody lives there",
        "install_docker": "Docker Engine is installed",
        "install_driver": "the driver is in Nova's environment",
        "configure_compute": "nova-compute runs with the driver",
        "verify_host": "the host finds itself in order",
        "verify_compute": "Nova finds the hypervisor in order",
        "isolate": "in the aggregate of Docker hosts",
        "verify_images": "the images are preloaded",
        "enable_compute": "in service again",
    },
    "_roll_back": {
        "roll_back": "is put back as it was",
    },
}


class DemoError(LabError):
    """A step of the demonstration did not come out right."""


class Demo:
    """What the demonstration shows, step by step.

    :param cloud: a connection as admin
    :param console: where to show it
    """

    def __init__(self, cloud: Connection, console: Console) -> None:
        self.cloud = cloud
        self.console = console

    def run(self) -> None:
        """Show everything."""
        self.hypervisors("Hypervisors before")
        execution = self.deploy()
        servers = self.boot()
        self.ping(servers)
        self.console_log(servers[-1])
        self.hypervisors("Hypervisors after")
        self.servers()
        self.report(execution)

    def hypervisors(self, title: str) -> None:
        """Show the hypervisor list."""
        self.command("openstack hypervisor list --long")
        rows = sorted(self.cloud.compute.hypervisors(details=True), key=lambda row: row.name)
        table = self._table(title, "Hypervisor", "Type", "State", "Status", "Version")
        for row in rows:
            table.add_row(
                row.name, row.hypervisor_type, row.state, row.status, str(row.hypervisor_version)
            )
        self.console.print(table)

    def deploy(self) -> workflows.Execution:
        """Run novadocker.deploy and show its tasks as they end."""
        self.command("openstack workflow execution create novadocker.deploy '{}'")
        execution = workflows.start(self.cloud, "novadocker.deploy")
        seen: set[str] = set()
        began = time.monotonic()
        with self.console.status("novadocker.deploy"):
            execution = workflows.wait(
                self.cloud,
                execution.id,
                timeout_s=DEPLOY_TIMEOUT_S,
                on_tasks=lambda tasks: self._show_tasks(tasks, seen, began),
            )
        if execution.state != "SUCCESS":
            self.report(execution)
            raise DemoError(f"novadocker.deploy ended in {execution.state}: {execution.message}")
        self.console.print(f"\n[bold green]{escape(execution.message)}[/]\n", highlight=False)
        return execution

    def boot(self) -> list[Server]:
        """Boot two servers apart from each other; return them when they are ACTIVE."""
        compute = self.cloud.compute
        image = self.cloud.image.find_image(IMAGE, ignore_missing=False)
        self.command(
            f"openstack image set {IMAGE} --property os_command_line={shlex.quote(COMMAND)}"
        )
        self.cloud.image.update_image(image.id, os_command_line=COMMAND)
        self.command(f"openstack server group create {GROUP} --policy anti-affinity")
        group = compute.find_server_group(GROUP) or compute.create_server_group(
            name=GROUP, policy="anti-affinity"
        )
        flavor = compute.find_flavor(FLAVOR, ignore_missing=False)
        network = self.cloud.network.find_network(NETWORK, ignore_missing=False)
        booted: list[Server] = []
        for name in SERVERS:
            self._delete(name)
            metadata = {"PEER": address(booted[0])} if booted else {}
            properties = "".join(f" --property {key}={value}" for key, value in metadata.items())
            self.command(
                f"openstack server create {name} --image {IMAGE} --flavor {FLAVOR}"
                f" --network {NETWORK} --server-group {GROUP}{properties}"
            )
            began = time.monotonic()
            server = compute.create_server(
                name=name,
                image_id=image.id,
                flavor_id=flavor.id,
                networks=[{"uuid": network.id}],
                scheduler_hints={"group": group.id},
                metadata=metadata,
            )
            try:
                server = compute.wait_for_server(server, interval=0.25, wait=SERVER_TIMEOUT_S)
            except openstack.exceptions.SDKException as err:
                server = compute.get_server(server.id)
                reason = (server.fault or {}).get("message") or err
                raise DemoError(f"server {name} did not become ACTIVE: {reason}") from err
            self.console.print(
                f"  [green]ACTIVE[/] after {time.monotonic() - began:.1f} s"
                f" on {server.compute_host}, address {address(server)}",
                highlight=False,
            )
            booted.append(server)
        return booted

    def ping(self, servers: list[Server]) -> None:
        """Wait until the second container has pinged the first."""
        first, second = servers
        expected = f"{PINGS} packets received"
        for text in self._poll(PING_TIMEOUT_S, lambda: self._console_text(second)):
            if expected in text:
                self.console.print(
                    f"  [green]{second.name} pings {first.name}[/] ({address(first)})"
                    f" over the network {NETWORK}: {PINGS} of {PINGS} came back",
                    highlight=False,
                )
                return
        raise DemoError(
            f"{second.name} did not get {PINGS} answers from {first.name} in {PING_TIMEOUT_S} s;"
            f" its console log: {self._console_text(second)[-300:]!r}"
        )

    def console_log(self, server: Server) -> None:
        """Show a server's console log."""
        self.command(f"openstack console log show {server.name}")
        for line in self._console_text(server).rstrip().splitlines():
            self.console.print(f"  [dim]{escape(line)}[/]", highlight=False)

    def servers(self) -> None:
        """Show the server list."""
        self.command("openstack server list --long")
        table = self._table("Servers", "Name", "Status", "Address", "Host", "Image")
        for server in sorted(self.cloud.compute.servers(), key=lambda row: row.name):
            table.add_row(
                server.name, server.status, address(server), server.compute_host, IMAGE
            )  # fmt: skip
        self.console.print(table)

    def report(self, execution: workflows.Execution) -> None:
        """Show the report of a run."""
        report = execution.report
        table = self._table(f"Report: {report.get('state', execution.state)}",
                            "Host", "Role", "State", "Changed", "Step", "Reason")  # fmt: skip
        for row in report.get("rows", []):
            table.add_row(*(_cell(row.get(key)) for key in
                            ("host", "role", "state", "changed", "step", "reason")))  # fmt: skip
        self.console.print(table)
        totals = report.get("totals", {})
        if totals:
            text = ", ".join(f"{count} {name}" for name, count in totals.items())
            self.console.print(f"  {text}", highlight=False)

    def command(self, text: str) -> None:
        """Show what an operator would type here."""
        self.console.print(f"\n[bold]$ {escape(text)}[/]", highlight=False, soft_wrap=True)

    def _show_tasks(self, tasks: list[workflows.Task], seen: set[str], began: float) -> None:
        for task in tasks:
            if task.id in seen or task.state not in ("SUCCESS", "ERROR"):
                continue
            seen.add(task.id)
            meaning = MEANINGS.get(task.workflow.rpartition(".")[2], {}).get(task.name)
            if meaning is None and task.state == "SUCCESS":
                continue
            mark = "[green]ok[/]    " if task.state == "SUCCESS" else "[red]FAILED[/]"
            text = ": ".join(
                part for part in (", ".join(self._hosts(task)), meaning or task.name) if part
            )
            self.console.print(
                f"  {time.monotonic() - began:6.1f} s  {mark}  {escape(text)}",
                highlight=False,
                soft_wrap=True,
            )

    def _hosts(self, task: workflows.Task) -> list[str]:
        """Return the hosts that a task is about, with what is wrong with them."""
        rows = workflows.published(self.cloud, task).get("rows") or []
        return [
            row["host"] + (f" ({row.get('reason')})" if row.get("state") == "failed" else "")
            for row in rows
        ]

    def _console_text(self, server: Server) -> str:
        return str(self.cloud.compute.get_server_console_output(server)["output"] or "")

    def _delete(self, name: str) -> None:
        for server in self.cloud.compute.servers(name=f"^{name}$"):
            self.cloud.compute.delete_server(server)
            self.cloud.compute.wait_for_delete(server, interval=0.5, wait=SERVER_TIMEOUT_S)

    @staticmethod
    def _poll(timeout_s: float, read: Callable[[], str]) -> Iterator[str]:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            yield read()
            time.sleep(0.5)

    @staticmethod
    def _table(title: str, *columns: str) -> Table:
        table = Table(title=title, title_justify="left", title_style="bold")
        for column in columns:
            table.add_column(column, overflow="fold")
        return table


def address(server: Server) -> str:
    """Return a server's first fixed address, ``-`` when it has none."""
    for entries in (server.addresses or {}).values():
        for entry in entries:
            return str(entry["addr"])
    return "-"


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else escape(str(value))


@contextmanager
def _one_line_errors(console: Console) -> Iterator[None]:
    try:
        yield
    except LabError as err:
        console.print(f"\n[bold red]FAILED:[/] {escape(str(err))}", highlight=False, soft_wrap=True)
        sys.exit(1)
    except (openstack.exceptions.SDKException, ClientException) as err:
        console.print(f"\n[bold red]FAILED:[/] the cloud says: {escape(str(err))}", highlight=False)
        sys.exit(1)


def main() -> None:
    """Run the demonstration on the lab."""
    console = Console(width=None if sys.stdout.isatty() else 110)
    with _one_line_errors(console):
        began = time.monotonic()
        Demo(connect(LabSettings()), console).run()
        console.print(
            f"\nThat took {time.monotonic() - began:.0f} s. The lab stays up:"
            " `tools/lab env` prints its credentials, `tools/lab down` removes it.",
            highlight=False,
        )


if __name__ == "__main__":
    main()
