# SPDX-License-Identifier: Apache-2.0
"""The commands, each as it is called by OpenStackClient."""

from __future__ import annotations

import json
import types
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from novadocker_client import meanings, runs
from novadocker_client.connection import Cloud
from novadocker_client.osc import dashboard, hosts, images
from novadocker_client.osc import runs as commands
from novadocker_client.tests.commands import Ended, ended
from novadocker_client.tests.fake_cloud import SERVICES, FakeCloud

HOSTILE = "[red]broke[/] \x1b[31m<b>"


Execute = Callable[..., Ended]


@pytest.fixture
def execute(fake: FakeCloud, capsys: pytest.CaptureFixture[str]) -> Execute:
    """Run a command on the cloud."""

    def run(command: type[Any], *argv: str, cloud: Cloud | None = None) -> Ended:
        manager = types.SimpleNamespace(novadocker=cloud or fake.cloud())
        return ended(command, argv, manager, capsys)

    return run


def ending(fake: FakeCloud, state: str, told: str, **report: Any) -> None:
    """Have the next run end so, when it is looked at for the second time."""
    looks = []

    def later(method: str, path: str) -> None:
        key = path.removeprefix("/mistral/v2/executions/")
        if method == "GET" and key in fake.executions:
            looks.append(key)
            if len(looks) == 2:
                output = {"message": f"{told}.", "report": {"state": told, **report}}
                fake.executions[key].update(state=state, output=json.dumps(output))

    fake.on_request = later


@pytest.mark.parametrize(
    ("state", "told", "code"),
    [
        ("SUCCESS", "done", 0),
        ("SUCCESS", "unchanged", 0),
        ("SUCCESS", "partial", 1),
        ("ERROR", "failed", 1),
        ("ERROR", "refused", 2),
        ("ERROR", "drift", 3),
        ("CANCELLED", "", 4),
    ],
)
def test_waiting_ends_with_the_exit_code_of_the_outcome(
    fake: FakeCloud, execute: Execute, state: str, told: str, code: int
) -> None:
    ending(fake, state, told)
    assert execute(commands.Deploy, "--wait").code == code


def test_a_plan_that_is_made_is_no_failure(fake: FakeCloud, execute: Execute) -> None:
    ending(fake, "SUCCESS", "planned")
    assert execute(commands.Plan, "--wait").code == 0


def test_a_run_that_is_not_awaited_says_how_it_is_followed(
    fake: FakeCloud, execute: Execute
) -> None:
    ended = execute(commands.Verify, "-f", "json")
    shown = json.loads(ended.out)
    assert (ended.code, shown["workflow"], shown["state"]) == (0, "verify", "running")
    assert f"openstack docker run watch {shown['id']}" in ended.told
    assert f"openstack docker run stop {shown['id']}" in ended.told


