# SPDX-License-Identifier: Apache-2.0
"""The operator's commands on the whole cloud: what they print, and how they end."""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from openstack.connection import Connection

from lab.client.connection import OPENRC, parse_openrc
from lab.hosts.access import Host
from lab.settings import LabSettings
from lab.stage.demo import FLAVOR, NETWORK
from tests.lab.proofs.transcripts import Said, Transcripts

pytestmark = pytest.mark.proof

FIRST, SECOND = HOSTS = ("compute-docker-1", "compute-docker-2")
# A host that no run of this proof is about.
OTHER, POOL = "compute-3", "computes"
DOCKER, SERVER = ("openstack", "docker"), ("openstack", "server")
CHOSEN = ("--hosts", ",".join(HOSTS))
DONE, FAILED, REFUSED, DRIFT, STOPPED, TIMED_OUT, INTERRUPTED = 0, 1, 2, 3, 4, 124, 130
# What an administrator has at a workstation to enrol hosts, by the names that are typed here.
KEY, SSH, WHEELS = "message.pub", "ssh_config", "wheels"
AGENT = ("--ssh-config", SSH, "--wheels", WHEELS, "--operator-key", KEY, "--polling-interval", "2")
STACK = {
    "heat_template_version": "2018-08-31",
    "resources": {
        "host": {
            "type": "OS::Heat::DeployedServer",
            "properties": {"name": OTHER, "software_config_transport": "POLL_SERVER_HEAT"},
        }
    },
}
DRIVERS = "/usr/local/lib/novadocker/wheels/driver"
TURN_BAD = f"file=$(readlink -f $(echo {DRIVERS}/*.whl)); cp -a $file /run/kept; printf x >> $file"
TURN_GOOD = f"file=$(readlink -f $(echo {DRIVERS}/*.whl)); cp -a /run/kept $file; rm /run/kept"
# Which test keeps what it types and sees on which page.
PAGES = {
    "test_hosts_are_enrolled_from_a_workstation": "enrol",
    "test_lists_before_anything_was_done": "lists",
    "test_hosts_are_checked_before_they_are_planned": "precheck",
    "test_a_refused_run_ends_with_a_code_of_its_own": "refused",
    "test_a_stopped_run_ends_with_a_code_of_its_own": "stopped",
    "test_a_failed_run_ends_with_a_code_of_its_own": "failed",
    "test_a_plan_is_deployed_on_a_terminal": "deploy",
    "test_a_run_is_read_afterwards": "read",
    "test_images_are_preloaded": "images",
    "test_a_container_answers": "answers",
    "test_who_waits_no_longer_ends_no_run": "left_alone",
    "test_a_drift_has_a_code_of_its_own": "drift",
    "test_a_run_that_waits_is_approved": "approved",
    "test_nothing_is_left_to_recover": "recover",
    "test_hosts_are_given_back": "undeploy",
}
codes: dict[str, int] = {}


