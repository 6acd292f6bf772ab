# SPDX-License-Identifier: Apache-2.0
"""A host that was taken over, and a reader of the stacks' project, get nothing of what they try."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from openstack.connection import Connection

from lab.errors import CommandError
from lab.hosts import listing
from lab.hosts.access import Host
from novadocker_client import hosts as novadocker_hosts
from novadocker_client.connection import Cloud
from novadocker_client.runs import Run, Runs
from tests.lab.proofs.hostility import (
    HUGE,
    Attack,
    Mailbox,
    agents_heat,
    inputs_of,
    reader_of,
)

pytestmark = pytest.mark.proof

HONEST, TAKEN = "compute-docker-2", "compute-3"
HOOK = "/opt/heat-agent/hooks/novadocker"
OWNED = "/tmp/owned"
# How a token of Keystone's looks: lines of keys and certificates are not so long.
TOKEN = "gAAAA[A-Za-z0-9_-]{100}"
OPERATOR_CONF = "/etc/nova/nova-compute.conf.d/99-taken.conf"
AGENT = "os-collect-config.service"
OUTPUTS = ("deploy_result", "changed", "report", "push_id", "signature", "deploy_stderr")
# Runs what only looks as it should, and tells of what would change the host what it likes.
LYING_HOOK = """#!/usr/bin/env python3
import json, subprocess, sys
text = sys.stdin.read()
message = json.loads(json.loads(text)["config"])
if message.get("mode") != "apply":
    sys.exit(subprocess.run(["{hook}.honest"], input=text, text=True).returncode)
told = {{"ok": True, "changed": True, "facts": {{}}}}
steps = [{{"step": step["name"], **told}} for step in message["steps"]]
report = json.dumps({{"steps": steps, "reason": "", "log": "/var/log/x"}})
report = {report}
print(json.dumps({{"deploy_result": "ok", "changed": "true", "report": report,
                  "deploy_stdout": "", "deploy_stderr": "", "deploy_status_code": 0}}))
"""

Hosts = dict[str, Host]
refused: list[str] = []


@pytest.fixture(scope="module")
def reader(cloud: Connection) -> Cloud:
    """The cloud as a reader of the stacks' project sees it."""
    return Cloud(reader_of(cloud))


@pytest.fixture(scope="module")
def idle(cloud: Connection, run_workflow: Any) -> Mailbox:
    """The mailbox of a host of which no run wants anything, with a signed message in it."""
    mailbox = Mailbox(Cloud(cloud), HONEST)
    # Hosts that no run has asked yet have the greeting of their enrolment, which anybody may send.
    greeted = [
        host
        for host in (HONEST, TAKEN)
        if '"steps":[{' not in latest_of(Mailbox(Cloud(cloud), host))["config"]
    ]
    if greeted:
        planned = run_workflow("plan", {"hosts": greeted})
        assert planned.state == "SUCCESS", planned.message
    return mailbox


def latest_of(mailbox: Mailbox) -> dict[str, Any]:
    """Return the config that lies in a mailbox."""
    return mailbox.config(mailbox.deployment()["config_id"])


def row_of(run: Run, host: str) -> Any:
    """Return what a run's report says of a host."""
    return next(row for row in run.report.rows if row.host == host)


def kind_of(cloud: Connection, host: str) -> str:
    """Return a host's hypervisor type."""
    return novadocker_hosts.get(Cloud(cloud), host).hypervisor_type


# -- messages: who may tell a host what to do ------------------------------------------------------


def altered(text: str) -> str:
    """Return a message with one byte changed."""
    at = text.index('"timeout_s":') + len('"timeout_s":')
    return text[:at] + str((int(text[at]) + 1) % 9 + 1) + text[at + 1 :]


MESSAGES: dict[str, Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]] = {
    "a message with one byte changed": lambda own, other: {
        **own,
        "config": altered(own["config"]),
    },
    "a message without a signature": lambda own, other: {
        **own,
        "inputs": [item for item in own["inputs"] if item["name"] != "signature"],
    },
    "another host's message": lambda own, other: {
        **own,
        "config": other["config"],
        "inputs": [
            *(item for item in own["inputs"] if item["name"] != "signature"),
            *(item for item in other["inputs"] if item["name"] == "signature"),
        ],
    },
    "a program of the group script": lambda own, other: {
        **own,
        "group": "script",
        "config": f"#!/bin/sh\ntouch {OWNED}\n",
    },
    "a message of 900 KB": lambda own, other: {
        **own,
        "config": own["config"][:-1] + f',"more":"{"A" * 900_000}"}}',
    },
}


@pytest.mark.parametrize("kind", MESSAGES)
def test_a_message_that_nobody_signed_for_this_host_is_refused(
    kind: str, idle: Mailbox, cloud: Connection, lab: Hosts, eventually: Any
) -> None:
    host = lab[HONEST]
    before, logs = listing.take(host), steps_run(host)
    own, theirs = latest_of(idle), latest_of(Mailbox(Cloud(cloud), TAKEN))
    told = answer_to(idle, MESSAGES[kind](own, theirs), eventually)
    # The mailbox is as the run has left it: the next kind is made of that message.
    restore(idle, own, eventually)

    print(f"{kind}: {told.get('deploy_stderr') or told.get('report')}"[:300])
    assert told.get("deploy_result") != "ok", told
    assert listing.differences(before, listing.take(host)) == []
    assert steps_run(host) == logs
    assert host.run(["test", "-e", OWNED], check=False).returncode == 1
    refused.append(kind)


