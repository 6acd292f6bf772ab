# SPDX-License-Identifier: Apache-2.0
"""How recipes reach hosts through Heat, and which outcomes are believed."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from heatclient.v1.client import Client

from novadocker_actions.cloud import configs, host_keys, mailbox, messages
from novadocker_actions.cloud.services import ServiceAdapter
from novadocker_actions.errors import HostBusy
from novadocker_actions.plan.rows import FAILED, OK, UNKNOWN, HostRow
from tests.fake_service import session_with
from tests.host_keys import public_text, sign

KEY, OTHER_KEY = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
SIGNAL = {"name": "deploy_signal_id", "type": "String", "value": "http://signal"}
SERVER = {"name": "deploy_server_id", "type": "String", "value": "s1"}
NAME = "novadocker-c1"


def told(**entry: Any) -> str:
    """Return a host's report on a recipe of one step."""
    step = {"step": "install_docker", "ok": True, "changed": True, "reason": "", **entry}
    return json.dumps({"steps": [step], "reason": step["reason"]})


class Heat:
    """Heat's software configs and deployments in memory; it keeps outputs that nobody replaces."""

    def __init__(self) -> None:
        self.keeps_configs = False
        self.numbers = itertools.count()
        self.configs: dict[str, dict[str, Any]] = {
            "first": {"id": "first", "name": NAME, "inputs": [SIGNAL, SERVER], "config": ""}
        }
        self.deployment: dict[str, Any] = {
            "config_id": "first",
            "server_id": "s1",
            "status": "COMPLETE",
            "output_values": {"deploy_result": "ok"},
        }
        client = Client(session=ServiceAdapter(session_with(self._answer), "orchestration"))
        self.stacks = client.stacks
        self.software_configs = client.software_configs
        self.software_deployments = client.software_deployments

    def _answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        kind, _, key = path.removeprefix("/").partition("/")
        if (method, kind) == ("POST", "software_configs"):
            config = {**body, "id": f"config-{next(self.numbers)}"}
            self.configs[config["id"]] = config
            return 200, {"software_config": config}
        if (method, kind) == ("DELETE", "software_configs"):
            assert key != self.deployment["config_id"], "it is in use"
            if self.keeps_configs:
                return 400, {"error": {"message": "in use"}}
            self.configs.pop(key)
            return 204, None
        if path == "/software_configs":
            named = [{"id": c["id"], "name": c["name"]} for c in self.configs.values()]
            return 200, {"software_configs": named}
        if kind == "software_configs":
            return 200, {"software_config": self.configs[key]}
        if method == "PUT":
            self.deployment.update({name: value for name, value in body.items() if value})
        if path == "/software_deployments/d":
            return 200, {"software_deployment": self.deployment}
        if path == "/stacks":
            pool, keys = "novadocker-hosts-p", "novadocker-keys-novadocker-hosts-p"
            name = {"novadocker-hosts": pool, "novadocker-keys": keys}[query["tags"]]
            return 200, {"stacks": [{"stack_name": name, "id": name}]}
        if path.endswith("/outputs/public_keys"):
            return 200, {"output": {"output_value": {"c1": public_text(KEY)}}}
        return 404, {"error": {"message": "not found"}}

    @property
    def text(self) -> str:
        """The text that is in the mailbox."""
        return str(self.configs[self.deployment["config_id"]]["config"])

    @property
    def held(self) -> dict[str, Any]:
        """The message that it is."""
        return messages.parse(self.text)

    @property
    def inputs(self) -> dict[str, Any]:
        """What is beside it."""
        config = self.configs[self.deployment["config_id"]]
        return {entry["name"]: entry["value"] for entry in config["inputs"]}

    def signal(
        self,
        push_id: str,
        result: str = "ok",
        *,
        key: rsa.RSAPrivateKey | None = KEY,
        host: str = "c1",
        sent: str = "",
        **outputs: Any,
    ) -> None:
        """Tell an outcome, signed by the host for a push, or by others for other things."""
        report = told(ok=result == "ok")
        said = {"deploy_result": result, "changed": "true", "report": report, **outputs}
        digest = messages.digest(sent or self.text)
        text = host_keys.document(host, push_id, digest, said)
        signature = sign(key, text) if key else ""
        self.take({**said, "push_id": push_id, "signature": signature})

    def take(self, outputs: dict[str, Any]) -> None:
        """Take a signal from anybody."""
        if self.deployment["status"] == "IN_PROGRESS":
            self.deployment["status"] = "COMPLETE"
            values = {**self.deployment["output_values"], **outputs}
            self.deployment["output_values"] = values


