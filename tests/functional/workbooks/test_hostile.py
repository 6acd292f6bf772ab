# SPDX-License-Identifier: Apache-2.0
"""What a reader of the stacks' project, or a host that was taken over, can make of a run: a delay.

Heat gives any signal to what a mailbox holds, whoever of the project it is from.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from novadocker_actions.cloud import host_keys, mailbox, messages
from tests.functional.workbooks.fake_cloud import (
    TOKEN,
    TRUSTEES_TOKEN,
    UPLOADS_TOKEN,
    FakeCloud,
    FakeHost,
    inputs_of,
)
from tests.functional.workbooks.in_process import Mistral
from tests.functional.workbooks.results import CONVERTED, UNTOUCHED, refused, rows, writes
from tests.host_keys import public_text, sign, unseal

VICTIM = "compute-docker-1"
ATTACKERS_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)

Forge = Callable[[FakeCloud, FakeHost, dict[str, Any]], dict[str, Any]]


def given(config: dict[str, Any]) -> dict[str, Any]:
    """Return what a reader sees in a config."""
    return {**inputs_of(config), **messages.parse(config["config"])}


def settings_of(config: dict[str, Any], step: str) -> dict[str, Any]:
    """Return what a message gives to a step, {} when it is not of that step."""
    steps = {entry["name"]: dict(entry["settings"]) for entry in given(config)["steps"]}
    return steps.get(step, {})


def outcome(config: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return an outcome that tells what readers can know."""
    steps = [
        {"step": entry["name"], "ok": True, "changed": True} for entry in given(config)["steps"]
    ]
    said = {"deploy_result": "ok", "changed": "true", "report": json.dumps({"steps": steps})}
    return {**said, "push_id": given(config)["push_id"], **more}


def signed(
    key: rsa.RSAPrivateKey, host: str, config: dict[str, Any], **more: Any
) -> dict[str, Any]:
    """Return an outcome that somebody has signed."""
    said = outcome(config, **more)
    text = host_keys.document(host, said["push_id"], messages.digest(config["config"]), said)
    return {**said, "signature": sign(key, text)}


def unsigned(cloud: FakeCloud, host: FakeHost, config: dict[str, Any]) -> dict[str, Any]:
    return outcome(config)


def failure(cloud: FakeCloud, host: FakeHost, config: dict[str, Any]) -> dict[str, Any]:
    return outcome(config, deploy_result="failed", deploy_status_code=1)


def own_key(cloud: FakeCloud, host: FakeHost, config: dict[str, Any]) -> dict[str, Any]:
    return signed(ATTACKERS_KEY, host.name, config)


def of_the_other_host(cloud: FakeCloud, host: FakeHost, config: dict[str, Any]) -> dict[str, Any]:
    return signed(cloud.hosts["compute-docker-2"].key, host.name, config)


def signed_as_itself(cloud: FakeCloud, host: FakeHost, config: dict[str, Any]) -> dict[str, Any]:
    return signed(cloud.hosts["compute-docker-2"].key, "compute-docker-2", config)


def replayed(cloud: FakeCloud, host: FakeHost, config: dict[str, Any]) -> dict[str, Any]:
    """Return the host's own answer to another push: a true signature."""
    said = signed(host.key, host.name, config, push_id="an-earlier-push")
    return {**said, "push_id": given(config)["push_id"]}


def of_a_megabyte(cloud: FakeCloud, host: FakeHost, config: dict[str, Any]) -> dict[str, Any]:
    return outcome(config, report=json.dumps({"facts": {"x": "y" * 1_000_000}}))


def forging(cloud: FakeCloud, step: str, mode: str, forge: Forge, times: int = 2) -> list[str]:
    """Have outcomes be forged as soon as a step is pushed to the victim; return a log of it."""
    done: list[str] = []

    def after_push(host: FakeHost, config: dict[str, Any]) -> None:
        message = given(config)
        right = step in [entry["name"] for entry in message["steps"]] and message["mode"] == mode
        if host.name == VICTIM and right and len(done) < times:
            done.append(given(config)["push_id"])
            cloud.signal(host.deployment_id, forge(cloud, host, config))

    cloud.after_push = after_push
    # The host is at work for a while when the forged outcome comes.
    cloud.step_s = 0.2
    return done