def test_a_message_that_was_run_is_not_run_again(
    idle: Mailbox, lab: Hosts, eventually: Any
) -> None:
    own, logs = latest_of(idle), steps_run(lab[HONEST])
    told = answer_to(idle, own, eventually)
    assert json.loads(told["report"])["steps"], told
    assert steps_run(lab[HONEST]) == logs
    refused.append("a message that was run already")


def steps_run(host: Host) -> str:
    """Return the logs of the steps that a host has run."""
    return host.run(["ls", "/var/log/novadocker"]).stdout


def answer_to(mailbox: Mailbox, config: dict[str, Any], eventually: Any) -> dict[str, Any]:
    """Return what a host answers to a config that somebody puts into its mailbox."""
    fields = ("name", "group", "config", "inputs", "outputs", "options")
    made = mailbox.heat.software_configs.create(**{name: config.get(name) for name in fields})
    mailbox.heat.software_deployments.update(
        mailbox.deployment_id,
        config_id=made.id,
        action="UPDATE",
        status="IN_PROGRESS",
        status_reason="put there by hand",
        # Heat keeps the values of before where it is given none.
        output_values=dict.fromkeys(OUTPUTS, ""),
    )
    answered = eventually(
        mailbox.deployment, lambda now: now["status"] != "IN_PROGRESS", timeout_s=60
    )
    assert answered["status"] != "IN_PROGRESS", "the host did not answer"
    return dict(answered.get("output_values") or {})


def restore(mailbox: Mailbox, config: dict[str, Any], eventually: Any) -> None:
    """Put a run's message back into a mailbox."""
    answer_to(mailbox, config, eventually)


# -- machines that are others than they say --------------------------------------------------------


def test_another_machine_is_not_enrolled_behind_a_name(lab: Hosts, operator: Any) -> None:
    before = listing.take(lab[TAKEN])
    with pytest.raises(CommandError) as refusal:
        operator(
            *("novadocker-enroll", "add", "--pool", "wrong", "--role", "compute"),
            f"compute-docker-9={lab[TAKEN].address}",
            timeout_s=300,
        )
    assert TAKEN in refusal.value.output, refusal.value.output
    assert "compute-docker-9" not in operator("novadocker-enroll", "list")
    assert listing.differences(before, listing.take(lab[TAKEN])) == []
    refused.append("an address that is another host's")


def test_a_host_that_calls_itself_another_is_refused(
    lab: Hosts, run_workflow: Any, cloud: Connection
) -> None:
    host = lab[TAKEN]
    host.put(OPERATOR_CONF, f"[DEFAULT]\nhost = {HONEST}\n")
    try:
        run = run_workflow("deploy", {"hosts": [TAKEN]})
    finally:
        host.run(["rm", OPERATOR_CONF])
    assert (run.state, run.report.state) == ("ERROR", "refused"), run.message
    assert TAKEN in run.message and HONEST in run.message
    assert kind_of(cloud, HONEST) != "docker"
    refused.append("a host that calls itself another")


def test_a_machine_with_a_hosts_stolen_identity_is_refused(
    lab: Hosts, run_workflow: Any, cloud: Connection
) -> None:
    with impostor(lab[HONEST], lab[TAKEN]):
        run = run_workflow("deploy", {"hosts": [HONEST]})
    assert (run.state, run.report.state) == ("ERROR", "refused"), run.message
    assert TAKEN in run.message, run.message
    assert "docker" not in {kind_of(cloud, HONEST), kind_of(cloud, TAKEN)}
    refused.append("a machine with the keys of another")


@contextmanager
def impostor(victim: Host, thief: Host) -> Iterator[None]:
    """A context in which one machine has the agent's identity of another, which is silent."""
    stolen = ("/etc/os-collect-config.conf", "/etc/novadocker")
    save = ["tar", "-c", "-f", "/root/identity.tar", "-C", "/", *(x.lstrip("/") for x in stolen)]
    victim.run(["systemctl", "stop", AGENT])
    thief.run(["systemctl", "stop", AGENT])
    thief.run(save)
    try:
        for name in ("host.key", "host.name", "operator.pub", "unsigned"):
            thief.put(f"/etc/novadocker/{name}", victim.read(f"/etc/novadocker/{name}"), 0o600)
        thief.put(stolen[0], victim.read(stolen[0]), 0o600)
        thief.run(["systemctl", "start", AGENT])
        yield
    finally:
        thief.run(["systemctl", "stop", AGENT], check=False)
        thief.run(["tar", "-x", "-f", "/root/identity.tar", "-C", "/"])
        thief.run(["rm", "/root/identity.tar"])
        thief.run(["systemctl", "start", AGENT])
        victim.run(["systemctl", "start", AGENT])


