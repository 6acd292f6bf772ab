# SPDX-License-Identifier: Apache-2.0
"""The programs that run on the hosts, run here."""

from __future__ import annotations

import getpass
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from openstack import exceptions

from lab.controlplane.onhost import fill_cloud, fill_identity, migrate

ON_HOST = pathlib.Path(migrate.__file__).parent

STEPS = """\
import pathlib, sys

def main():
    log = pathlib.Path({log!r})
    with log.open("a") as out:
        out.write(" ".join(sys.argv) + "\\n")
    if sys.argv[1] == "fail":
        raise RuntimeError("as asked")
    return int(sys.argv[1]) if sys.argv[1].isdigit() else None
"""


class Steps:
    """A module with an entry point that notes its calls."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        (folder / "made_up_steps.py").write_text(STEPS.format(log=str(self.log)))

    def command(self, *argv: str, accept: tuple[int, ...] = (0,)) -> dict[str, Any]:
        return {"call": "made_up_steps:main", "argv": ["tool", *argv], "accept": accept}

    def run(self, **chains: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
        program = "import sys, migrate;migrate.SHARED = (); sys.exit(migrate.main())"
        path = os.pathsep.join([str(self.folder), str(ON_HOST)])
        return subprocess.run(
            [sys.executable, "-c", program],
            input=json.dumps(chains),
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def calls(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def steps(tmp_path: pathlib.Path) -> Steps:
    if os.getuid():
        pytest.skip("commands are run as other users: needs root")
    return Steps(tmp_path)


def test_commands_of_a_chain_run_in_order(steps: Steps) -> None:
    done = steps.run(**{getpass.getuser(): [steps.command("one"), steps.command("two")]})
    assert (done.returncode, steps.calls()) == (0, ["tool one", "tool two"])


def test_a_failure_ends_its_chain_and_is_named(steps: Steps) -> None:
    done = steps.run(**{getpass.getuser(): [steps.command("fail"), steps.command("two")]})
    assert done.returncode == 1
    assert steps.calls() == ["tool fail"]
    assert "failed: tool fail" in done.stderr
    assert "as asked" in done.stderr


def test_an_exit_code_that_means_done_already_is_no_failure(steps: Steps) -> None:
    chain = [steps.command("2", accept=(0, 2)), steps.command("two")]
    assert steps.run(**{getpass.getuser(): chain}).returncode == 0
    assert steps.calls() == ["tool 2", "tool two"]
    assert steps.run(**{getpass.getuser(): [steps.command("2")]}).returncode == 1


APPLICATION = """\
import sys
assert sys.argv == ["some-api"], sys.argv
def application(environ, start_response):
    environ["wsgi.input"].read()
    # As Glance does with an upload.
    environ["wsgi.input"].close()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [environ["PATH_INFO"].encode()]
"""


def test_an_api_is_served_and_says_when_it_is_ready(tmp_path: pathlib.Path) -> None:
    (tmp_path / "made_up_api.py").write_text(APPLICATION)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(30)
        server = subprocess.Popen(
            [sys.executable, ON_HOST / "serve_wsgi.py", "made_up_api", f"--port={port}",
             "--prog=some-api"],
            env={**os.environ, "PYTHONPATH": str(tmp_path),
                 "NOTIFY_SOCKET": str(tmp_path / "notify")},
        )  # fmt: skip
        try:
            assert systemd.recv(100) == b"READY=1"
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            for path in ("/here", "/also"):
                # Without a length, so in chunks; the second on the connection of the first.
                connection.request("PUT", path, iter([b"some", b"thing"]), encode_chunked=True)
                assert connection.getresponse().read() == path.encode()
            connection.close()
            server.send_signal(signal.SIGTERM)
            assert server.wait(timeout=20) == 0
        finally:
            server.kill()
            server.wait()


class Identity:
    """As much of Keystone as is asked for, in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, list[SimpleNamespace]] = {
            "role": [SimpleNamespace(id="r0", name="admin")],
            "project": [],
            "user": [],
            "domain": [],
            "service": [],
            "endpoint": [],
        }
        self.assigned: set[tuple[str, str, str]] = set()

    def _make(self, kind: str, **fields: Any) -> SimpleNamespace:
        made = SimpleNamespace(id=f"{kind}{len(self.kept[kind])}", **fields)
        self.kept[kind].append(made)
        return made

    def _find(self, kind: str, **fields: Any) -> list[SimpleNamespace]:
        return [x for x in self.kept[kind] if fields.items() <= vars(x).items()]

    def roles(self) -> list[SimpleNamespace]:
        return self._find("role")

    def users(self, **fields: Any) -> Any:
        return iter(self._find("user", **fields))

    def services(self) -> list[SimpleNamespace]:
        return self._find("service")

    def endpoints(self) -> list[SimpleNamespace]:
        return self._find("endpoint")

    def find_project(self, name: str) -> SimpleNamespace | None:
        return next(iter(self._find("project", name=name)), None)

    def find_domain(self, name: str) -> SimpleNamespace | None:
        return next(iter(self._find("domain", name=name)), None)

    def create_role(self, **fields: Any) -> SimpleNamespace:
        return self._make("role", **fields)

    def create_project(self, **fields: Any) -> SimpleNamespace:
        return self._make("project", **fields)

    def create_user(self, **fields: Any) -> SimpleNamespace:
        return self._make("user", **fields)

    def create_domain(self, **fields: Any) -> SimpleNamespace:
        return self._make("domain", **fields)

    def create_service(self, **fields: Any) -> SimpleNamespace:
        return self._make("service", **fields)

    def create_endpoint(self, **fields: Any) -> SimpleNamespace:
        return self._make("endpoint", **fields)

    def assign_project_role_to_user(self, *what: SimpleNamespace) -> None:
        project, user, role = what
        self.assigned.add((project.name, user.name, role.name))

    def assign_domain_role_to_user(self, *what: SimpleNamespace) -> None:
        domain, user, role = what
        self.assigned.add((domain.name, user.name, role.name))