@pytest.mark.parametrize(
    "forge",
    [unsigned, failure, own_key, of_the_other_host, signed_as_itself, replayed, of_a_megabyte],
)
def test_a_forged_outcome_neither_ends_a_step_nor_fails_it(
    mistral: Mistral, cloud: FakeCloud, forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailbox, "AGAIN_S", 0.5)
    keys = [host.key for host in cloud.hosts.values()]
    assert len({public_text(key) for key in keys}) == len(keys)
    done = forging(cloud, "install_driver", "apply", forge)

    run = mistral.run("novadocker.deploy", timeout_s=240)

    assert len(done) == 2
    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert cloud.hosts[VICTIM].state == CONVERTED
    assert run["output"]["report"]["totals"]["failed"] == 0


def test_a_step_that_a_forger_made_run_twice_is_taken_back(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    victim = cloud.hosts[VICTIM]
    victim.faults["verify_host", "apply"] = "fail"

    def lost(cloud: FakeCloud, host: FakeHost, config: dict[str, Any]) -> dict[str, Any]:
        # Heat drops the host's own outcome, as the forged one has come before it.
        del cloud._ready[host.deployment_id]
        # It went down before it had noted that it was done.
        host.outcomes.clear()
        return outcome(config)

    done = forging(cloud, "configure_compute", "apply", lost, times=1)

    run = mistral.run("novadocker.deploy", {"hosts": VICTIM}, 240)

    assert len(done) == 1
    assert victim.runs.count(("configure_compute", "apply")) == 2
    assert rows(run)[VICTIM]["rolled_back"] is True
    assert (victim.state, victim.status) == (UNTOUCHED, "enabled")


def test_a_forger_who_never_ends_costs_one_host_and_no_more(
    mistral: Mistral, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailbox, "GRACE_S", -24)
    monkeypatch.setattr(mailbox, "AGAIN_S", 60)
    # The host is not heard in time, and its mailbox is told that all is well, again and again.
    cloud.hosts[VICTIM].faults["install_driver", "apply"] = "hang"
    done = forging(cloud, "install_driver", "apply", unsigned, times=1000)

    inputs = {"step_timeout_s": 30, "agent_timeout_s": 30, "max_failed": 1}
    run = mistral.run("novadocker.deploy", inputs, 240)

    # It was sent twice in all, whatever came.
    assert len(done) == 2
    row = rows(run)[VICTIM]
    assert (row["state"], row["step"]) == ("failed", "install_docker, install_driver")
    assert "no outcome with this host's signature came in time, but 1 or more" in row["reason"]
    assert cloud.hosts[VICTIM].state == UNTOUCHED
    assert cloud.hosts["compute-docker-2"].state == CONVERTED


def test_a_forged_export_outcome_gains_no_token(
    mistral: Mistral, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = cloud.hosts["controller"]
    sent: list[str] = []
    forged: list[str] = []

    def after_push(host: FakeHost, config: dict[str, Any]) -> None:
        settings = settings_of(config, "upload_image")
        sent.extend([settings["sealed_token"]] if settings else [])
        if settings_of(config, "export_image") and len(forged) < 3:
            forged.append(given(config)["push_id"])
            facts = {
                "digest": "sha256:" + "b" * 64,
                "sha512": "0" * 128,
                "public_key": public_text(ATTACKERS_KEY),
            }
            step = {"step": "export_image", "ok": True, "changed": True, "facts": facts}
            report = json.dumps({"steps": [step], "log": "", "reason": ""})
            key = None if len(forged) == 1 else ATTACKERS_KEY
            said = signed(key, "controller", config, report=report) if key else outcome(config)
            cloud.signal(host.deployment_id, {**said, "report": report})

    cloud.after_push, cloud.step_s = after_push, 0.2
    monkeypatch.setattr(mailbox, "AGAIN_S", 0.5)

    run = mistral.run("novadocker.deploy", timeout_s=240)

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert sent
    assert forged
    for sealed in sent:
        with pytest.raises(ValueError, match="."):
            unseal(ATTACKERS_KEY, sealed)
        # Who is root there has what uploads, and nothing that an administrator may do.
        assert unseal(controller.key, sealed)["token"] == UPLOADS_TOKEN
    for token in (TOKEN, TRUSTEES_TOKEN, UPLOADS_TOKEN):
        assert not any(token in json.dumps(config) for config in cloud.configs.values())
    # It ends with the run.
    assert cloud.trusts == {}


def test_no_token_is_sealed_for_a_host_whose_key_was_changed_by_itself(
    mistral: Mistral, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailbox, "GRACE_S", -24)
    monkeypatch.setattr(cloud, "_public_keys", lambda *_: pinned(cloud, VICTIM))

    run = mistral.run("novadocker.deploy", {"step_timeout_s": 30, "agent_timeout_s": 30}, 240)

    assert run["state"] == "ERROR"
    assert f"{VICTIM} could not be described: no outcome with this host's" in run["state_info"]
    assert writes(cloud) == []


def pinned(cloud: FakeCloud, other: str) -> tuple[int, dict[str, Any]]:
    """Return keys as they were enrolled, one of which is not what its host signs with."""
    keys = {host.name: public_text(host.key) for host in cloud.hosts.values()}
    value = {**keys, other: public_text(ATTACKERS_KEY)}
    return 200, {"output": {"output_key": "public_keys", "output_value": value}}


def test_nobody_but_an_operator_has_the_executor_sign(mistral: Mistral, cloud: FakeCloud) -> None:
    cloud.callers_roles = ["member", "reader"]

    said = refused(mistral, cloud, {})

    assert "you have none of the roles admin, so no host runs what you ask for" in said
    assert not [config for config in cloud.configs.values() if config["config"]]


def test_another_host_behind_a_name_is_refused_before_anything_changes(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    for name in (VICTIM, "compute-docker-2"):
        nova = {"version": "34.0.0", "compute_driver": "x", "host": f"other-{name}"}
        cloud.hosts[name].told = {"nova": nova}

    said = refused(mistral, cloud, {})

    for name in (VICTIM, "compute-docker-2"):
        assert f"the host that answers as {name} is other-{name} in Nova" in said
    assert "novadocker-enroll remove" in said


@pytest.mark.parametrize("workflow", ["plan", "verify", "undeploy", "preload_images"])
def test_every_workflow_looks_who_answers(
    mistral: Mistral, cloud: FakeCloud, workflow: str
) -> None:
    cloud.hosts["controller"].told = {"hostname": "another"}
    cloud.hosts[VICTIM].configured = True

    run = mistral.run(f"novadocker.{workflow}", {"hosts": [VICTIM]}, 240)

    assert run["state"] == "ERROR"
    assert "the host that answers as controller is called another" in run["state_info"]


def test_a_host_with_the_name_but_not_the_id_of_another_is_refused(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    host = cloud.hosts[VICTIM]
    host.hypervisor_type = "QEMU"
    cloud.hosts["compute-docker-2"].hypervisor_type = "QEMU"
    host.told = {
        "nova": {"version": "34.0.0", "host": VICTIM, "compute_id": "id-of-another"},
    }

    said = refused(mistral, cloud, {})

    assert (
        f"as {VICTIM} has the compute_id id-of-another, in Nova {VICTIM} is {host.service_id}"
        in (said)
    )
    assert "compute-docker-2" not in said


def test_hosts_from_before_there_were_keys_are_refused_with_the_remedy(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    cloud.hosts[VICTIM].pinned = cloud.hosts["controller"].pinned = False

    said = refused(mistral, cloud, {})

    assert f"no key is pinned of {VICTIM}, controller." in said
    assert "repeat `novadocker-enroll add` with their pool" in said
