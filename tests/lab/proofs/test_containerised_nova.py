# SPDX-License-Identifier: Apache-2.0
"""A host whose nova-compute runs in a container of kolla's is converted, and given back exactly."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from openstack.compute.v2.server import Server
from openstack.connection import Connection

from lab.controlplane import provision
from lab.hosts import listing
from lab.hosts.access import Host
from lab.settings import LabSettings
from lab.stage.kolla import host as kolla_host
from lab.stage.kolla.containers import CRON, NOVA_COMPUTE
from novadocker_client.runs import SUCCESS
from tests.lab import asking
from tests.lab.crashes import cut_power
from tests.lab.proofs import whole
from tests.lab.proofs.tenants import containers

pytestmark = pytest.mark.proof

KOLLA, OTHER = "compute-3", "compute-docker-1"
HOSTS = [KOLLA, OTHER]
INPUTS = {"hosts": HOSTS}
TIMEOUT_S = 240
THRICE = ["answered"] * 3
# A server's status, power state and task.
RUNNING = ("ACTIVE", 1, None)
PACKAGE = "/usr/local/lib/novadocker/novadocker-host.pyz"
# The lab's resolver for a host: the machine's engine chooses its ports anew at each boot.
RESOLVER, RESOLVER_PORT = "127.0.0.11", re.compile(r"(?<=127\.0\.0\.11:)\d+|(?<=sport )\d+")
IN_NOVA = ("docker", "exec", "-i", "--user", "root", NOVA_COMPUTE.name)

Hosts = dict[str, Host]
State = Mapping[str, str]
Answers = Callable[..., list[str]]
seen: list[str] = []


def state(host: Host) -> State:
    """Return all that a host is; where Nova is in a container, all that this one is as well."""
    listed = dict(whole.take(host))
    if host.name == KOLLA:
        inside = whole.take_files(host, IN_NOVA)
        listed.update({f"in {NOVA_COMPUTE.name}: {name}": text for name, text in inside.items()})
        shown = "{{.Id}} {{.Image}} {{json .Config}} {{json .HostConfig}}"
        for name in (NOVA_COMPUTE.name, CRON.name):
            inspected = host.run(["docker", "inspect", "--format", shown, name])
            listed[f"container {name}"] = inspected.stdout.strip()
    return {without_resolver_port(name): text for name, text in listed.items()}


def without_resolver_port(name: str) -> str:
    """Return the name of a filter without the ports of the lab's resolver, else as it is."""
    return RESOLVER_PORT.sub("PORT", name) if RESOLVER in name else name


def started(host: Host, container: str) -> str:
    """Return which container that is, and when it was started; empty while no engine answers."""
    shown = "{{.Id}} {{.State.StartedAt}}"
    argv = ["docker", "inspect", "--format", shown, container]
    return host.run(argv, check=False).stdout.strip()


def state_of(cloud: Connection, server: Server) -> tuple[str, int, str | None]:
    """Return a server's status, power state and task, as Nova tells them now."""
    now = cloud.compute.get_server(server.id)
    return now.status, now.power_state, now.task_state


def kill_nova_compute(host: Host) -> None:
    """Kill all of nova-compute's container, as the kernel does when memory is short."""
    host.run(["docker", "kill", NOVA_COMPUTE.name])


@pytest.fixture(scope="module")
def reports_anew(cloud: Connection, eventually: Any) -> Callable[[], None]:
    """A function that waits until nova-compute of the host has reported since it was called."""

    def reported() -> str:
        services = cloud.compute.services(binary="nova-compute", host=KOLLA)
        service = next(iter(services))
        return str(service.updated_at) if service.state == "up" else ""

    def wait() -> None:
        last = reported()
        now = eventually(reported, lambda now: now not in ("", last), timeout_s=TIMEOUT_S)
        assert now not in ("", last), f"nova-compute of {KOLLA} has not reported since {last}"

    return wait


@pytest.fixture(scope="module")
def kolla(
    lab: Hosts,
    lab_settings: LabSettings,
    docker_hosts: Any,
    run_workflow: Any,
    reports_anew: Callable[[], None],
) -> Host:
    """The host, whose nova-compute runs in a container, in a cloud without Docker hypervisors."""
    if docker_hosts():
        undone = run_workflow("undeploy", {"hosts": docker_hosts(), "remove_images": True})
        assert undone.state == SUCCESS, undone.message
    host = lab[KOLLA]
    if not kolla_host.is_made(host):
        kolla_host.make(host, provision.controller_cloud(lab[lab_settings.controller.name]))
        # What comes with a boot is there before anything is listed.
        cut_power(host)
        reports_anew()
    return host


