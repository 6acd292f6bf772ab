# SPDX-License-Identifier: Apache-2.0
"""A host's key: the host has `openssl`, the executor has cryptography; each believes the other."""

from __future__ import annotations

import base64
import json
import os
import pathlib
import subprocess
import sys
import time
from typing import Any

import install_agent
import make_host_key
import pytest
import upload_image
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from library import faults, probes
from library import step as steps

from novadocker_actions.cloud import host_keys, messages
from novadocker_actions.errors import NovadockerError
from tests.host_keys import public_text

from .agent import config, want
from .conftest import Make, Programs

HOST = "compute-1"
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[pathlib.Path, str]:
    """Return the place of a key that the host step made, and what it told of it."""
    root = tmp_path_factory.mktemp("host")
    step = steps.Step("make_host_key", "apply", {}, root)
    make_host_key.converge(step)
    return root / "etc/novadocker/host.key", step.facts["public_key"]


@pytest.fixture
def agent(outcomes: Any, made: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the agent's program on a host that is enrolled with that key."""
    monkeypatch.setattr(outcomes, "HOST_KEY", made[0])
    monkeypatch.setattr(outcomes, "HOST_NAME", tmp_path / "host.name")
    (tmp_path / "host.name").write_text(f"{HOST}\n")
    return outcomes


def message(identity: str = "one", **more: Any) -> dict[str, Any]:
    """Return a config as the mailbox has it."""
    given = {"mode": "check", "host": HOST, "push_id": "p1", "expires_at": round(time.time()) + 60}
    given.update(more)
    inputs = [{"name": name, "type": "String", "value": value} for name, value in given.items()]
    return config(identity, inputs=inputs)


def signed_message(identity: str = "one", **more: Any) -> dict[str, Any]:
    """Return a message as the mailbox has it."""
    given = {"format": 2, "host": HOST, "push_id": "p1", "expires_at": round(time.time()) + 60}
    text = json.dumps({**given, **more})
    return {"id": identity, "group": "novadocker", "config": text, "inputs": []}


def told(folder: pathlib.Path) -> dict[str, Any]:
    """Return what the agent told Heat."""
    return dict(json.loads((folder / "told").read_text()))


def believed(outputs: dict[str, Any], key: str, sent: dict[str, Any]) -> bool:
    """Whether the executor takes an outcome for that of a message."""
    push_id = json.loads(sent["config"])["push_id"]
    text = host_keys.document(HOST, push_id, messages.digest(sent["config"]), outputs)
    return host_keys.is_signed(key, outputs.get("signature"), text)


class TestKey:
    def test_it_is_an_rsa_key_of_3072_bits_for_root_alone(self, made: Any) -> None:
        path, public = made
        key = serialization.load_der_public_key(base64.b64decode(public))
        assert isinstance(key, rsa.RSAPublicKey)
        assert key.key_size == 3072
        assert path.stat().st_mode & 0o077 == 0
        assert path.parent.stat().st_mode & 0o077 == 0

    def test_it_is_made_once(self, made: Any) -> None:
        step = steps.Step("make_host_key", "apply", {}, made[0].parents[2])
        make_host_key.converge(step)
        assert (step.actions, step.facts["public_key"]) == ([], made[1])

    def test_check_makes_none(self, make_step: Make, root: pathlib.Path) -> None:
        step = make_step("make_host_key", "check")
        make_host_key.converge(step)
        assert step.actions == ["make /etc/novadocker/host.key"]
        assert not (root / "etc/novadocker").exists()

    def test_a_host_without_openssl_is_told_what_to_install(
        self, make_step: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(steps, "SYSTEM_PATH", "/nowhere")
        with pytest.raises(faults.StepFailed, match="install the package openssl"):
            make_host_key.converge(make_step("make_host_key"))


class TestSigning:
    def notify(self, agent: Any, folder: Any, sent: Any, outcome: Any) -> dict[str, Any]:
        deployed = folder / "deployed" / f"{sent['id']}.json"
        deployed.write_text(json.dumps(sent))
        assert agent.notify(deployed, outcome) == 0
        return told(folder)

    def test_the_executor_believes_what_the_host_signed(
        self, agent: Any, made: Any, tmp_path: pathlib.Path
    ) -> None:
        sent = signed_message()
        report = json.dumps({"reason": "", "facts": {"name": "Köln", "x": "\ud83d"}})
        outcome = {"deploy_result": "ok", "changed": "true", "report": report}
        outputs = self.notify(agent, tmp_path, sent, {**outcome, "deploy_status_code": 0})
        assert outputs["push_id"] == "p1"
        assert believed(outputs, made[1], sent)
        assert not believed(outputs, public_text(OTHER), sent)
        for name in ("deploy_result", "changed", "report"):
            assert not believed({**outputs, name: "other"}, made[1], sent)
        for other in ({"push_id": "p2"}, {"expires_at": round(time.time()) + 99}):
            assert not believed(outputs, made[1], signed_message(**other))

    def test_a_script_that_ended_without_a_word_has_failed_and_that_is_signed(
        self, agent: Any, made: Any, tmp_path: pathlib.Path
    ) -> None:
        sent = signed_message()
        outputs = self.notify(
            agent, tmp_path, sent, {"deploy_status_code": -9, "deploy_stderr": ""}
        )
        assert believed(outputs, made[1], sent)
        assert outputs["deploy_result"] == "failed"
        assert (
            "ended without an outcome, with exit code -9" in json.loads(outputs["report"])["reason"]
        )

    def test_what_the_agent_itself_says_is_signed(
        self, agent: Any, made: Any, tmp_path: pathlib.Path
    ) -> None:
        sent = signed_message()
        want(tmp_path, sent)
        (tmp_path / "deployed/one.json").touch()
        (tmp_path / "deployed/one.again").touch()
        agent.refuse()
        assert believed(told(tmp_path), made[1], sent)
        assert "went down twice" in json.loads(told(tmp_path)["report"])["reason"]

    def test_what_it_says_of_another_text_of_that_name_is_not_believed(
        self, agent: Any, made: Any, tmp_path: pathlib.Path
    ) -> None:
        forged = signed_message(steps=[])
        outputs = self.notify(agent, tmp_path, forged, {"deploy_result": "failed", "report": "{}"})
        assert believed(outputs, made[1], forged)
        assert not believed(outputs, made[1], signed_message())
        (tmp_path / "told").unlink()
        other = {**signed_message(), "group": "ansible", "inputs": message()["inputs"]}
        outputs = self.notify(agent, tmp_path, other, {"deploy_result": "ok", "report": "{}"})
        assert outputs["signature"]
        assert not believed(outputs, made[1], signed_message())

    def test_what_is_too_long_is_signed_as_it_is_told(
        self, agent: Any, made: Any, tmp_path: pathlib.Path
    ) -> None:
        sent = signed_message()
        outcome = {"deploy_result": "failed", "changed": "false", "report": "y" * 100_000}
        outputs = self.notify(agent, tmp_path, sent, outcome)
        assert len(outputs["report"]) == agent.TEXT_CHARS
        assert believed(outputs, made[1], sent)

    def test_a_message_of_a_stack_asks_for_no_signature(
        self, agent: Any, tmp_path: pathlib.Path
    ) -> None:
        outputs = self.notify(agent, tmp_path, config(), {"deploy_result": "ok"})
        assert outputs == {"deploy_result": "ok"}

    def test_a_script_signs_its_outcome_when_it_is_run(
        self, agent: Any, made: Any, tmp_path: pathlib.Path, package: pathlib.Path
    ) -> None:
        environment = {
            **os.environ,
            "heat_outputs_path": str(tmp_path / "out"),
            "mode": "check",
            "settings": "{}",
            "timeout_s": "60",
            "NOVADOCKER_ROOT": str(tmp_path),
        }
        command = [sys.executable, "-I", package, "describe_host"]
        subprocess.run(command, env=environment, check=False, timeout=60)
        outcome = {
            name: (tmp_path / f"out.{name}").read_text()
            for name in ("deploy_result", "changed", "report")
        }
        sent = signed_message()
        assert believed(self.notify(agent, tmp_path, sent, outcome), made[1], sent)

    @pytest.mark.parametrize("signature", ["", None, "€", "AAAA", {"a": 1}, "A" * 1_000_000])
    def test_no_signature_that_anybody_sends_breaks_the_executor(
        self, made: Any, signature: Any
    ) -> None:
        assert host_keys.is_signed(made[1], signature, b"text") is False

    def test_a_pinned_key_that_is_none_is_told(self) -> None:
        with pytest.raises(NovadockerError, match="pinned key cannot be read"):
            host_keys.is_signed("AAAA", "AAAA", b"text")


class TestRefusedMessages:
    @pytest.mark.parametrize(
        ("sent", "reason"),
        [
            ({"expires_at": 1_700_000_000}, "expired at 2023-11-14 22:13:20 UTC"),
            ({"expires_at": "soon"}, "its end cannot be read"),
            (
                {"host": "compute-2"},
                "for the host compute-2, and this host is enrolled as compute-1",
            ),
        ],
    )
    def test_what_is_too_late_or_for_another_host_is_not_run(
        self, agent: Any, made: Any, tmp_path: pathlib.Path, sent: Any, reason: Any
    ) -> None:
        wanted = message(**sent)
        want(tmp_path, wanted)
        agent.refuse()
        outputs = told(tmp_path)
        assert reason in json.loads(outputs["report"])["reason"]
        assert outputs["deploy_result"] == "failed"
        # heat-agents run no config that is marked as deployed.
        assert (tmp_path / "deployed/one.json").exists()

    def test_what_was_interrupted_is_not_run_again_when_its_time_is_over(
        self, agent: Any, tmp_path: pathlib.Path
    ) -> None:
        want(tmp_path, message(expires_at=1_700_000_000))
        (tmp_path / "deployed/one.json").write_text("{}")
        agent.refuse()
        reason = json.loads(told(tmp_path)["report"])["reason"]
        assert reason.startswith("the host went down while it ran this; now this message expired")

    def test_what_is_in_time_and_for_this_host_is_run(
        self, agent: Any, tmp_path: pathlib.Path
    ) -> None:
        want(tmp_path, message())
        agent.refuse()
        assert not (tmp_path / "told").exists()


class TestSealing:
    def seal(self, made: Any, **secret: Any) -> str:
        return host_keys.seal(secret, made[1])

    @pytest.mark.field_case("K5.7")
    @pytest.mark.parametrize("length", [1, 190, 447, 3000, 40_000])
    def test_only_the_host_can_open_what_is_sealed_for_it(self, made: Any, length: Any) -> None:
        token = "t" * length
        sealed = self.seal(made, token=token, image_id="i")
        assert upload_image.unsealed(sealed, made[0]) == {"token": token, "image_id": "i"}
        with pytest.raises(faults.StepFailed, match="was not made for this host's key"):
            upload_image.unsealed(host_keys.seal({"token": token}, public_text(OTHER)), made[0])

    @pytest.mark.parametrize("part", [0, 1, 2])
    def test_what_was_altered_is_not_opened(self, made: Any, part: Any) -> None:
        parts = self.seal(made, token="t").split(".")
        changed = bytearray(base64.b64decode(parts[part]))
        changed[-1] ^= 1
        parts[part] = base64.b64encode(changed).decode()
        with pytest.raises(faults.StepFailed, match="was not made for this host's key"):
            upload_image.unsealed(".".join(parts), made[0])

    def test_a_key_is_in_no_argument_of_a_program(
        self, made: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[list[str]] = []
        real = subprocess.run

        def run(command: Any, *arguments: Any, **options: Any) -> Any:
            seen.append(list(command))
            return real(command, *arguments, **options)

        monkeypatch.setattr(subprocess, "run", run)
        upload_image.unsealed(self.seal(made, token="t"), made[0])
        assert [command[1] for command in seen] == ["pkeyutl", "enc"]
        assert all(len(word) < 48 or word == str(made[0]) for command in seen for word in command)

    def test_nothing_is_sealed_for_a_key_of_another_kind(self) -> None:
        from cryptography.hazmat.primitives.asymmetric import ec

        der = (
            ec.generate_private_key(ec.SECP256R1())
            .public_key()
            .public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        with pytest.raises(NovadockerError, match="no RSA key"):
            host_keys.seal({"token": "t"}, base64.b64encode(der).decode())

    def test_a_host_without_a_key_is_to_be_enrolled_again(
        self, made: Any, tmp_path: pathlib.Path
    ) -> None:
        with pytest.raises(faults.StepFailed, match="novadocker-enroll add"):
            upload_image.unsealed(self.seal(made, token="t"), tmp_path / "none")

    @pytest.mark.parametrize("sealed", ["x", "a.b", "€.€.€"])
    def test_what_is_not_of_that_form_is_told(self, made: Any, sealed: Any) -> None:
        with pytest.raises(faults.StepFailed, match="is not three base64 texts"):
            upload_image.unsealed(sealed, made[0])


class TestEnrolment:
    def test_the_agent_knows_the_name_that_it_signs_with(self, make_step: Make) -> None:
        settings = {"os_collect_config": {"collectors": ["cfn"]}, "polling_interval_s": 30}
        step = make_step("install_agent", host=HOST, **settings)
        assert install_agent.own_files(step)[install_agent.HOST_NAME] == (f"{HOST}\n", 0o600)

    def test_a_host_that_is_taken_out_keeps_neither_key_nor_name(
        self,
        make_step: Make,
        root: pathlib.Path,
        programs: Programs,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        programs("systemctl", "exit 0")
        step = make_step("install_agent")
        make_host_key.converge(make_step("make_host_key"))
        step.write_file(install_agent.HOST_NAME, f"{HOST}\n", 0o600)
        step.remember("home", True)
        install_agent.undo(make_step("install_agent", "undo"))
        assert not (root / "etc/novadocker").exists()

    @pytest.mark.parametrize("place", ["etc", "state"])
    def test_novas_own_id_is_told_where_there_is_one(
        self, tmp_path: pathlib.Path, place: Any
    ) -> None:
        for name in ("etc", "state"):
            (tmp_path / name).mkdir()
        (tmp_path / "etc/nova.conf").write_text(f"[DEFAULT]\nstate_path = {tmp_path}/state\n")
        options = [*("nova-compute", "--config-file"), f"{tmp_path}/etc/nova.conf"]
        program = probes.program_text(probes.nova_options)
        command = [sys.executable, "-c", program, *options]

        def asked() -> dict[str, Any]:
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            return dict(json.loads(done.stdout))

        assert asked()["compute_id"] is None
        (tmp_path / place / "compute_id").write_text("4a0f0f5e-7a2b-4d77-8c1b-3a8f3e1f2a11\n")
        assert asked()["compute_id"] == "4a0f0f5e-7a2b-4d77-8c1b-3a8f3e1f2a11"