@pytest.fixture
def heat(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(messages, "sign", lambda text: f"signature of {messages.digest(text)}")
    monkeypatch.setattr(messages, "is_own", lambda text, given: given == messages.sign(text))
    configs.KNOWN.forget()
    return Heat()


@pytest.fixture
def run() -> HostRow:
    return HostRow("c1", "compute", deployment_id="d", needs=["install_docker"])


def push(heat: Any, run: HostRow, push_id: str = "mine", timeout_s: int = 60) -> None:
    steps = [("install_docker", {"a": 1})]
    mailbox.push(heat, run, steps, mode="apply", timeout_s=timeout_s, push_id=push_id)


def test_what_an_agent_is_given_at_each_question_has_no_descriptions(
    heat: Any, run: HostRow
) -> None:
    heat.configs["first"]["inputs"] = [{**SIGNAL, "description": "ID of the signal"}, SERVER]
    push(heat, run)
    (config,) = (row for name, row in heat.configs.items() if name != "first")
    assert SIGNAL in config["inputs"]
    assert not [row for row in config["inputs"] + config["outputs"] if "description" in row]


def test_a_push_replaces_the_config_and_keeps_its_signal(heat: Any, run: HostRow) -> None:
    push(heat, run)

    assert heat.deployment["status"] == "IN_PROGRESS"
    assert heat.inputs["deploy_signal_id"] == "http://signal"
    assert (heat.held["mode"], heat.held["timeout_s"]) == ("apply", 60)
    assert heat.held["steps"] == [{"name": "install_docker", "settings": {"a": 1}}]
    assert "first" not in heat.configs
    assert run.pending is not None
    assert run.pending.deadline > time.time() + 60


def put_by_hand(heat: Any) -> None:
    """Have an operator change by hand what a host's deployment is about."""
    heat.configs["theirs"] = {"id": "theirs", "name": "theirs", "inputs": [], "config": "exit 0"}
    heat.deployment.update(config_id="theirs", status="IN_PROGRESS")


def test_a_host_is_heard_again_after_somebody_has_changed_its_mailbox_by_hand(
    heat: Any, run: HostRow
) -> None:
    push(heat, run, "before")
    before = heat.deployment["config_id"]
    put_by_hand(heat)
    heat.configs["of-another"] = {
        **{"id": "of-another", "name": NAME, "config": ""},
        "inputs": [{**SIGNAL, "value": "http://another"}, {**SERVER, "value": "s2"}],
    }

    push(heat, run)

    assert heat.inputs["deploy_signal_id"] == "http://signal"
    assert before not in heat.configs
    assert {"theirs", "of-another"} < {*heat.configs}
    heat.signal("mine")
    mailbox.look(heat, run)
    assert (run.state, run.pending) == (OK, None)


def test_a_host_is_heard_again_that_was_given_another_host_s_config_by_hand(
    heat: Any, run: HostRow
) -> None:
    push(heat, run, "before")
    heat.configs["of-another"] = {
        **{"id": "of-another", "name": "novadocker-c2", "config": ""},
        "inputs": [{**SIGNAL, "value": "http://another"}, {**SERVER, "value": "s2"}],
    }
    heat.deployment.update(config_id="of-another", status="IN_PROGRESS")

    push(heat, run)

    assert heat.inputs["deploy_signal_id"] == "http://signal"
    assert heat.inputs["deploy_server_id"] == "s1"
    assert "of-another" in heat.configs


def test_a_mailbox_that_cannot_be_signalled_to_any_more_is_told_at_once(
    heat: Any, run: HostRow
) -> None:
    put_by_hand(heat)
    heat.configs.pop("first")

    push(heat, run)

    assert (run.state, run.pending) == (FAILED, None)
    assert "put there by hand" in run.reason
    assert heat.deployment["config_id"] == "theirs"


def test_a_host_is_told_in_which_run_a_step_is_done(heat: Any, run: HostRow) -> None:
    steps, mode = [("install_docker", {})], "roll_back"
    mailbox.push(heat, run, steps, mode=mode, timeout_s=9, push_id="p", run_id="the-run")

    assert (heat.held["run_id"], heat.held["mode"]) == ("the-run", "roll_back")


def test_what_is_pushed_is_whole_and_signs_its_outcome(heat: Any, run: HostRow) -> None:
    push(heat, run)

    config = heat.configs[heat.deployment["config_id"]]
    assert config["group"] == messages.GROUP
    assert heat.inputs["signature"] == messages.sign(heat.text)
    # The agent signs what answers a message that has these, and Heat keeps what is declared.
    assert (heat.held["push_id"], heat.held["host"]) == ("mine", "c1")
    assert heat.held["expires_at"] > time.time()
    assert {"push_id", "signature"} < {output["name"] for output in config["outputs"]}


def test_outputs_of_the_run_before_are_not_believed(heat: Any, run: HostRow) -> None:
    push(heat, run)
    heat.deployment["status"] = "COMPLETE"

    mailbox.look(heat, run)

    assert run.pending is not None
    assert run.pending.again == 1
    run.pending.deadline = round(time.time()) - 1
    heat.deployment["status"] = "COMPLETE"
    mailbox.look(heat, run)
    assert run.state == FAILED


def test_an_outcome_is_taken_over(heat: Any, run: HostRow) -> None:
    push(heat, run)
    mailbox.look(heat, run)
    assert run.pending is not None

    heat.signal("mine", report=told(facts={"disturbs": True}, log="/l"))
    mailbox.look(heat, run)

    assert (run.state, run.pending, run.facts) == (OK, None, {"disturbs": True})


def test_the_same_push_is_made_once(heat: Any, run: HostRow) -> None:
    push(heat, run)
    config_id = heat.deployment["config_id"]
    heat.signal("mine")

    push(heat, run)

    assert heat.deployment["config_id"] == config_id
    mailbox.look(heat, run)
    assert run.state == OK


def test_a_late_signal_of_an_earlier_push_is_not_ours(heat: Any, run: HostRow) -> None:
    push(heat, run)
    before = heat.deployment["config_id"]
    heat.signal("theirs")

    mailbox.look(heat, run)

    # It was pushed anew, since Heat would not take our signal any more.
    assert run.pending is not None
    assert heat.deployment["status"] == "IN_PROGRESS"
    assert heat.deployment["config_id"] != before
    heat.signal("mine")
    mailbox.look(heat, run)
    assert run.state == OK


def test_foreign_signals_without_end_are_a_failure(heat: Any, run: HostRow) -> None:
    push(heat, run)
    for _ in range(9):
        heat.signal("theirs")
        mailbox.look(heat, run)
    assert run.pending is not None
    # It was sent to the host anew once, at once; after that its mailbox was just opened again.
    assert run.pending.again == 1
    assert next(heat.numbers) == 2

    run.pending.deadline = round(time.time()) - 1
    heat.signal("theirs")
    mailbox.look(heat, run)

    assert run.state == FAILED
    assert "no outcome with this host's signature came in time" in run.reason
    assert "it is of another push" in run.reason


FORGERIES: dict[str, dict[str, Any]] = {
    "unsigned": {"push_id": "mine", "key": None},
    "signed by another": {"push_id": "mine", "key": OTHER_KEY},
    "of another host": {"push_id": "mine", "host": "c2"},
    "of another push": {"push_id": "theirs"},
    "of an end that is over": {"push_id": "mine", "sent": json.dumps({"expires_at": 1})},
    "an object for a signature": {"push_id": "mine", "signature": {"a": 1}},
    "no base64": {"push_id": "mine", "signature": "€"},
    "numbers for text": {"push_id": "mine", "key": None, "report": 7, "changed": None},
    "of a megabyte": {"push_id": "mine", "key": None, "report": "x" * 1_000_000},
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=list(FORGERIES))
@pytest.mark.parametrize("result", ["ok", "failed"])
def test_a_forged_outcome_ends_nothing(
    heat: Any, run: HostRow, forgery: dict[str, Any], result: str
) -> None:
    push(heat, run)
    outputs = dict(forgery)
    heat.signal(outputs.pop("push_id"), result, **outputs)
    if "signature" in forgery:
        heat.deployment["output_values"]["signature"] = forgery["signature"]

    mailbox.look(heat, run)

    assert (run.state, heat.deployment["status"]) == (OK, "IN_PROGRESS")
    assert run.pending is not None
    heat.signal("mine", report=told(facts={"disturbs": True}))
    mailbox.look(heat, run)
    assert (run.state, run.pending, run.facts) == (OK, None, {"disturbs": True})
    assert "1 outcomes of install_docker were not signed by this host" in run.reason


@pytest.mark.parametrize("name", ["deploy_result", "changed", "report"])
def test_each_word_of_an_outcome_is_signed(heat: Any, run: HostRow, name: str) -> None:
    push(heat, run)
    heat.signal("mine")
    heat.deployment["output_values"][name] = '{"reason": "altered"}'

    mailbox.look(heat, run)

    assert (run.state, run.pending is None) == (OK, False)


def test_an_outcome_of_the_first_of_several_pushes_is_taken(heat: Any, run: HostRow) -> None:
    push(heat, run)
    first = heat.text
    heat.signal("mine", key=None)
    mailbox.look(heat, run)

    # The host had been at it all the time, and answers what it was sent first.
    heat.signal("mine", sent=first)
    mailbox.look(heat, run)

    assert (run.state, run.pending) == (OK, None)


def test_a_look_of_a_task_that_runs_again_does_not_begin_to_count_anew(
    heat: Any, run: HostRow
) -> None:
    push(heat, run)
    rows = run.to_dict()
    for _ in range(9):
        again = HostRow.from_dict(rows)
        heat.signal("mine", key=None)
        mailbox.look(heat, again)

    assert next(heat.numbers) == 2


def test_an_outcome_that_was_lost_to_a_forged_one_comes_again(
    heat: Any, run: HostRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(heat, run, timeout_s=600)
    heat.signal("mine", key=None)
    # Heat took the forged one, so it drops that of the host, which tells it once.
    heat.signal("mine")
    sent, now = [], time.time()
    for second in range(0, 600, 2):
        monkeypatch.setattr(time, "time", lambda at=now + second: at)
        mailbox.look(heat, run)
        assert run.pending is not None
        if heat.deployment["config_id"] not in sent:
            sent.append(heat.deployment["config_id"])
    # At once, and after 5, 10, 20, 40, 80 and 160 seconds: never more often than that.
    assert len(sent) == 7

    heat.signal("mine")
    mailbox.look(heat, run)
    assert (run.state, run.pending) == (OK, None)


def test_words_that_nobody_signed_are_not_told(heat: Any, run: HostRow) -> None:
    push(heat, run)
    heat.signal("mine", "failed", report="{}")
    heat.deployment["output_values"]["deploy_stderr"] = "send your password to mallory"
    heat.deployment["status_reason"] = "as well as your token"

    mailbox.look(heat, run)

    assert (run.state, run.reason) == (FAILED, "the host reported no outcome")


def test_a_host_that_tells_too_much_fails(heat: Any, run: HostRow) -> None:
    push(heat, run)
    heat.signal("mine", report='{"facts": "' + "x" * 40_000 + '"}')

    mailbox.look(heat, run)

    assert run.state == FAILED
    assert "larger than 32768 bytes" in run.reason
    assert run.facts == {}


def test_a_push_that_is_found_in_the_mailbox_keeps_its_end(heat: Any, run: HostRow) -> None:
    push(heat, run)
    again = HostRow("c1", "compute", deployment_id="d")

    push(heat, again, timeout_s=500)

    assert again.pending is not None
    assert again.pending.deadline == heat.held["expires_at"]


def test_the_last_of_two_that_pushed_the_same_says_when_its_time_is_over(
    heat: Any, run: HostRow
) -> None:
    push(heat, run)
    other = HostRow("c1", "compute", deployment_id="d", needs=["install_docker"])
    # It had looked into the mailbox before the first one put it there.
    heat.deployment = {**heat.deployment, "config_id": "first"}
    heat.configs["first"] = {"id": "first", "name": NAME, "inputs": [SIGNAL], "config": ""}
    push(heat, other, timeout_s=500)
    heat.signal("mine")

    mailbox.look(heat, run)

    assert (run.state, run.pending) == (OK, None)


def test_a_step_of_another_run_is_let_alone(heat: Any, run: HostRow) -> None:
    push(heat, HostRow("c1", "compute", deployment_id="d"), "theirs")

    with pytest.raises(HostBusy, match="install_docker of another run is under way on c1"):
        push(heat, run)

    assert heat.held["push_id"] == "theirs"


def begun(heat: Any, mode: str, role: str = "compute", run_id: str = "theirs") -> None:
    """Have a recipe of another run be pushed, and end."""
    row = HostRow("c1", role, deployment_id="d")
    steps = [("install_docker", {})]
    mailbox.push(heat, row, steps, mode=mode, timeout_s=60, push_id="p", run_id=run_id)
    heat.signal("p")


def claim(heat: Any, run: HostRow, active: bool = True) -> None:
    steps = [("install_docker", {})]
    mailbox.push(
        heat,
        run,
        steps,
        mode="check",
        timeout_s=60,
        push_id="mine",
        run_id="my-run",
        is_active=lambda run_id: active and run_id == "theirs",
    )


def test_a_host_belongs_to_the_run_that_changes_it_between_two_recipes(
    heat: Any, run: HostRow
) -> None:
    begun(heat, "apply")

    with pytest.raises(HostBusy, match="c1 belongs to run theirs, which has done inst") as refusal:
        claim(heat, run)

    assert refusal.value.uncollected is False
    assert heat.held["push_id"] == "p"
    # A run that was lost holds nothing.
    claim(heat, run, active=False)
    assert heat.held["push_id"] == "mine"


@pytest.fixture
def forged(heat: Any, run: HostRow) -> Callable[..., None]:
    """Return a function that puts a text into the mailbox that says other than what was pushed."""

    def forge(**other: Any) -> None:
        config = heat.configs[heat.deployment["config_id"]]
        text = json.dumps({**json.loads(config["config"]), **other})
        heat.configs["forged"] = {**config, "id": "forged", "config": text}
        heat.deployment["config_id"] = "forged"

    return forge


def test_what_nobody_has_signed_is_no_lease(heat: Any, run: HostRow, forged: Any) -> None:
    begun(heat, "apply")
    asked: list[str] = []
    forged(run_id="../workbooks", expires_at=9_999_999_999)

    mailbox.push(
        heat,
        run,
        [("install_docker", {})],
        mode="apply",
        timeout_s=9,
        push_id="mine",
        run_id="my-run",
        is_active=lambda run_id: bool(asked.append(run_id)) or True,
    )

    assert (asked, heat.held["push_id"]) == ([], "mine")


def test_what_nobody_has_signed_is_not_taken_for_what_was_pushed(
    heat: Any, run: HostRow, forged: Any
) -> None:
    push(heat, run)
    again = HostRow("c1", "compute", deployment_id="d")
    forged(expires_at=9_999_999_999)

    push(heat, again)
    assert again.pending is not None
    assert again.pending.deadline < time.time() + 120

    forged(expires_at=9_999_999_999)
    mailbox.look(heat, again)
    assert again.state == FAILED
    assert "put its own steps into" in again.reason


def test_what_a_host_says_of_another_text_of_the_same_name_ends_nothing(
    heat: Any, run: HostRow
) -> None:
    push(heat, run)
    other = json.dumps({**heat.held, "steps": []})
    report = json.dumps({"steps": [], "reason": "this message is not signed by the operator"})

    # The host refuses what it was shown, and somebody keeps its word for later.
    heat.signal("mine", "failed", sent=other, report=report)
    mailbox.look(heat, run)

    assert run.state == OK
    assert run.pending is not None


def test_a_host_that_may_have_begun_is_not_taken_for_untouched(heat: Any, run: HostRow) -> None:
    push(heat, run)
    told_twice = {"steps": [], "reason": "the host went down twice", "log": "", "begun": True}
    heat.signal("mine", "failed", report=json.dumps(told_twice))

    mailbox.look(heat, run)

    assert run.state == FAILED
    assert run.to_roll_back


def test_what_is_no_number_of_json_is_no_report(heat: Any, run: HostRow) -> None:
    push(heat, run)
    heat.signal("mine", report=told(seconds=float("nan")))

    mailbox.look(heat, run)

    assert run.state == FAILED


def test_a_host_that_waits_for_its_batch_belongs_to_its_run_for_a_day(
    heat: Any, run: HostRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(heat, "apply")
    now = time.time()

    monkeypatch.setattr(mailbox.time, "time", lambda: now + 23 * 3600)
    with pytest.raises(HostBusy, match="c1 belongs to run theirs"):
        claim(heat, run)
    monkeypatch.setattr(mailbox.time, "time", lambda: now + 25 * 3600)
    claim(heat, run)

    assert heat.held["push_id"] == "mine"


def test_what_looked_at_a_host_holds_it_no_longer_than_it_was_meant_to(
    heat: Any, run: HostRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(heat, "check")
    now = time.time()
    monkeypatch.setattr(mailbox.time, "time", lambda: now + 3600)

    claim(heat, run)

    assert heat.held["push_id"] == "mine"


def test_a_host_belongs_to_its_own_run(heat: Any, run: HostRow) -> None:
    begun(heat, "apply", run_id="my-run")

    claim(heat, run)

    assert heat.held["push_id"] == "mine"


@pytest.mark.parametrize(("mode", "role"), [("check", "compute"), ("apply", "controller,glance")])
def test_what_another_run_has_yet_to_collect_is_let_alone(
    heat: Any, run: HostRow, mode: str, role: str
) -> None:
    begun(heat, mode, role)
    run.role = role

    with pytest.raises(HostBusy) as refusal:
        claim(heat, run)

    assert refusal.value.uncollected is True


def test_a_host_is_awaited_that_could_not_tell_its_outcome_while_heat_was_away(
    heat: Any, run: HostRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(heat, run, timeout_s=60)
    assert run.pending is not None
    began, back = time.time(), run.pending.deadline + 100
    monkeypatch.setattr(time, "time", lambda: back)

    # It was asked before its time was over, and Heat answered long after.
    mailbox.look(heat, run, None, began)
    assert run.pending is not None
    heat.signal("mine")
    mailbox.look(heat, run)
    assert (run.state, run.pending) == (OK, None)


def test_a_host_that_does_not_tell_it_afterwards_is_given_up(
    heat: Any, run: HostRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(heat, run, timeout_s=60)
    assert run.pending is not None
    began, back = time.time(), run.pending.deadline + 100
    monkeypatch.setattr(time, "time", lambda: back)
    mailbox.look(heat, run, None, began)

    monkeypatch.setattr(time, "time", lambda: back + mailbox.GRACE_S + 1)
    mailbox.look(heat, run)

    assert run.state == FAILED


def test_a_step_of_another_run_whose_time_is_over_is_replaced(heat: Any, run: HostRow) -> None:
    push(heat, HostRow("c1", "compute", deployment_id="d"), "theirs", timeout_s=-100)

    push(heat, run)

    assert heat.held["push_id"] == "mine"


def test_a_mailbox_that_another_run_took_is_told(heat: Any, run: HostRow) -> None:
    push(heat, run, timeout_s=-100)
    push(heat, HostRow("c1", "compute", deployment_id="d"), "theirs")

    mailbox.look(heat, run)

    assert "another run has put its own steps" in run.reason


def test_what_another_run_may_need_by_now_is_not_taken_back(heat: Any) -> None:
    """Controllers are shared: another run may go on there while this one is paused."""
    run = HostRow("c1", "controller,glance", deployment_id="d", needs=["install_docker"])
    push(heat, run, timeout_s=-100)
    push(heat, HostRow("c1", "controller,glance", deployment_id="d"), "theirs")

    mailbox.look(heat, run)

    assert (run.state, run.to_roll_back) == (UNKNOWN, False)
    assert "another run has put its own steps" in run.reason


def test_keys_are_known_while_another_pool_goes(heat: Any) -> None:
    real = heat._answer

    def answer(method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        if "gone" in path:
            return 404, {"error": {"message": "The Stack could not be found."}}
        status, told = real(method, path, query, body)
        if path == "/stacks":
            name = {"novadocker-hosts": "gone", "novadocker-keys": "novadocker-keys-gone"}
            told["stacks"].append(dict.fromkeys(("stack_name", "id"), name[query["tags"]]))
        return status, told

    client = Client(session=ServiceAdapter(session_with(answer), "orchestration"))

    assert host_keys.HostKeys(client).of("c1") == public_text(KEY)


def test_a_host_that_does_not_answer_in_time(heat: Any, run: HostRow) -> None:
    push(heat, run, timeout_s=-100)

    mailbox.look(heat, run)

    assert (run.state, run.done) == (FAILED, ["install_docker"])
    assert "os-collect-config" in run.reason


def test_a_mailbox_that_is_gone_fails_its_host_only(heat: Any) -> None:
    run = HostRow("c1", "compute", deployment_id="gone")

    push(heat, run)

    assert run.state == FAILED
    assert "enrol it again" in run.reason


def test_all_are_looked_at_until_the_time_is_over(heat: Any, run: HostRow) -> None:
    push(heat, run)

    assert mailbox.look_at_all(heat, [run], 0.4) == 1
    heat.signal("mine")
    assert mailbox.look_at_all(heat, [run], 5) == 0


def test_an_unreadable_report_is_no_crash(heat: Any, run: HostRow) -> None:
    push(heat, run)
    heat.signal("mine", "failed", report="{cut off")

    mailbox.look(heat, run)

    assert run.reason == "the host's report cannot be read"


def test_a_config_that_heat_will_not_delete_stops_nothing(heat: Any, run: HostRow) -> None:
    heat.keeps_configs = True

    push(heat, run)

    assert heat.held["push_id"] == "mine"


def test_a_mailbox_that_goes_while_a_step_is_under_way_fails_its_host_only(
    heat: Any, run: HostRow
) -> None:
    other = HostRow("c2", "compute", deployment_id="d", needs=["install_docker"])
    push(heat, run)
    other.pending, other.deployment_id = run.pending, "gone"
    heat.signal("mine")

    assert mailbox.look_at_all(heat, [other, run], 5) == 0

    assert (other.state, other.done) == (FAILED, ["install_docker"])
    assert "its mailbox is gone from Heat" in other.reason
    assert (run.state, run.pending) == (OK, None)


DEEP = "[" * 9000 + "]" * 9000
STEP = '{"steps": [{"step": "install_docker", "ok": true, "changed": true, %s}]}'
# Reports, and whether a host that has done all is seen by them to have done so.
REPORTS = {
    "nested too deep": (STEP % f'"facts": {DEEP}', False),
    "half a character": ("\ud800", False),
    "half a character in a reason": (STEP % '"reason": "\\ud800"', True),
    "a number without end": (STEP % f'"facts": {{"docker": {"1" * 6000}}}', False),
    "half a character in facts": (STEP % '"facts": {"x": "\\ud800"}', True),
    "steps that are none": ('{"steps": [1, null, "install_docker"]}', False),
    "steps that are no list": ('{"steps": {"install_docker": true}}', False),
    "another step": (STEP.replace("_docker", "_driver") % '"reason": ""', False),
}


@pytest.mark.parametrize(("report", "readable"), REPORTS.values(), ids=list(REPORTS))
@pytest.mark.parametrize("result", ["ok", "failed"])
def test_a_report_that_nobody_can_read_ends_no_look(
    heat: Any, run: HostRow, report: str, readable: bool, result: str
) -> None:
    push(heat, run)
    heat.signal("mine", result, report=report)

    assert mailbox.look_at_all(heat, [run], 5) == 0

    assert run.state == (OK if result == "ok" and readable else FAILED)
    assert run.done == ["install_docker"]


def test_what_is_too_much_is_not_parsed(
    heat: Any, run: HostRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(heat, run)
    heat.signal("mine", report='{"facts": "' + "\u20ac" * 12_000 + '"}')
    monkeypatch.setattr(mailbox, "_report", None)

    mailbox.look(heat, run)

    assert "larger than 32768 bytes" in run.reason


@pytest.mark.parametrize("key", ["AAAA", "no base64"])
def test_a_pinned_key_that_cannot_be_read_is_told_of_its_host(
    heat: Any, run: HostRow, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailbox.HostKeys, "of", lambda self, host: key)
    push(heat, run)
    heat.signal("mine")
    assert mailbox.look_at_all(heat, [run], 0.1) == 1
    assert run.pending is not None

    run.pending.deadline = round(time.time()) - 1
    heat.signal("mine")
    assert mailbox.look_at_all(heat, [run], 0.1) == 0

    assert run.state == FAILED
    assert "pinned key cannot be read" in run.reason
    assert "enrol c1 again" in run.reason


def test_whatever_else_one_host_causes_is_its_own_failure(
    heat: Any, run: HostRow, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def judge(row: HostRow, *_said: Any) -> None:
        row.pending = None
        raise TypeError("odd")

    monkeypatch.setattr(mailbox.rows, "judge", judge)
    push(heat, run)
    heat.signal("mine")

    assert mailbox.look_at_all(heat, [run], 5) == 0

    assert (run.state, run.done) == (FAILED, ["install_docker"])
    assert "TypeError('odd')" in run.reason
    assert "What c1 said could not be taken over" in caplog.text