@pytest.fixture(scope="module")
def before(kolla: Host, lab: Hosts) -> Mapping[str, State]:
    """All that the hosts were before the first deploy."""
    return {name: state(lab[name]) for name in ("controller", *HOSTS)}


@pytest.fixture(scope="module")
def converted(before: Mapping[str, State], kolla: Host, run_workflow: Any) -> listing.Listing:
    """A cloud in which the host is a Docker hypervisor, and what was listed of it before."""
    listed, cron = listing.take(kolla), started(kolla, CRON.name)
    run = run_workflow("deploy", INPUTS)
    assert run.state == SUCCESS, run.message
    assert started(kolla, CRON.name) == cron
    return listed


def test_it_becomes_a_docker_hypervisor_and_its_engine_and_other_containers_go_on(
    converted: listing.Listing, kolla: Host, docker_hosts: Any, reports_anew: Callable[[], None]
) -> None:
    reports_anew()
    assert docker_hosts() == sorted(HOSTS)
    assert listing.restarted(converted, listing.take(kolla)) == [NOVA_COMPUTE.unit]
    seen.append("converted with its engine and another container left running")


def test_a_second_deploy_changes_and_restarts_nothing(
    converted: listing.Listing, lab: Hosts, kolla: Host, run_workflow: Any
) -> None:
    hosts = {name: lab[name] for name in HOSTS}
    listed, running = listing.take_all(hosts), containers(kolla)
    run = run_workflow("deploy", INPUTS)

    assert run.state == SUCCESS, run.message
    assert run.report.totals["changed"] == 0
    assert listing.touched(listed, listing.take_all(hosts)) == {}
    assert containers(kolla) == running
    seen.append("nothing changed by a second deploy")


@pytest.fixture(scope="module")
def pair(converted: listing.Listing, cloud: Connection) -> Iterator[tuple[Server, Server]]:
    """A server on another host, and one on this that asks it for ever."""
    with asking.pair(cloud, OTHER, KOLLA) as servers:
        yield servers


@pytest.fixture(scope="module")
def answers(pair: tuple[Server, Server], cloud: Connection, eventually: Any) -> Answers:
    """A function that waits until a server on this host was answered thrice in a row.

    :return: of the function: all that it has said since, word by word
    """

    def said() -> list[str]:
        return str(cloud.compute.get_server_console_output(pair[1])["output"]).split()

    def since(heard: int = 0) -> list[str]:
        words: list[str] = eventually(
            lambda: said()[heard:], lambda now: now[-3:] == THRICE, timeout_s=TIMEOUT_S
        )
        return words

    return since


def test_a_container_on_it_pings_one_on_another_host(answers: Answers) -> None:
    assert answers()[-3:] == THRICE
    seen.append("a container on it pings one on another host")


def test_what_kolla_ansible_writes_anew_is_mended_under_its_instances(
    pair: tuple[Server, Server],
    answers: Answers,
    kolla: Host,
    cloud: Connection,
    lab: Hosts,
    lab_settings: LabSettings,
    run_workflow: Any,
    docker_hosts: Any,
    reports_anew: Callable[[], None],
    eventually: Any,
) -> None:
    heard, instance, cron = answers(), containers(kolla, pair[1].id), started(kolla, CRON.name)
    assert instance
    kolla_host.reconfigure(kolla, provision.controller_cloud(lab[lab_settings.controller.name]))
    told = run_workflow("verify", INPUTS)
    assert told.report.state == "drift", told.message
    states = {row.host: (row.state, row.step) for row in told.report.rows}
    assert states[KOLLA] == ("planned", "configure_compute"), states
    assert states[OTHER] == ("unchanged", ""), states
    # With its next start the container loses what is no longer named.
    kolla.run(["systemctl", "restart", NOVA_COMPUTE.unit])
    reports_anew()
    assert eventually(docker_hosts, lambda now: now == [OTHER]) == [OTHER]
    assert containers(kolla, pair[1].id) == instance

    run = run_workflow("deploy", INPUTS)

    assert run.state == SUCCESS, run.message
    reports_anew()
    assert docker_hosts() == sorted(HOSTS)
    assert containers(kolla, pair[1].id) == instance
    assert started(kolla, CRON.name) == cron
    since = answers(len(heard))
    assert "silent" not in since, since
    assert eventually(lambda: state_of(cloud, pair[1]), lambda now: now == RUNNING) == RUNNING
    seen.append("a reconfigure told, and mended under an instance that ran on and was answered")