def fill(identity: Identity) -> None:
    roles = fill_identity.fill_roles(identity, ["service", "heat_stack_user"])
    fill_identity.fill_accounts(identity, "service", {"nova": "x"}, roles)
    fill_identity.fill_stack_domain(identity, "heat", "heat_admin", "y", roles["admin"])
    fill_identity.fill_catalog(identity, "RegionOne", [["compute", "nova", "http://c:8774"]])


def test_accounts_have_their_roles_and_services_three_endpoints() -> None:
    identity = Identity()
    fill(identity)
    assert identity.assigned == {
        ("service", "nova", "admin"),
        ("service", "nova", "service"),
        ("heat", "heat_admin", "admin"),
    }
    assert {x.interface for x in identity.endpoints()} == {"public", "internal", "admin"}


def test_filling_again_makes_nothing_twice() -> None:
    identity = Identity()
    fill(identity)
    before = {kind: len(made) for kind, made in identity.kept.items()}
    fill(identity)
    assert {kind: len(made) for kind, made in identity.kept.items()} == before


class Network:
    """A project's default security group, and networks."""

    def __init__(self) -> None:
        self.rules: list[dict[str, Any]] = []
        self.networks: dict[str, SimpleNamespace] = {}
        self.subnets: list[dict[str, Any]] = []

    def security_groups(self, **_: Any) -> Any:
        return iter([SimpleNamespace(id="g")])

    def create_security_group_rule(self, **rule: Any) -> None:
        if rule in self.rules:
            raise exceptions.ConflictException("there already")
        self.rules.append(rule)

    def find_network(self, name: str) -> SimpleNamespace | None:
        return self.networks.get(name)

    def create_network(self, name: str, **_: Any) -> SimpleNamespace:
        self.networks[name] = SimpleNamespace(id="n", name=name, subnet_ids=[])
        return self.networks[name]

    def create_subnet(self, **subnet: Any) -> None:
        self.subnets.append(subnet)
        self.networks[subnet["name"]].subnet_ids.append("s")


def test_networks_and_rules_are_made_once() -> None:
    network = Network()
    for _ in range(2):
        fill_cloud.fill_network(network, "demo", {"cidr": "10.0.0.0/24"}, shared=True)
        fill_cloud.fill_security_rules(network, "p", [{"protocol": "icmp"}])
    assert [subnet["cidr"] for subnet in network.subnets] == ["10.0.0.0/24"]
    assert [rule["protocol"] for rule in network.rules] == ["icmp"]


def test_flavors_that_are_there_stay() -> None:
    made: list[str] = []
    compute = SimpleNamespace(
        flavors=lambda: [SimpleNamespace(name="old")],
        create_flavor=lambda **fields: made.append(fields["name"]),
    )
    fill_cloud.fill_flavors(compute, [["old", 1, 1, 1], ["new", 64, 1, 1]])
    assert made == ["new"]
