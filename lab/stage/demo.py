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

import openstack.exceptions
from keystoneauth1.exceptions import ClientException
from openstack.compute.v2.server import Server
from openstack.connection import Connection
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lab.client.connection import connect
from lab.errors import LabError
from lab.settings import LabSettings
from novadocker_client.connection import Cloud
from novadocker_client.errors import BadInput, ClientError
from novadocker_client.osc import dashboard, result
from novadocker_client.osc.follow import Lines
from novadocker_client.runs import SUCCESS, Run, Runs, TimedOut

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
        run = self.deploy()
        servers = self.boot()
        self.ping(servers)
        self.console_log(servers[-1])
        self.hypervisors("Hypervisors after")
        self.servers()
        self.report(run)

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

    def deploy(self) -> Run:
        """Run novadocker.deploy and show what happens in it."""
        self.command("openstack docker deploy --wait")
        runs = Runs(Cloud(self.cloud))
        run = runs.start("deploy", description="the demonstration")
        with self.console.status("novadocker.deploy"), Lines(self.console) as lines:
            run = runs.wait(
                run.id, timeout_s=DEPLOY_TIMEOUT_S, on_progress=lines.show, on_fault=lines.fault
            )
        if run.state != SUCCESS:
            self.report(run)
            raise DemoError(f"novadocker.deploy ended as {run.outcome}: {run.message}")
        self.console.print(f"\n[bold green]{escape(run.message)}[/]\n", highlight=False)
        return run

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

    def report(self, run: Run) -> None:
        """Show the report of a run."""
        self.command(f"openstack docker run show {run.id}")
        self.console.print(f"Report: {run.report.state or run.outcome}", style="bold")
        for table in result.tables(run.report):
            self.console.print(table)
        totals = run.report.totals
        if totals:
            text = ", ".join(f"{count} {name}" for name, count in totals.items())
            self.console.print(f"  {text}", highlight=False)

    def command(self, text: str) -> None:
        """Show what an operator would type here."""
        self.console.print(f"\n[bold]$ {escape(text)}[/]", highlight=False, soft_wrap=True)

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


def whereto(cloud: Connection) -> str:
    """Return where to look at what was shown, and what to do with the lab."""
    return (
        "The lab stays up: `tools/lab env` prints its credentials, `tools/lab down` removes it.\n"
        f"Dashboard: {Cloud(cloud).dashboard_url()}/{dashboard.PANEL} on this machine;"
        " `tools/lab dashboard` opens a port of its loopback.\n"
        "User: admin. Password: OS_PASSWORD of `tools/lab env`."
    )


def address(server: Server) -> str:
    """Return a server's first fixed address, ``-`` when it has none."""
    for entries in (server.addresses or {}).values():
        for entry in entries:
            return str(entry["addr"])
    return "-"


@contextmanager
def _one_line_errors(console: Console) -> Iterator[None]:
    try:
        yield
    except (LabError, ClientError, BadInput, TimedOut) as err:
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
        cloud = connect(LabSettings())
        Demo(cloud, console).run()
        console.print(f"\nThat took {time.monotonic() - began:.0f} s.", highlight=False)
        console.print(whereto(cloud), highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