# -- outcomes: who is believed ---------------------------------------------------------------------


@contextmanager
def lying(host: Host, report: str) -> Iterator[None]:
    """A context in which root on a host has the agent tell what was never done.

    :param report: an expression for what it tells
    """
    host.run(["mv", HOOK, f"{HOOK}.honest"])
    host.put(HOOK, LYING_HOOK.format(hook=HOOK, report=report), 0o755)
    try:
        yield
    finally:
        host.run(["mv", f"{HOOK}.honest", HOOK])


@pytest.fixture(scope="module")
def attackers(reader: Cloud, cloud: Connection) -> list[Any]:
    """Heat's clients of the reader, and of root on the host that was taken."""
    taken = Mailbox(Cloud(cloud), TAKEN)
    config = latest_of(taken)
    return [reader.heat, agents_heat(inputs_of(config))]


@pytest.fixture(scope="module")
def cleared(run_workflow: Any, docker_hosts: Any) -> None:
    """A cloud in which neither of the two is a Docker hypervisor."""
    if {HONEST, TAKEN} & {*docker_hosts()}:
        execution = run_workflow("undeploy", {"hosts": [HONEST, TAKEN], "remove_images": True})
        assert execution.state == "SUCCESS", execution.message


def test_forged_outcomes_are_refused_and_the_run_goes_on(
    cleared: None,
    reader: Cloud,
    attackers: list[Any],
    lab: Hosts,
    cloud: Connection,
    runs: Runs,
) -> None:
    published = cloud.image.find_image("busybox")
    if published:
        # It is published anew, by a controller that is given a token for it.
        cloud.image.delete_image(published)
    admin = Cloud(cloud)
    attacked = [Mailbox(reader, host, admin) for host in ("controller", HONEST)]
    attack = Attack(attacked, attackers)
    with lying(lab[TAKEN], "report"), attack.going_on():
        run = runs.start("deploy", {"hosts": [HONEST, TAKEN], "batch_size": 2, "max_failed": 2})
        ended = runs.wait(run.id, timeout_s=1500)

    print(f"forged outcomes: {dict(attack.tried)}, turned away: {dict(attack.turned_away)}")
    print(f"{ended.state}: {ended.message}")
    assert row_of(ended, HONEST).state == "ok", ended.message
    assert row_of(ended, "controller").state in ("ok", "unchanged"), ended.message
    assert kind_of(cloud, HONEST) == "docker"
    assert row_of(ended, TAKEN).state == "failed", ended.message
    assert kind_of(cloud, TAKEN) != "docker"
    assert all(image["ok"] for image in ended.report.images), ended.report.images
    kinds = {*attack.tried}
    assert {"forged, unsigned", "forged, with a key of its own", "another host's"} <= kinds
    refused.extend(f"{count} outcomes {kind}" for kind, count in sorted(attack.tried.items()))
    refused.append("a host that tells what it never did")
    assert_no_token(attack, lab)


def assert_no_token(attack: Attack, lab: Hosts) -> None:
    """Require that neither the attacker nor a host was shown anybody's token."""
    assert [name for name, text in attack.read.items() if re.search(TOKEN, text)] == []
    sealed = [
        token
        for text in attack.read.values()
        for token in re.findall(r'sealed_token\\*": ?\\*"([^"\\]+)', text)
    ]
    assert sealed, "no sealed token was ever seen: the attack has missed its moment"
    assert not any(map(attack.opens, sealed))
    search = (
        f"grep -rlsE '{TOKEN}' /var/lib/heat-config /var/lib/novadocker /var/log/novadocker"
        " /run/novadocker* /tmp /var/tmp /etc;"
        f" journalctl -q -u os-collect-config -g '{TOKEN}' | head -3"
    )
    for host in lab.values():
        files = host.run(["sh", "-c", search], check=False, timeout_s=300).stdout
        assert files == "", f"{host.name}: {files}"
    refused.append(f"{len(sealed)} sealed tokens stayed closed")


def test_a_huge_report_ends_its_own_host_and_the_next_run_mends_it(
    lab: Hosts, cloud: Connection, run_workflow: Any, runs: Runs
) -> None:
    run = runs.start("deploy", {"hosts": [HONEST, TAKEN], "batch_size": 2, "max_failed": 2})
    with lying(lab[TAKEN], f'"A" * {HUGE}'):
        ended = runs.wait(run.id, timeout_s=1500)
    print(f"a report of 1 MB: {ended.state}: {ended.message}")
    assert row_of(ended, HONEST).state in ("ok", "unchanged"), ended.message
    assert kind_of(cloud, HONEST) == "docker"
    assert row_of(ended, TAKEN).state == "failed", ended.message
    assert kind_of(cloud, TAKEN) != "docker"
    refused.append("a report of 1 MB that its host has signed")

    undone = run_workflow("undeploy", {"hosts": [HONEST, TAKEN]})
    assert undone.state == "SUCCESS", undone.message
    assert "docker" not in {kind_of(cloud, HONEST), kind_of(cloud, TAKEN)}
    print(f"figures: {len(refused)} refused: {', '.join(refused)}; nobody's token was seen")