@pytest.mark.parametrize(
    ("crash", "interrupts"),
    [(kill_nova_compute, False), (cut_power, True)],
    ids=["nova-compute", "power"],
)
def test_its_instances_are_whole_after_a_crash(
    crash: Callable[[Host], None],
    interrupts: bool,
    pair: tuple[Server, Server],
    answers: Answers,
    kolla: Host,
    cloud: Connection,
    reports_anew: Callable[[], None],
    eventually: Any,
) -> None:
    heard = answers()
    assert heard[-3:] == THRICE
    nova, ran = started(kolla, NOVA_COMPUTE.name), containers(kolla).items()

    crash(kolla)

    assert eventually(
        lambda: started(kolla, NOVA_COMPUTE.name),
        lambda now: now not in ("", nova),
        timeout_s=TIMEOUT_S,
    )
    reports_anew()
    since = answers(len(heard))
    assert since[-3:] == THRICE, since
    if not interrupts:
        assert "silent" not in since, since
        assert {name for name, _ in ran - containers(kolla).items()} == {nova.split()[0]}
    assert state_of(cloud, pair[1]) == RUNNING
    seen.append(f"an instance was whole after {crash.__name__}")


def test_undeploy_is_refused_and_changes_nothing_while_it_has_instances(
    pair: tuple[Server, Server],
    answers: Answers,
    kolla: Host,
    lab: Hosts,
    run_workflow: Any,
    docker_hosts: Any,
) -> None:
    heard, hosts = answers(), {name: lab[name] for name in ("controller", *HOSTS)}
    listed, running = listing.take_all(hosts), containers(kolla)

    run = run_workflow("undeploy", {"hosts": [KOLLA], "remove_images": True})
    argv = ["python3", "-I", PACKAGE, "configure_compute"]
    by_hand = {"mode": "undo", "timeout_s": "600", "run_id": "by-hand"}
    done = kolla.run(argv, env=by_hand, check=False)

    assert run.state != SUCCESS
    assert f"instances run on {KOLLA} (1)" in run.message, run.message
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["deploy_result"] != "ok", told
    assert "live on this host as containers" in done.stderr, done.stderr
    assert listing.touched(listed, listing.take_all(hosts)) == {}
    assert containers(kolla) == running
    assert docker_hosts() == sorted(HOSTS)
    since = answers(len(heard))
    assert "silent" not in since, since
    seen.append("an undeploy refused beside an instance, and nothing changed by it")


def test_undeploy_gives_it_back_exactly(
    before: Mapping[str, State],
    converted: listing.Listing,
    lab: Hosts,
    cloud: Connection,
    kolla: Host,
    run_workflow: Any,
    docker_hosts: Any,
    reports_anew: Callable[[], None],
) -> None:
    for server in cloud.compute.servers(all_projects=True):
        cloud.compute.delete_server(server)
        cloud.compute.wait_for_delete(server, interval=0.5, wait=TIMEOUT_S)
    cron = started(kolla, CRON.name)
    run = run_workflow("undeploy", {**INPUTS, "remove_images": True}, 1200)

    assert run.state == SUCCESS, run.message
    assert docker_hosts() == []
    reports_anew()
    assert started(kolla, CRON.name) == cron
    for name in before:
        differences = whole.differences(before[name], state(lab[name]))
        print(f"{name}: {len(differences)} differences {differences[:20]}")
        assert differences == [], name
    seen.append("undone exactly")


def test_the_figures(before: Mapping[str, State]) -> None:
    compared = sum(map(len, before.values()))
    print(
        f"figures: {len(seen)} of 8: {', '.join(seen)}; {compared} files, units, packages, groups,"
        " users, settings and filters compared, 0 differences"
    )
    assert len(seen) == 8