@pytest.fixture(scope="module")
def shell(
    lab: dict[str, Host],
    lab_settings: LabSettings,
    bare: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Transcripts:
    """A workstation with the administrator's credentials, beside a cloud without Docker."""
    place = tmp_path_factory.mktemp("workstation")
    folder = os.environ.get("NOVADOCKER_TRANSCRIPTS")
    (place / KEY).write_text(lab["controller"].read("/etc/novadocker/message.pub"))
    shutil.copy(lab_settings.ssh_config, place / SSH)
    (place / WHEELS).symlink_to(lab_settings.wheelhouse)
    told = parse_openrc(lab["controller"].read(OPENRC))
    kept = pathlib.Path(folder) if folder else tmp_path_factory.mktemp("transcripts")
    return Transcripts(kept.absolute(), place, told)


@pytest.fixture(autouse=True)
def page(shell: Transcripts, request: pytest.FixtureRequest) -> None:
    """Begin the page on which a test keeps what it types and sees."""
    if request.node.name in PAGES:
        shell.begin(PAGES[request.node.name])


def ended(said: Said, how: str, code: int) -> Said:
    """Require an exit code, and count it."""
    assert said.code == code, said.text
    codes[how] = said.code
    return said


@pytest.fixture
def edge(cloud: Connection) -> Iterator[str]:
    """A stack with a deployed server that somebody made, and no command."""
    name = "edge"
    cloud.orchestration.create_stack(name=name, template=STACK)
    yield name
    for stack in (name, f"novadocker-keys-{name}"):
        if there := cloud.orchestration.find_stack(stack):
            cloud.orchestration.delete_stack(there)
            cloud.orchestration.wait_for_delete(there, wait=120)


def test_hosts_are_enrolled_from_a_workstation(shell: Transcripts, edge: str) -> None:
    host, ssh = (*DOCKER, "host"), ("--ssh-config", SSH)
    pools = f"pools:\n  {POOL}: {{roles: [compute], hosts: [{OTHER}]}}\n"
    (shell.place / "pools.yaml").write_text(pools)
    said = ended(shell.type(*host, "remove", *ssh, OTHER), "host remove", DONE)
    assert f"{OTHER}: agent removed" in said.text
    try:
        said = ended(shell.type(*host, "attach", *AGENT, edge), "host attach", DONE)
        assert f"{OTHER}: agent installed" in said.text
        ended(shell.type(*host, "attach", *AGENT, "nowhere"), "attach to no stack", REFUSED)
    finally:
        said = shell.type(*host, "add", *AGENT, "-f", "pools.yaml")
    ended(said, "host add -f", DONE)
    assert "every agent has answered" in said.text
    assert f"not in pools.yaml: {FIRST}, {SECOND}" in said.text
    said = ended(shell.type(*host, "add", *AGENT, "--pool", POOL, OTHER), "host add", DONE)
    assert f"{OTHER}: agent as it was" in said.text
    update = (*host, "update", *ssh, "--wheels", WHEELS, OTHER)
    ended(shell.type(*update), "host update", DONE)
    listed = ended(shell.type(*host, "list", "--pool", POOL), "host list --pool", DONE)
    assert OTHER in listed.text


def test_lists_before_anything_was_done(shell: Transcripts) -> None:
    hosts = ended(shell.type(*DOCKER, "host", "list"), "host list", DONE)
    assert all(host in hosts.text for host in HOSTS)
    shown = ended(shell.type(*DOCKER, "host", "show", FIRST), "host show", DONE)
    assert FIRST in shown.text
    ended(shell.type(*DOCKER, "image", "list"), "image list", DONE)
    page = ended(shell.type(*DOCKER, "dashboard"), "dashboard", DONE)
    assert "/admin/docker_hosts/" in page.text
    ended(shell.type(*DOCKER, "host", "show", "nowhere"), "no such host", FAILED)


def test_hosts_are_checked_before_they_are_planned(shell: Transcripts) -> None:
    said = ended(shell.type(*DOCKER, "precheck", *CHOSEN, "--wait"), "precheck --wait", DONE)
    assert FIRST in said.text


def test_a_refused_run_ends_with_a_code_of_its_own(shell: Transcripts, docker_hosts: Any) -> None:
    wrong = (*DOCKER, "deploy", "--hosts", "no-such-host", "--wait")
    said = ended(shell.type(*wrong), "deploy of a host that is not there", REFUSED)
    assert "no-such-host" in said.text
    ended(shell.on_a_terminal(*wrong), "the same on a terminal", REFUSED)
    images = (*DOCKER, "image", "preload", "no-such-image:1", *CHOSEN, "--wait")
    ended(shell.type(*images), "preload where there is no Docker host", REFUSED)
    option = ended(
        shell.type(*DOCKER, "deploy", "--max-failed", "many"), "an option that is none", REFUSED
    )
    assert "many" in option.text
    assert docker_hosts() == []


def test_a_stopped_run_ends_with_a_code_of_its_own(
    shell: Transcripts, docker_hosts: Any, await_task: Any
) -> None:
    deploy = (*DOCKER, "deploy", *CHOSEN, "--batch-size", "1", "--description", "canary first")
    begun = ended(shell.type(*deploy), "deploy that nobody waits for", DONE)
    assert await_task(begun.run_id, "stage")
    stop = (*DOCKER, "run", "stop", begun.run_id, "--wait")
    said = ended(shell.type(*stop), "run stop --wait", STOPPED)
    assert "stopped" in said.text
    ended(shell.type(*DOCKER, "run", "watch", begun.run_id), "watch", STOPPED)
    assert SECOND not in docker_hosts()


def test_a_failed_run_ends_with_a_code_of_its_own(
    shell: Transcripts, lab: dict[str, Host], docker_hosts: Any, await_task: Any
) -> None:
    begun = ended(shell.type(*DOCKER, "deploy", "--hosts", FIRST), "deploy of one", DONE)
    # What a plan would see comes after it was made.
    assert await_task(begun.run_id, "convert_controllers")
    lab[FIRST].run(["bash", "-ec", TURN_BAD])
    try:
        said = ended(shell.type(*DOCKER, "run", "watch", begun.run_id), "a failed run", FAILED)
    finally:
        lab[FIRST].run(["bash", "-ec", TURN_GOOD])
    assert "is not the wheel that is meant" in said.text
    logs = (*DOCKER, "run", "logs", begun.run_id, "--host", FIRST)
    assert "FAILED" in ended(shell.type(*logs), "run logs --host", DONE).text
    assert docker_hosts() == []


@pytest.fixture(scope="module")
def runs_typed() -> dict[str, str]:
    """The runs that tests have made, by what they are for those after them."""
    return {}


def test_a_plan_is_deployed_on_a_terminal(
    shell: Transcripts, docker_hosts: Any, runs_typed: dict[str, str]
) -> None:
    plan = ended(shell.type(*DOCKER, "plan", *CHOSEN, "--wait"), "plan --wait", DONE)
    assert all(host in plan.text for host in HOSTS)
    said = ended(
        shell.on_a_terminal(
            *(*DOCKER, "deploy", "--plan", plan.run_id, "--wait"),
            moments=(lambda screen: SECOND in screen and "Switch the driver" in screen,),
        ),
        "deploy --wait on a terminal",
        DONE,
    )
    assert docker_hosts() == sorted(HOSTS)
    runs_typed["deploy"] = said.run_id


def test_a_run_is_read_afterwards(
    shell: Transcripts, runs_typed: dict[str, str], docker_hosts: Any
) -> None:
    deployed = runs_typed["deploy"]
    ended(shell.type(*DOCKER, "run", "list", "--limit", "3"), "run list", DONE)
    for report in ("report.json", "report.xml", "report.html"):
        show = (*DOCKER, "run", "show", deployed, "--report", report)
        shown = ended(shell.type(*show), "run show --report", DONE)
        assert (shell.place / report).stat().st_size > 0
        assert all(host in shown.text for host in HOSTS)
    logs = ended(shell.type(*DOCKER, "run", "logs", deployed), "run logs", DONE)
    assert f"{FIRST}" in logs.text
    nowhere = (*DOCKER, "run", "logs", deployed, "--host", "nowhere")
    ended(shell.type(*nowhere), "run logs of a host that was none of it", FAILED)
    ended(shell.type(*DOCKER, "host", "list", "--docker"), "host list --docker", DONE)


def test_images_are_preloaded(shell: Transcripts, docker_hosts: Any) -> None:
    assert docker_hosts() == sorted(HOSTS)
    preload = (*DOCKER, "image", "preload", *CHOSEN)
    said = ended(shell.type(*preload, "--wait", "busybox"), "image preload --wait", DONE)
    assert "busybox" in said.text
    said = ended(
        shell.type(*preload, "--wait", "no-such-image:1"), "an image that is nowhere", REFUSED
    )
    assert "no-such-image" in said.text
    # It is in Glance by then, and no host is asked whether it has it.
    publish = (*DOCKER, "image", "publish", "--wait")
    said = ended(shell.type(*publish, "busybox"), "image publish --wait", DONE)
    assert "1 image in Glance, 0 published by this run" in said.text
    ended(shell.type(*DOCKER, "image", "list"), "image list", DONE)


def test_a_container_answers(shell: Transcripts, cloud: Connection, eventually: Any) -> None:
    create = (*SERVER, "create", "--image", "busybox", "--flavor", FLAVOR, "--network", NETWORK)
    shown = ("-f", "yaml", "-c", "status", "-c", "addresses")
    listen = "docker:command=httpd -f -v -p 80 -h /etc"
    web = (*create, "--property", listen, "--wait", *shown, "web-1")
    try:
        ended(shell.type(*web), "server create", DONE)
        (port,) = cloud.compute.find_server("web-1", ignore_missing=False).addresses[NETWORK]
        ask = f"docker:command=wget -q -O - http://{port['addr']}/hostname"
        ended(shell.type(*create, "--property", ask, *shown, "web-2"), "server create", DONE)
        asking = cloud.compute.find_server("web-2", ignore_missing=False)
        assert eventually(
            lambda: cloud.compute.get_server(asking).status, lambda status: status == "SHUTOFF"
        )
        log = ended(shell.type("openstack", "console", "log", "show", "web-2"), "its log", DONE)
        assert log.text.splitlines()[-1] == "web-1"
        ended(shell.type(*SERVER, "list"), "server list", DONE)
    finally:
        shell.type(*SERVER, "delete", "--wait", "web-1", "web-2")


def test_who_waits_no_longer_ends_no_run(shell: Transcripts) -> None:
    verify = (*DOCKER, "verify", *CHOSEN, "--wait")
    left = ended(shell.type(*verify, "--timeout", "1"), "--timeout", TIMED_OUT)
    ended(shell.type(*DOCKER, "run", "watch", left.run_id), "run watch", DONE)
    left = ended(
        shell.on_a_terminal(
            *verify,
            moments=(lambda screen: "verify" in screen and "running" in screen,),
            interrupt=True,
        ),
        "Ctrl-C",
        INTERRUPTED,
    )
    assert "The run goes on." in left.text
    watch = (*DOCKER, "run", "watch", left.run_id)
    ended(shell.on_a_terminal(*watch), "run watch on a terminal", DONE)


def test_a_drift_has_a_code_of_its_own(shell: Transcripts, lab: dict[str, Host]) -> None:
    verify = (*DOCKER, "verify", *CHOSEN, "--wait")
    ended(shell.type(*verify), "verify --wait", DONE)
    lab[FIRST].run(["gpasswd", "--delete", "nova", "docker"])
    try:
        said = ended(shell.type(*verify), "verify of a host that has drifted", DRIFT)
    finally:
        lab[FIRST].run(["gpasswd", "--add", "nova", "docker"])
    assert FIRST in said.text


def test_a_run_that_waits_is_approved(shell: Transcripts, runs: Any, eventually: Any) -> None:
    begin = (*DOCKER, "undeploy", *CHOSEN, "--batch-size", "1", "--approval", "canary")
    begun = ended(shell.type(*begin), "undeploy that waits for an approval", DONE)

    def waits() -> bool:
        return runs.waiting(runs.get(begun.run_id)).hold is not None

    assert eventually(waits, bool, timeout_s=300)
    ended(shell.type(*DOCKER, "run", "list", "--limit", "1"), "run list", DONE)
    approve = (*DOCKER, "run", "approve", begun.run_id, "--wait")
    ended(shell.type(*approve), "run approve --wait", DONE)


def test_nothing_is_left_to_recover(shell: Transcripts) -> None:
    ended(shell.type(*DOCKER, "recover", "--wait"), "recover --wait", DONE)
    said = ended(
        shell.type(*DOCKER, "upgrade", "--wait"), "upgrade where there is no Docker host", REFUSED
    )
    assert "Refused" in said.text


def test_hosts_are_given_back(shell: Transcripts, docker_hosts: Any) -> None:
    undeploy = (*DOCKER, "undeploy", "--remove-images", "--wait")
    ended(shell.type(*undeploy), "undeploy --wait", DONE)
    assert docker_hosts() == []


def test_figures(shell: Transcripts) -> None:
    print(
        f"\nfigures: {len(shell.pages)} transcripts of {len(codes)} commands,"
        f" exit codes {', '.join(map(str, sorted(set(codes.values()))))}"
    )
    assert set(codes.values()) == {DONE, FAILED, REFUSED, DRIFT, STOPPED, TIMED_OUT, INTERRUPTED}