def test_inputs_are_those_of_the_options_and_below_them_those_of_the_file(
    fake: FakeCloud, execute: Execute, tmp_path: Path
) -> None:
    path = tmp_path / "inputs.yaml"
    path.write_text("hosts: null\nmatch: fpga\nbatch_size: 3\nimages: []\n")
    execute(
        commands.Deploy,
        *("--from", str(path), "--match", "docker", "--exclude", "c1, c2"),
        *("--docker", '{"debug": true}', "--max-failed", "2"),
    )
    (run,) = fake.executions.values()
    assert json.loads(run["input"]) == {
        "hosts": None,
        "match": "docker",
        "batch_size": 3,
        "images": [],
        "exclude": ["c1", "c2"],
        "docker": {"debug": True},
        "max_failed": 2,
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("hosts: [", "while parsing"),
        ("- c1\n", "has no inputs by name"),
        ("1: 2\n", "has no inputs by name"),
        ("controllers: keep\n", "controllers: deploy takes no such input"),
        ("\x00", "special characters are not allowed"),
    ],
)
def test_a_file_that_is_none_of_inputs_is_refused(
    fake: FakeCloud, execute: Execute, tmp_path: Path, text: str, problem: str
) -> None:
    path = tmp_path / "inputs.yaml"
    path.write_text(text)
    ended = execute(commands.Deploy, "--from", str(path))
    assert (ended.code, fake.executions) == (2, {})
    assert ended.told.startswith("Refused: ")
    assert problem in ended.told


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (("--docker", "["), "it is no JSON"),
        (("--docker", "[]"), "it is no JSON object"),
        (("--drain", "x"), "invalid choice"),
        (("--batch-size", "many"), "invalid int value"),
        (("--max-failed", "many"), "'many' is neither a number nor a percentage"),
    ],
)
def test_an_option_that_does_not_fit_is_refused(
    execute: Execute, argv: tuple[str, ...], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        execute(commands.Deploy, *argv)
    assert problem in capsys.readouterr().err


def test_each_input_is_an_option_with_its_meaning(execute: Execute) -> None:
    for command in (commands.Plan, commands.Deploy, commands.Verify, commands.Undeploy):
        known = command(types.SimpleNamespace(), None)
        # It is wrapped, within words as well.
        told = "".join(known.get_parser("x").format_help().split())
        assert known.get_description() == meanings.WORKFLOWS[command.workflow].meaning
        for name in meanings.WORKFLOWS[command.workflow].inputs:
            assert f"--{name.replace('_', '-')}" in told
            assert "".join(meanings.INPUTS[name].meaning.split()) in told


def test_a_plan_is_deployed_by_its_run(fake: FakeCloud, execute: Execute) -> None:
    digest = "sha256:" + "a" * 64
    plan = fake.add_run(
        "plan",
        "SUCCESS",
        input={"match": "fpga", "drain": "skip"},
        output={"report": {"state": "planned", "plan_digest": digest}},
    )
    execute(commands.Deploy, "--plan", plan, "--max-failed", "1")
    started = list(fake.executions.values())[-1]
    assert json.loads(started["input"]) == {
        "match": "fpga",
        "drain": "skip",
        "plan_digest": digest,
        "max_failed": 1,
    }
    refused = execute(commands.Deploy, "--plan", started["id"])
    assert refused.code == 2
    assert "is a run of deploy" in refused.told


def test_a_table_is_as_wide_as_can_be_read_and_other_formats_have_all(
    fake: FakeCloud, execute: Execute
) -> None:
    message = "c1 failed at install_driver: no package fits, " * 9
    run = fake.add_run("deploy", "ERROR", output={"message": message, "report": {}})
    shown = execute(commands.Show, run)
    assert {len(line) for line in shown.out.splitlines()} == {120}
    assert "".join(message.split()) in "".join(shown.out.replace("|", "").split())
    (told,) = json.loads(execute(commands.List, "-f", "json").out)
    assert told["Message"] == message
    listed = execute(commands.List)
    assert f"| {message[:59]}… |" in listed.out
    assert "no package" not in listed.out.replace(message[:59], "")


@pytest.mark.parametrize(
    ("command", "workflow"), [(commands.Deploy, "deploy"), (commands.Undeploy, "undeploy")]
)
def test_only_what_failed_is_run_again(
    fake: FakeCloud, execute: Execute, command: type[Any], workflow: str
) -> None:
    rows = [
        {"host": "c1", "role": "compute", "state": "failed"},
        {"host": "c2", "role": "compute", "state": "ok"},
    ]
    earlier = fake.add_run(
        workflow,
        "ERROR",
        input={"match": "fpga", "drain": "skip", "max_failed": 0},
        output={"report": {"state": "failed", "rows": rows}},
    )
    again = execute(command, "--failed-of", earlier, "--max-failed", "1")
    assert f"Again, as they failed in {earlier}: c1." in again.told
    started = list(fake.executions.values())[-1]
    assert started["workflow_name"] == f"novadocker.{workflow}"
    assert json.loads(started["input"]) == {"hosts": ["c1"], "drain": "skip", "max_failed": 1}
    refused = execute(command, "--failed-of", earlier, "--hosts", "c2")
    assert (refused.code, len(fake.executions)) == (2, 2)
    assert "failed_of: hosts are given as well" in refused.told


def test_an_upgrade_is_a_deploy_of_the_driver_alone(fake: FakeCloud, execute: Execute) -> None:
    execute(commands.Upgrade, "--max-failed", "1")
    (run,) = fake.executions.values()
    assert run["workflow_name"] == "novadocker.deploy"
    assert json.loads(run["input"]) == {"max_failed": 1, "upgrade": True}
    known = commands.Upgrade(types.SimpleNamespace(), None)
    told = known.get_parser("x").format_help()
    assert "--where" in told
    assert not [name for name in known.otherwise if f"--{name.replace('_', '-')}" in told]


@pytest.mark.parametrize("upgrade", [True, False])
def test_only_the_plan_of_an_upgrade_is_upgraded_by(
    fake: FakeCloud, execute: Execute, upgrade: bool
) -> None:
    digest = "sha256:" + "a" * 64
    told = {"report": {"state": "planned", "plan_digest": digest}}
    plan = fake.add_run("plan", "SUCCESS", input={"upgrade": upgrade}, output=told)
    ended = execute(commands.Upgrade, "--plan", plan)
    assert ended.code == (0 if upgrade else 2)
    assert len(fake.executions) == (2 if upgrade else 1)
    if upgrade:
        started = list(fake.executions.values())[-1]
        assert json.loads(started["input"]) == {"upgrade": True, "plan_digest": digest}
    else:
        assert f"plan: {plan} is no run of an upgrade" in ended.told


def test_a_plan_and_what_failed_are_not_deployed_at_once(fake: FakeCloud, execute: Execute) -> None:
    refused = execute(commands.Deploy, "--plan", "1", "--failed-of", "2")
    assert (refused.code, fake.requests) == (2, [])
    assert "failed_of: a plan is given as well" in refused.told


def test_images_are_preloaded_by_name(fake: FakeCloud, execute: Execute) -> None:
    execute(commands.PreloadImages, "nginx:1.27", "redis", "--match", "docker")
    (run,) = fake.executions.values()
    assert run["workflow_name"] == "novadocker.preload_images"
    assert json.loads(run["input"]) == {"images": ["nginx:1.27", "redis"], "match": "docker"}


def test_images_are_published_without_a_word_of_hosts(fake: FakeCloud, execute: Execute) -> None:
    execute(commands.PublishImages, "nginx:1.27", "redis", "--description", "for the weekend")
    (run,) = fake.executions.values()
    assert run["workflow_name"] == "novadocker.preload_images"
    assert json.loads(run["input"]) == {"images": ["nginx:1.27", "redis"], "preload": False}
    known = commands.PublishImages(types.SimpleNamespace(), None)
    told = known.get_parser("x").format_help()
    assert "not published again" in " ".join(told.split())
    # Which hosts are meant, or whether they are, is no question.
    assert not [name for name in known.otherwise if f"--{name.replace('_', '-')}" in told]


@pytest.mark.parametrize(
    ("state", "outcome", "code"),
    [
        ("SUCCESS", "done", 0),
        ("SUCCESS", "unchanged", 0),
        ("ERROR", "failed", 1),
        ("ERROR", "refused", 2),
        ("CANCELLED", "stopped", 4),
    ],
)
def test_who_waits_for_images_gets_the_exit_code_of_their_run(
    fake: FakeCloud, execute: Execute, state: str, outcome: str, code: int
) -> None:
    ending(fake, state, outcome)
    ended = execute(commands.PublishImages, "nginx", "--wait", "-f", "json")
    assert ended.code == code
    assert json.loads(ended.out)["report"]["state"] == outcome


def test_progress_is_told_beside_the_output_a_line_an_event(
    fake: FakeCloud, execute: Execute
) -> None:
    run = fake.add_run("deploy", output={})
    batch = fake.add_below(run, run, "switch_batch", "_switch_batch")
    fake.add_task(batch, "disable_compute", rows=[{"host": "c1"}])
    broken = {"host": "c1", "state": "failed", "reason": HOSTILE}
    fake.add_task(batch, "install_driver", rows=[broken])
    ending(fake, "ERROR", "failed")
    ended = execute(commands.Watch, run, "-f", "json")
    assert ended.code == 1
    assert json.loads(ended.out)["report"] == {"state": "failed"}
    first, second = ended.told.splitlines()
    assert first.endswith("ok      c1: out of service")
    # What a host says neither is markup nor steers the terminal.
    assert second.endswith("FAILED  c1: Install the driver: [red]broke[/] \ufffd[31m<b>")


def test_an_interrupt_leaves_the_run_running(
    fake: FakeCloud, execute: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runs.time, "sleep", interrupt)
    ended = execute(commands.Deploy, "--wait", "-f", "value", "-c", "id")
    (run,) = fake.executions.values()
    assert (ended.code, ended.out.strip(), run["state"]) == (130, run["id"], "RUNNING")
    assert f"openstack docker run watch {run['id']}" in ended.told
    assert not [method for method, _, _ in fake.requests if method == "PUT"]


def test_a_run_that_takes_longer_than_one_waits_goes_on(fake: FakeCloud, execute: Execute) -> None:
    ended = execute(commands.Deploy, "--wait", "--timeout", "0")
    assert ended.code == 124
    assert "goes on" in ended.told


def test_mistral_that_stays_away_ends_the_waiting_and_says_so(
    fake: FakeCloud, execute: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "PATIENCE_S", 0.1)
    run = fake.add_run()
    looks = []

    def later(method: str, path: str) -> None:
        looks.append(path)
        if len(looks) == 3:
            fake.faults["/mistral"] = (503, None)

    fake.on_request = later
    ended = execute(commands.Watch, run)
    assert ended.code == 1
    # Once, not once a look; and at the end.
    assert ended.told.count("it is asked for again") == 1
    assert f"The run may go on. Follow it: openstack docker run watch {run}" in ended.told


def test_a_report_is_written_as_a_file_of_its_kind(
    fake: FakeCloud, execute: Execute, tmp_path: Path
) -> None:
    rows = [{"host": "c1", "state": "failed", "step": "install_driver", "reason": HOSTILE}]
    run = fake.add_run("verify", "ERROR", output={"report": {"state": "failed", "rows": rows}})
    for kind in (".json", ".xml", ".html"):
        assert execute(commands.Show, run, "--report", str(tmp_path / f"report{kind}")).code == 0
    assert json.loads((tmp_path / "report.json").read_text())["rows"] == rows
    assert ET.parse(tmp_path / "report.xml").getroot().get("failures") == "1"
    assert "&lt;b&gt;" in (tmp_path / "report.html").read_text()


def test_a_report_that_cannot_be_written_is_refused_before_anything_is_run(
    fake: FakeCloud, execute: Execute, tmp_path: Path
) -> None:
    for path in (tmp_path / "report.txt", tmp_path / "gone" / "report.html"):
        ended = execute(commands.Deploy, "--report", str(path))
        assert ended.code == 2
        assert "--report" in ended.told
    assert fake.executions == {}
    run = fake.add_run()
    assert "has no report" in execute(commands.Show, run, "--report", f"{tmp_path}/a.html").told
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_shown_with_its_hosts_those_that_failed_first(
    fake: FakeCloud, execute: Execute
) -> None:
    report = {
        "state": "partial",
        "rows": [
            {"host": "c1", "state": "ok", "changed": True},
            {"host": "c2", "state": "failed", "step": "install_driver", "reason": HOSTILE},
        ],
        "images": [{"reference": "busybox:latest", "ok": False, "reason": "gone"}],
    }
    run = fake.add_run(
        "deploy", "SUCCESS", input={"match": "x"}, output={"message": HOSTILE, "report": report}
    )
    out = execute(commands.Show, run).out
    assert out.index("c2") < out.index("c1")
    assert "\x1b" not in out
    for said in ("partial", "busybox:latest", "match='x'", "[red]broke[/]"):
        assert said in out


def test_runs_are_listed_for_machines(fake: FakeCloud, execute: Execute) -> None:
    fake.add_run("plan", "SUCCESS", description="why", output={"message": "Planned."})
    fake.add_run("deploy")
    rows = json.loads(execute(commands.List, "-f", "json", "--workflow", "plan").out)
    assert [(row["Workflow"], row["State"], row["Message"]) for row in rows] == [
        ("plan", "done", "Planned.")
    ]
    assert execute(commands.List, "-f", "value", "-c", "State").out.split() == ["running", "done"]


def test_a_run_is_stopped_and_the_hosts_that_it_leaves_are_named(
    fake: FakeCloud, execute: Execute
) -> None:
    run = fake.add_run()
    fake.add_host("c1", status="disabled", disabled_reason=f"novadocker: {run}")
    ended = execute(commands.Stop, run, "--now", "-f", "json")
    assert (ended.code, json.loads(ended.out)["state"]) == (0, "stopped")
    assert "Out of service because of it: c1. Deploy or undeploy them again" in ended.told
    again = execute(commands.Stop, run)
    assert again.code == 2
    assert "has ended already" in again.told


def test_a_run_is_asked_to_stop_and_how_it_ends_is_awaited(
    fake: FakeCloud, execute: Execute
) -> None:
    run = fake.add_run()
    asked = execute(commands.Stop, run, "-f", "json")
    assert (asked.code, json.loads(asked.out)["state"]) == (0, "running")
    assert "It ends with what is under way. Follow it:" in asked.told
    assert f"novadocker-stop-{run}" in fake.environments
    fake.executions[run]["output"] = json.dumps({"report": {"state": "stopped"}})

    def end(method: str, path: str) -> None:
        if path.endswith("/tasks"):
            fake.executions[run]["state"] = "ERROR"

    fake.on_request = end
    assert execute(commands.Stop, run, "--wait").code == 4


def test_a_run_that_waits_is_shown_so_and_approved(fake: FakeCloud, execute: Execute) -> None:
    run = fake.add_run()
    hold = {"kind": "approval", "batch": 2, "left": 1, "hosts": 5, "since": 0, "until": 2e9}
    fake.add_below(run, run, "hold", "_hold", "RUNNING", input={"hold": hold})
    for told in (execute(commands.Show, run, "-f", "json").out, execute(commands.List).out):
        assert "waiting" in told
        assert "It waits for an approval of batch 2 of 2, 5 hosts" in told
    approved = execute(commands.Approve, run)
    assert approved.code == 0
    assert "Batch 2 is approved: the run goes on within a minute." in approved.told
    assert list(fake.environments) == [f"novadocker-approve-{run}-2"]
    again = execute(commands.Approve, fake.add_run())
    assert again.code == 2
    assert "waits for no approval" in again.told


def test_a_run_is_stopped_even_where_nova_does_not_answer(
    fake: FakeCloud, execute: Execute
) -> None:
    run = fake.add_run()
    fake.faults["/nova/v2.1/os-"] = (403, None)
    ended = execute(commands.Stop, run, "--now")
    assert (ended.code, fake.executions[run]["state"]) == (0, "CANCELLED")
    assert "is not known: Nova does not list hypervisors" in ended.told


def test_what_happened_is_shown_with_where_the_hosts_keep_their_logs(
    fake: FakeCloud, execute: Execute
) -> None:
    rows = [{"host": "c1", "state": "failed", "step": "install_driver", "log": "/var/log/x.log"}]
    run = fake.add_run("deploy", "ERROR", output={"report": {"rows": rows}})
    batch = fake.add_below(run, run, "switch_batch", "_switch_batch")
    fake.add_task(batch, "disable_compute", rows=[{"host": "c1"}, {"host": "c2"}])
    lines = execute(commands.Logs, run).out.splitlines()
    assert lines[0].endswith("c1, c2: out of service")
    assert lines[1] == "c1: its log of install_driver is /var/log/x.log"
    assert len(execute(commands.Logs, run, "--host", "c2").out.splitlines()) == 1
    nothing = execute(commands.Logs, run, "--host", "c9")
    assert (nothing.code, nothing.out) == (1, "")
    assert "has nothing about the host c9" in nothing.told


def test_hosts_are_listed_and_chosen(fake: FakeCloud, execute: Execute) -> None:
    fake.add_host("c1", hypervisor_type="docker", running_vms=2)
    fake.add_host("c2", status="disabled", disabled_reason=f"mine {HOSTILE}")
    fake.enrol("fast", "c1")

    def names(*argv: str) -> list[str]:
        return execute(hosts.List, "-f", "value", "-c", "Name", *argv).out.split()

    assert names() == ["c1", "c2"]
    assert names("--docker") == names("--pool", "fast") == ["c1"]
    assert names("--disabled") == ["c2"]
    (first, second) = json.loads(execute(hosts.List, "-f", "json").out)
    assert (first["Instances"], first["Pool"], first["Roles"]) == (2, "fast", "compute")
    assert "\x1b" not in second["Reason"]


def test_hosts_are_listed_where_heat_is_away(fake: FakeCloud, execute: Execute) -> None:
    fake.add_host("c1")
    fake.faults["/heat"] = (503, None)
    ended = execute(hosts.List)
    assert (ended.code, "c1" in ended.out) == (0, True)
    assert "Not known is how hosts are enrolled: Heat does not" in ended.told


def test_a_host_is_shown(fake: FakeCloud, execute: Execute) -> None:
    fake.add_host("c1", hypervisor_type="docker")
    fake.enrol("fast", "c1")
    shown = json.loads(execute(hosts.Show, "c1", "-f", "json").out)
    assert (shown["hypervisor_type"], shown["pool"], shown["last_message"]) == (
        "docker",
        "fast",
        "COMPLETE",
    )
    assert execute(hosts.Show, "c9").code == 1


def test_images_are_listed(fake: FakeCloud, execute: Execute) -> None:
    fake.images.append(
        {"id": "1", "name": "busybox", "container_format": "docker", "size": 5, "tags": []}
    )
    (row,) = json.loads(execute(images.List, "-f", "json").out)
    assert (row["Name"], row["Size"], row["Published"]) == ("busybox", 5, False)
    fake.images.clear()
    nothing = execute(images.List)
    assert (nothing.code, nothing.told) == (0, "Glance has no docker image that you may see.\n")


def test_the_dashboard_is_told_or_what_shows_the_same(execute: Execute) -> None:
    there = FakeCloud({**SERVICES, "dashboard": "horizon"}).cloud()
    ended = execute(dashboard.Show, "-f", "value", cloud=there)
    assert ended.out.strip() == "http://cloud.test/horizon/admin/docker_hosts/"
    nowhere = execute(dashboard.Show)
    assert nowhere.code == 1
    assert "openstack docker run list" in nowhere.told


def test_a_user_without_rights_is_told_so_in_a_line(fake: FakeCloud, execute: Execute) -> None:
    fake.faults["/mistral"] = (403, None)
    ended = execute(commands.Deploy)
    assert ended.code == 1
    assert ended.told.startswith("Mistral does not start deploy (403)")
    assert len(ended.told.splitlines()) == 1


def test_what_mistral_refuses_is_refused(fake: FakeCloud, execute: Execute) -> None:
    fake.faults["/mistral"] = (400, None)
    assert execute(commands.Deploy).code == 2
