# SPDX-License-Identifier: Apache-2.0
"""Messages on a host: the executor's key and text, the host's openssl, the real package."""

from __future__ import annotations

import base64
import concurrent.futures
import errno
import hashlib
import http.server
import io
import json
import lzma
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from library import inbox, message, package, recipe
from oslo_config import cfg

from novadocker_actions import host_package
from novadocker_actions.cloud import host_keys, messages, progress
from tests.host_keys import public_text, sign

from .agent import config, want

HOST = "compute-1"
# Where the step of these tests counts how often it was run.
COUNT = "counted"
STEP = '''
"""A step of these tests."""
import os, time
from library.faults import StepFailed
SETTINGS = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "number": {"type": "integer", "default": 0},
        "then": {"type": "string", "default": ""},
        "facts": {"type": "object", "default": {}},
    },
}

def converge(step):
    with open(step.path("counted"), "a") as file:
        file.write(f"{step.mode} {step.settings['number']}\\n")
    step.facts.update(step.settings["facts"])
    if step.settings["then"] == "change" and step.will("change something"):
        return
    if step.settings["then"] == "fail":
        raise StepFailed("it went wrong")
    if step.settings["then"] == "hang":
        time.sleep(60)

def undo(step):
    with open(step.path("counted"), "a") as file:
        file.write(f"{step.mode}\\n")
'''


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Return the place of the executor's key."""
    path = tmp_path_factory.mktemp("executor") / "message.key"
    messages.make_key(path)
    return path


@pytest.fixture
def executor(key: pathlib.Path) -> Any:
    """Have the executor sign with that key."""
    cfg.CONF.register_opts(messages.OPTIONS, "novadocker")
    cfg.CONF.set_override("message_key_file", str(key), "novadocker")
    yield
    cfg.CONF.clear_override("message_key_file", "novadocker")


def with_step(old: str = "", new: str = "") -> bytes:
    """Return a package with one more step in it, which counts how often it is run.

    :param old: what of the step's text is another
    """
    assert old in STEP
    data = io.BytesIO(host_package.build())
    with zipfile.ZipFile(data, "a") as archive:
        archive.writestr("configs/count.py", STEP.replace(old, new))
    return data.getvalue()


@pytest.fixture
def host(
    root: pathlib.Path,
    key: pathlib.Path,
    executor: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    """Return a host that is enrolled: it has that package, its name, and the operator's key."""
    (root / "etc/novadocker").mkdir()
    (root / "etc/novadocker/host.name").write_text(f"{HOST}\n")
    public = messages.public_file(key).read_text()
    (root / "etc/novadocker/operator.pub").write_text(public)
    path = package.put(root, with_step())
    package.make_current(path)
    monkeypatch.setattr(host_package, "digest", lambda: path.stem)
    return Host(root, path)


class Host:
    """A host's root directory and package, and how a message is handed to it."""

    def __init__(self, root: pathlib.Path, package_file: pathlib.Path) -> None:
        self.root = root
        self.package = package_file

    def run(self, sent: dict[str, Any]) -> dict[str, Any]:
        """Hand a config to the hook as heat-agents do; return what it tells."""
        done = self.start().communicate(json.dumps(sent), timeout=120)
        assert done[0], done[1]
        return dict(json.loads(done[0]))

    def refuse(self, sent: dict[str, Any]) -> dict[str, Any]:
        """Hand it a config that is refused before any step of the package is looked at."""
        return inbox.answer(sent, self.package, self.root)

    def start(self) -> subprocess.Popen[str]:
        """Start the hook."""
        environment = {**os.environ, "NOVADOCKER_ROOT": str(self.root)}
        return subprocess.Popen(
            [sys.executable, "-I", self.package, "message"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def begin(self, sent: dict[str, Any]) -> subprocess.Popen[str]:
        """Have it under way."""
        process = self.start()
        assert process.stdin
        process.stdin.write(json.dumps(sent))
        process.stdin.close()
        return process

    @property
    def counted(self) -> list[str]:
        """What the step of these tests was run for."""
        path = self.root / COUNT
        return path.read_text().splitlines() if path.exists() else []


def compose(*steps: tuple[str, dict[str, Any]], **more: Any) -> str:
    """Return the text of a message to the host."""
    given: dict[str, Any] = {
        "host": HOST,
        "push_id": "p1",
        "run_id": "r1",
        "mode": "apply",
        "expires_at": round(time.time()) + 600,
        "timeout_s": 300,
    }
    return messages.compose(**{**given, **more}, steps=steps or [("count", {})])


def sent(text: str, signature: str | None = None, identity: str = "one") -> dict[str, Any]:
    """Return a config as the mailbox has it."""
    signed = messages.sign(text) if signature is None else signature
    inputs = [{"name": "signature", "type": "String", "value": signed}]
    return {"id": identity, "group": messages.GROUP, "config": text, "inputs": inputs}


def reason(outputs: dict[str, Any]) -> str:
    """Return why a message was refused, or failed."""
    assert outputs["deploy_result"] == "failed"
    return str(json.loads(outputs["report"])["reason"])


class TestRecipe:
    def test_steps_are_run_in_order_and_each_is_told(self, host: Any) -> None:
        steps = [("count", {"number": 1, "facts": {"a": 1}}), ("count", {"number": 2})]
        outputs = host.run(sent(compose(*steps, ("count", {"number": 3, "then": "change"}))))
        assert host.counted == ["apply 1", "apply 2", "apply 3"]
        assert (outputs["deploy_result"], outputs["changed"]) == ("ok", "true")
        report = json.loads(outputs["report"])
        assert [(s["step"], s["ok"], s["changed"]) for s in report["steps"]] == [
            ("count", True, False),
            ("count", True, False),
            ("count", True, True),
        ]
        assert report["steps"][0]["facts"] == {"a": 1}
        assert report["reason"] == ""
        assert set(report["steps"][0]) == {
            *("step", "ok", "changed", "reason", "facts", "actions", "log", "seconds")
        }

    def test_it_stops_at_the_first_that_fails(self, host: Any) -> None:
        steps = [("count", {}), ("count", {"then": "fail"}), ("count", {"number": 3})]
        outputs = host.run(sent(compose(*steps)))
        assert host.counted == ["apply 0", "apply 0"]
        assert reason(outputs) == "it went wrong"
        told = json.loads(outputs["report"])["steps"]
        assert [step["ok"] for step in told] == [True, False]
        # With the end of the log, which has more on the host.
        assert "step 2 of 3: count, apply" in told[1]["tail"]
        assert len(told[1]["tail"]) <= 1000
        assert "tail" not in told[0]

    def test_a_check_goes_on_so_that_all_that_would_fail_is_told(self, host: Any) -> None:
        steps = [("count", {"then": "fail"}), ("count", {"number": 2}), ("count", {"then": "fail"})]
        outputs = host.run(sent(compose(*steps, mode="check")))
        assert host.counted == ["check 0", "check 2", "check 0"]
        assert (outputs["deploy_result"], reason(outputs)) == ("failed", "it went wrong")
        told = json.loads(outputs["report"])["steps"]
        assert [step["ok"] for step in told] == [False, True, False]

    def test_its_time_is_that_of_all_steps_together(self, host: Any) -> None:
        steps = [("count", {"then": "hang"}), ("count", {})]
        began = time.monotonic()
        outputs = host.run(sent(compose(*steps, timeout_s=1)))
        assert time.monotonic() - began < 50
        assert "timed out after" in reason(outputs)
        assert host.counted == ["apply 0"]

    @pytest.mark.parametrize("mode", ["undo", "roll_back"])
    def test_it_takes_back_in_the_order_of_the_message(self, host: Any, mode: str) -> None:
        steps = [("describe_host", {}), ("count", {"no": "setting"})]
        outputs = host.run(sent(compose(*steps, mode=mode)))
        assert outputs["deploy_result"] == "ok", outputs
        assert host.counted == (["undo"] if mode == "undo" else [])

    def test_its_progress_is_in_the_host_s_log(self, host: Any) -> None:
        steps = [("count", {}), ("count", {"then": "fail"})]
        outputs = host.run(sent(compose(*steps)))
        log = json.loads(outputs["report"])["log"]
        text = (host.root / log.lstrip("/")).read_text()
        assert "step 1 of 2: count, apply" in text
        assert "count: ok after" in text
        assert "count: it went wrong after" in text

    def test_a_real_step_is_run_out_of_the_package(self, host: Any) -> None:
        (host.root / "etc/os-release").write_text("ID=debian\n")
        outputs = host.run(sent(compose(("describe_host", {}), mode="check")))
        assert outputs["deploy_result"] == "ok", outputs
        assert json.loads(outputs["report"])["steps"][0]["facts"]["hostname"]

    def test_a_report_stays_small_and_what_is_least_needed_goes_first(self, host: Any) -> None:
        big = {"number": 1, "facts": {"x": "y" * 40_000}, "then": "change"}
        outputs = host.run(sent(compose(("count", big), ("count", {"facts": {"kept": 1}}))))
        assert len(outputs["report"]) <= 16 * 1024
        first, second = json.loads(outputs["report"])["steps"]
        assert (first["facts"], second["facts"]) == ({"truncated": True}, {"kept": 1})

    def test_many_actions_of_many_steps_stay_within_the_limit(self) -> None:
        steps = [
            {
                "step": f"s{n}",
                "ok": True,
                "changed": True,
                "reason": "r" * 2000,
                "actions": ["a" * 300] * 200,
                "facts": {"f": "f" * 5000},
                "seconds": 1,
                "log": "l",
            }
            for n in range(20)
        ]
        text = recipe.bounded({"steps": steps, "reason": "", "log": "l"})
        assert len(text) <= recipe.REPORT_BYTES
        assert len(json.loads(text)["steps"]) == 20

    def test_the_end_of_a_log_gives_way_before_what_hosts_are_judged_by(self) -> None:
        # Each character that is none takes six of JSON's.
        tail = {"tail": "\ufffd" * 1000, "facts": {"disturbs": False}}
        step = {"step": "s", "ok": False, "changed": False, "reason": "r", "actions": []}
        steps = [{**step, **tail} for _ in range(4)]
        told = json.loads(recipe.bounded({"steps": steps, "reason": "r", "log": "l"}))["steps"]
        assert [step["facts"] for step in told] == [{"disturbs": False}] * 4

    @pytest.mark.parametrize(
        ("line", "sent_line"),
        [
            ("GET https://ci:s3cr3t@mirror.test/simple", "GET https://ci:***@mirror.test/simple"),
            ("connection = mysql://nova:s3cr3t@db/nova", "connection = mysql://nova:***@db/nova"),
            ("password = s3cr3t", "password = ***"),
            ('{"auth_token": "s3cr3t", "a": 1}', '{"auth_token": "***", "a": 1}'),
            ("Authorization: Basic s3cr3t", "Authorization: Basic ***"),
            ("http://mirror.test:8080/a@b", "http://mirror.test:8080/a@b"),
        ],
    )
    def test_secrets_in_the_end_of_a_log_stay_on_the_host(
        self, tmp_path: pathlib.Path, line: str, sent_line: str
    ) -> None:
        log = tmp_path / "recipe.log"
        log.write_text(f"begun\n{line}\n")
        assert recipe.log_tail(log) == f"begun\n{sent_line}\n"
        # A secret that the cut would part from its name is none that is sent.
        log.write_text(f"password={'s3cr3t' * 300}\n")
        assert "s3cr3t" not in recipe.log_tail(log)


class TestProgress:
    """A host tells Heat which step it is at; a recipe neither waits for that nor ends by it."""

    @pytest.fixture
    def told(self, host: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        """Stand in for Keystone and Heat; what they were asked for is in ``told.asked``."""
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        (tmp_path / "host.key").write_bytes(pem)
        (tmp_path / "host.key").chmod(0o600)
        monkeypatch.setenv("NOVADOCKER_HOST_KEY", str(tmp_path / "host.key"))
        monkeypatch.setenv("NOVADOCKER_HOST_NAME", str(host.root / "etc/novadocker/host.name"))
        with Signalled() as signalled:
            signalled.key = private
            access = {
                **{"auth_url": f"{signalled.address}/v3", "user_id": "u", "password": "secret"},
                **{"project_id": "p", "alarm_url": f"{signalled.address}/handle/signal"},
            }
            place = host.root / "etc/novadocker/progress.json"
            place.write_text(json.dumps(access))
            place.chmod(0o600)
            yield signalled

    def with_pause(self, host: Any, pause_s: float) -> None:
        """Have the host tell it as often as that."""
        data = io.BytesIO()
        with (
            zipfile.ZipFile(io.BytesIO(with_step())) as old,
            zipfile.ZipFile(data, "w") as archive,
        ):
            for name in old.namelist():
                text = old.read(name).decode()
                if name == "library/progress.py":
                    text = text.replace("PAUSE_S = 5", f"PAUSE_S = {pause_s}")
                archive.writestr(name, text)
        path = package.put(host.root, data.getvalue())
        package.make_current(path)
        host.package = path
        host_package.digest = lambda: path.stem

    def test_each_step_after_the_first_is_told_in_a_signed_word(self, host: Any, told: Any) -> None:
        self.with_pause(host, 0)
        text = compose(("count", {"number": 1}), ("count", {"number": 2}), ("describe_host", {}))
        (host.root / "etc/os-release").write_text("ID=debian\n")
        outputs = host.run(sent(text))
        assert outputs["deploy_result"] == "ok", outputs
        words = told.words(2)
        assert [(w["id"], w["status"]) for w in words] == [(HOST, "SUCCESS")] * 2
        by_number = {json.loads(word["data"])["number"]: word for word in words}
        assert by_number[3]["reason"] == f"{HOST} is at step 3 of 3: describe_host"
        public = public_text(told.key)
        for number, step in ((2, "count"), (3, "describe_host")):
            said = json.loads(by_number[number]["data"])
            covered = progress.document(HOST, "p1", messages.digest(text), number, step)
            assert host_keys.is_signed(public, said["signature"], covered)
            assert len(json.dumps(by_number[number])) < 1024
        # To the handle alone, with a token of its user.
        assert set(told.asked) == {"/v3/auth/tokens?nocatalog", "/handle/signal"}

    def test_what_is_soon_over_is_told_by_its_outcome_alone(self, host: Any, told: Any) -> None:
        outputs = host.run(sent(compose(("count", {}), ("count", {}))))
        assert outputs["deploy_result"] == "ok"
        time.sleep(0.5)
        assert told.asked == []

    def test_a_heat_that_is_away_or_hangs_is_not_waited_for(self, host: Any, told: Any) -> None:
        self.with_pause(host, 0)
        told.hang_s = 30
        began = time.monotonic()
        outputs = host.run(sent(compose(("count", {}), ("count", {}))))
        assert outputs["deploy_result"] == "ok"
        assert time.monotonic() - began < 15
        told.close()
        outputs = host.run(sent(compose(("count", {}), ("count", {}), push_id="p2")))
        assert outputs["deploy_result"] == "ok"
        log = host.root / json.loads(outputs["report"])["log"].lstrip("/")
        for _ in range(100):
            if "could not be told" in log.read_text():
                break
            time.sleep(0.1)
        assert "that step 2 begins could not be told: " in log.read_text()
        assert "secret" not in log.read_text()

    def test_what_others_could_change_is_not_used(self, host: Any, told: Any) -> None:
        self.with_pause(host, 0)
        (host.root / "etc/novadocker/progress.json").chmod(0o666)
        outputs = host.run(sent(compose(("count", {}), ("count", {}))))
        assert outputs["deploy_result"] == "ok"
        assert told.asked == []


class Signalled:
    """Keystone and Heat, as far as a host asks them to signal a handle."""

    key: rsa.RSAPrivateKey
    hang_s = 0.0

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.asked.append(self.path)
                time.sleep(outer.hang_s)
                if self.path == "/handle/signal":
                    assert self.headers["X-Auth-Token"] == "a-token"
                    outer.bodies.append(json.loads(body))
                self.send_response(201)
                self.send_header("X-Subject-Token", "a-token")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()

    def words(self, count: int) -> list[dict[str, Any]]:
        """Return what the handle was told, when that is so many words."""
        until = time.monotonic() + 30
        while len(self.bodies) < count and time.monotonic() < until:
            time.sleep(0.05)
        return self.bodies


class TestRefused:
    """Nothing is run, nothing on the host changes, and the reason names the remedy."""

    @pytest.fixture(autouse=True)
    def unchanged(self, host: Any) -> Any:
        before = tree(host.root)
        yield
        assert host.counted == []
        assert tree(host.root) == before

    def test_a_message_that_nobody_signed(self, host: Any) -> None:
        assert "is not signed, and this host" in reason(host.refuse(sent(compose(), "")))

    def test_a_message_that_somebody_else_signed(
        self, host: Any, tmp_path: pathlib.Path, key: pathlib.Path
    ) -> None:
        other = tmp_path / "other.key"
        messages.make_key(other)
        cfg.CONF.set_override("message_key_file", str(other), "novadocker")
        told = reason(host.refuse(sent(compose())))
        assert "not signed by the operator, or was altered (1 keys in" in told

    @pytest.mark.parametrize("signature", ["€", "AAAA", "no base64!", "A" * 100_000])
    def test_a_signature_that_is_none(self, host: Any, signature: str) -> None:
        assert "not signed by the operator" in reason(host.refuse(sent(compose(), signature)))

    def test_one_altered_byte_wherever_it_is(self, host: Any) -> None:
        text = compose()
        signature = messages.sign(text)
        for place in range(0, len(text), 23):
            altered = f"{text[:place]}{chr(ord(text[place]) ^ 1)}{text[place + 1 :]}"
            outputs = host.refuse(sent(altered, signature))
            assert "was altered" in reason(outputs), altered

    def test_a_signature_of_another_kind_is_none_of_a_message(
        self, host: Any, key: pathlib.Path
    ) -> None:
        text = compose()
        private = serialization.load_pem_private_key(key.read_bytes(), None)
        assert isinstance(private, rsa.RSAPrivateKey)
        assert "was altered" in reason(host.refuse(sent(text, sign(private, text.encode()))))

    def test_a_character_that_is_none_for_one_that_was_signed(self, host: Any) -> None:
        text = compose(push_id="what?")
        altered = text.replace("?", chr(0xDC00))
        assert "is no text" in reason(host.refuse(sent(altered, messages.sign(text))))

    @pytest.mark.parametrize("name", ["operator.pub", "host.name", ""])
    @pytest.mark.parametrize("how", ["link", "group", "others", "owner"])
    def test_what_others_than_root_can_change_is_not_trusted(
        self, host: Any, name: str, how: str, tmp_path: pathlib.Path
    ) -> None:
        place = host.root / "etc/novadocker" / name
        match how:
            case "link":
                place.rename(tmp_path / "theirs")
                place.symlink_to(tmp_path / "theirs")
            case "owner":
                os.chown(place, 65534, -1)
            case _:
                place.chmod(0o777 if how == "others" else 0o775)
        told = reason(host.refuse(sent(compose())))
        assert f"{place} is not root's alone" in told
        assert f"`chmod go-w {place}`" in told
        if how == "link":
            place.unlink()
            (tmp_path / "theirs").rename(place)

    def test_a_clock_that_is_far_behind_is_told_and_runs_nothing(
        self, host: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        text = compose()
        now = time.time()
        monkeypatch.setattr(message.time, "time", lambda: now - 7200)
        told = reason(host.refuse(sent(text)))
        assert "it cannot be told which messages are over: set the clock" in told

    @pytest.mark.parametrize("minutes", [-10, 10])
    def test_a_clock_that_is_ten_minutes_off_runs_what_is_long_enough(
        self, host: Any, minutes: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        text = compose(expires_at=round(time.time()) + 930, timeout_s=900)
        now = time.time()
        monkeypatch.setattr(message.time, "time", lambda: now + 60 * minutes)
        message.require_time(message.read_message(text))

    def test_a_message_to_another_host(self, host: Any) -> None:
        told = reason(host.refuse(sent(compose(host="compute-2"))))
        assert "for the host compute-2, and this host is enrolled as compute-1" in told

    def test_an_expired_message(self, host: Any) -> None:
        told = reason(host.refuse(sent(compose(expires_at=1_700_000_000))))
        assert "expired at 2023-11-14 22:13:20 UTC" in told
        assert "run the workflow again; if the message was new, set the clock" in told

    def test_a_message_for_another_package(
        self, host: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(host_package, "digest", lambda: "0" * 64)
        told = reason(host.refuse(sent(compose())))
        assert "made for the package 000000000000 of steps" in told
        assert "run `novadocker-enroll update compute-1`" in told

    @pytest.mark.parametrize("name", ["no_such_step", "outcome", "inbox"])
    def test_a_step_that_the_package_has_not(self, host: Any, name: str) -> None:
        assert f"knows no step {name}" in reason(host.run(sent(compose((name, {})))))

    @pytest.mark.parametrize("name", ["../library/step", "library.step", "", "Count", "count\n"])
    def test_a_name_that_is_no_step_s(self, host: Any, name: str) -> None:
        assert "a step without a name" in reason(host.refuse(sent(compose((name, {})))))

    @pytest.mark.parametrize("name", ["install_agent", "make_host_key"])
    def test_what_makes_a_host_trust_somebody_comes_over_ssh_alone(
        self, host: Any, name: str
    ) -> None:
        assert "over SSH by novadocker-enroll alone" in reason(
            host.refuse(sent(compose((name, {}))))
        )

    def test_settings_that_misfit_in_any_step_before_the_first_is_run(self, host: Any) -> None:
        steps = [("count", {}), ("count", {"number": "hidden"})]
        told = reason(host.run(sent(compose(*steps))))
        assert told == "count settings.number: expected integer, got str"

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"mode": "destroy"}, "mode: must be one of"),
            ({"mode": "roll_back", "run_id": ""}, "run_id: is required to roll back"),
            ({"timeout_s": 0}, "no push_id, or a timeout_s not within 0 to 86400"),
            ({"timeout_s": 1e9}, "no push_id, or a timeout_s not within 0 to 86400"),
            ({"push_id": ""}, "no push_id, or a timeout_s not within 0 to 86400"),
            ({"expires_at": None}, "has no expires_at that can be used"),
        ],
    )
    def test_what_cannot_be_meant(self, host: Any, change: dict[str, Any], said: str) -> None:
        assert said in reason(host.run(sent(compose(**change))))

    @pytest.mark.parametrize("text", ['{"format": 3}', "[]", "#!/bin/sh\n", "[" * 10_000])
    def test_what_is_no_message_though_it_is_signed(self, host: Any, text: str) -> None:
        assert "this message is not" in reason(host.refuse(sent(text)))

    def test_more_steps_than_anybody_means(self, host: Any) -> None:
        steps = [("count", {})] * 51
        assert "list 1 to 50 steps" in reason(host.refuse(sent(compose(*steps))))

    def test_a_host_that_knows_no_operator(self, host: Any) -> None:
        keys = host.root / "etc/novadocker/operator.pub"
        text = keys.read_text()
        keys.write_text("")
        try:
            assert "run `novadocker-enroll add` for it again" in reason(
                host.refuse(sent(compose()))
            )
        finally:
            keys.write_text(text)


def tree(root: pathlib.Path) -> dict[str, bytes]:
    """Return the files of a host, but for its lock."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }


class TestOnce:
    def test_a_replayed_message_is_not_run_again_and_its_outcome_is_told(self, host: Any) -> None:
        text = compose(("count", {"then": "change", "facts": {"a": 1}}))
        first = host.run(sent(text))
        assert host.run(sent(text, identity="two")) == first
        assert host.counted == ["apply 0"]
        # Nor when a message of another text has its name.
        assert host.run(sent(compose(("count", {"number": 9})))) == first
        assert host.counted == ["apply 0"]

    def test_a_failure_is_told_again_too_when_its_time_is_over(
        self, host: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        text = compose(("count", {"then": "fail"}))
        first = host.run(sent(text))
        monkeypatch.setattr(message.time, "time", lambda: json.loads(text)["expires_at"] + 1)
        told = host.refuse(sent(text))
        assert told == {name: first[name] for name in told}
        assert reason(told) == "it went wrong"
        assert host.counted == ["apply 0"]

    def test_a_crash_in_the_middle_has_it_run_once_more_from_its_first_step(
        self, host: Any
    ) -> None:
        text = compose(("count", {"number": 1}), ("count", {"number": 2, "then": "hang"}))
        self.crash(host, text, 2)
        self.crash(host, text, 4)
        assert host.counted == ["apply 1", "apply 2"] * 2
        assert "went down twice" in reason(host.run(sent(text)))
        assert len(host.counted) == 4

    def test_after_that_it_is_not_told_as_if_nothing_had_been_begun(self, host: Any) -> None:
        text = compose(("count", {"then": "hang"}))
        self.crash(host, text, 1)
        self.crash(host, text, 2)
        assert json.loads(host.run(sent(text))["report"])["begun"] is True

    def test_a_clock_that_was_set_back_replays_nothing(
        self, host: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = round(time.time())
        old = compose(push_id="old", expires_at=now - 86400, timeout_s=300)
        host.run(sent(compose()))
        monkeypatch.setattr(message.time, "time", lambda: now - 86500)
        told = reason(host.refuse(sent(old)))
        assert "has run one of" in told
        assert "was set back; set the clock" in told
        assert host.counted == ["apply 0"]

    def test_when_the_last_one_was_made_is_never_forgotten(
        self, host: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place = host.root / "var/lib/novadocker/messages"
        for number in range(3):
            expires_at = round(time.time()) + 600 + number
            host.run(sent(compose(push_id=f"p{number}", expires_at=expires_at)))
        later = time.time() + 30 * 86400
        monkeypatch.setattr(inbox.time, "time", lambda: later)
        latest = inbox.drop_old(place)
        assert latest > later - 31 * 86400
        assert len(list(place.iterdir())) == 1
        assert inbox.drop_old(place) == latest

    def test_a_full_disk_before_the_first_step_runs_none_and_is_told(
        self, host: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        monkeypatch.setattr(inbox, "replace_file", mock.Mock(side_effect=full))
        told = host.refuse(sent(compose(("describe_host", {}), mode="check")))
        assert "No space left on device" in reason(told)
        assert not list((host.root / "var/lib/novadocker/messages").iterdir())

    def test_a_full_disk_after_the_last_step_loses_no_outcome(
        self, host: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(inbox, "run_recipe", lambda *_: {"steps": [], "reason": ""})
        monkeypatch.setattr(inbox, "parts_of", lambda _message: [])
        written: list[str] = []

        def replace_file(path: pathlib.Path, *_more: Any) -> None:
            if written:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            written.append(path.name)

        monkeypatch.setattr(inbox, "replace_file", replace_file)
        monkeypatch.setattr(inbox, "package_for", lambda *_: None)
        assert host.refuse(sent(compose()))["deploy_result"] == "ok"
        assert len(written) == 1

    def crash(self, host: Any, text: str, lines: int) -> None:
        """Take the power from a host once its step has been run so often."""
        process = host.begin(sent(text))
        wait(lambda: len(host.counted) == lines)
        process.kill()
        process.wait()

    def test_after_a_crash_it_ends_as_if_there_had_been_none(self, host: Any) -> None:
        text = compose(("count", {"number": 1}), ("count", {"number": 2, "then": "hang"}))
        self.crash(host, text, 2)
        (record,) = (host.root / "var/lib/novadocker/messages").iterdir()
        assert json.loads(record.read_text())["outputs"] is None
        # Somebody mends what it hung at.
        host.package = package.put(host.root, with_step("time.sleep(60)", "pass"))
        outputs = host.run(sent(json.dumps({**json.loads(text), "package": host.package.stem})))
        assert outputs["deploy_result"] == "ok"
        assert host.counted[2:] == ["apply 1", "apply 2"]
        log = host.root / json.loads(outputs["report"])["log"].lstrip("/")
        assert "went down while it ran this, and it is run once more" in log.read_text()

    def test_what_a_reboot_stops_is_run_once_more(self, host: Any) -> None:
        text = compose(("count", {"then": "hang"}))
        process = host.begin(sent(text))
        wait(lambda: host.counted)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
        (record,) = (host.root / "var/lib/novadocker/messages").iterdir()
        assert json.loads(record.read_text())["outputs"] is None

    def test_after_a_crash_it_is_not_begun_when_its_time_is_over(
        self, host: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        text = compose(("count", {"then": "hang"}))
        self.crash(host, text, 1)
        monkeypatch.setattr(message.time, "time", lambda: json.loads(text)["expires_at"] + 1)
        told = reason(host.refuse(sent(text)))
        assert told.startswith("the host went down while it ran this; now this message expired")

    def test_two_at_a_time_are_one_after_the_other(self, host: Any) -> None:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            done = pool.map(lambda _: host.run(sent(compose())), range(3))
            assert len({json.dumps(outputs) for outputs in done}) == 1
        assert host.counted == ["apply 0"]

    def test_a_record_that_cannot_be_read_is_no_reason_to_run_it_again(self, host: Any) -> None:
        host.run(sent(compose()))
        (record,) = (host.root / "var/lib/novadocker/messages").iterdir()
        record.write_text("{")
        assert "it is not known whether this message was run" in reason(host.run(sent(compose())))
        assert host.counted == ["apply 0"]

    def test_what_can_no_longer_come_again_is_forgotten(self, host: Any) -> None:
        host.run(sent(compose()))
        (record,) = (host.root / "var/lib/novadocker/messages").iterdir()
        assert record.stat().st_mode & 0o077 == 0
        data = json.loads(record.read_text())
        record.write_text(json.dumps({**data, "expires_at": time.time() - inbox.KEPT_S + 60}))
        host.run(sent(compose(push_id="p2")))
        assert record.exists()
        record.write_text(json.dumps({**data, "expires_at": time.time() - inbox.KEPT_S - 60}))
        host.run(sent(compose(push_id="p3")))
        assert not record.exists()


def wait(condition: Callable[[], Any], timeout_s: float = 120) -> None:
    """Wait until something is true."""
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


class TestOperators:
    def test_one_key_is_replaced_by_another_while_both_are_believed(
        self, host: Any, tmp_path: pathlib.Path
    ) -> None:
        new = tmp_path / "new.key"
        messages.make_key(new)
        keys = host.root / "etc/novadocker/operator.pub"
        old_text = keys.read_text()
        keys.write_text(old_text + messages.public_file(new).read_text())
        assert host.run(sent(compose(push_id="p1")))["deploy_result"] == "ok"
        cfg.CONF.set_override("message_key_file", str(new), "novadocker")
        assert host.run(sent(compose(push_id="p2")))["deploy_result"] == "ok"
        keys.write_text(old_text)
        assert "was altered" in reason(host.run(sent(compose(push_id="p3"))))

    def test_a_mailbox_that_asks_for_nothing_is_answered(self, host: Any) -> None:
        text = '{"format": 2, "steps": []}'
        outputs = host.run(sent(text, ""))
        assert outputs["deploy_result"] == "ok"
        report = json.loads(outputs["report"])
        assert (report["steps"], report["package"]) == ([], host_package.digest())


class TestPackage:
    def install(self, data: bytes) -> tuple[str, dict[str, Any]]:
        text = base64.b85encode(lzma.compress(data)).decode()
        return "install_package", {"sha256": hashlib.sha256(data).hexdigest(), "data": text}

    def test_a_signed_message_brings_the_next_package(
        self, host: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = with_step("it went wrong", "it went worse")
        # The executor is of that release already.
        monkeypatch.setattr(host_package, "digest", lambda: hashlib.sha256(data).hexdigest())
        outputs = host.run(sent(compose(self.install(data))))
        assert (outputs["deploy_result"], outputs["changed"]) == ("ok", "true"), outputs
        current = host.root / "usr/local/lib/novadocker/novadocker-host.pyz"
        assert current.read_bytes() == data
        again = host.run(sent(compose(self.install(data), push_id="p2")))
        assert (again["deploy_result"], again["changed"]) == ("ok", "false")

    def test_one_that_was_asked_for_before_is_there_beside_it(
        self, host: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        old, data = host_package.digest(), with_step("it went wrong", "it went worse")
        host.run(sent(compose(self.install(data))))
        host.package = package.held(
            host.root, package.digest_of(host.root / "usr/local/lib/novadocker/novadocker-host.pyz")
        )
        # A message of an executor that is still of the old release.
        asked = compose(("count", {"then": "fail"}), push_id="p2")
        assert json.loads(asked)["package"] == old
        monkeypatch.setenv("NOVADOCKER_ROOT", str(host.root))
        assert reason(host.run(sent(asked))) == "it went wrong"
        new = json.loads(compose(("count", {"then": "fail"}), push_id="p3"))
        new["package"] = host.package.stem
        assert reason(host.run(sent(json.dumps(new)))) == "it went worse"

    def test_a_recipe_that_is_under_way_goes_on_with_its_own(self, host: Any) -> None:
        go = host.root / "go"
        awaited = "while not os.path.exists(step.path('go')): time.sleep(0.1)"
        host.package = package.put(host.root, with_step("time.sleep(60)", awaited))
        package.make_current(host.package)
        steps = [("count", {"then": "hang"}), ("describe_host", {})]
        first = json.loads(compose(*steps, mode="check"))
        first["package"] = host.package.stem
        process = host.begin(sent(json.dumps(first)))
        wait(lambda: host.counted)
        # As `novadocker-enroll update` does.
        following = host.root / "next.pyz"
        following.write_bytes(host_package.build())
        digest = package.digest_of(following)
        given = {"NOVADOCKER_ROOT": str(host.root), "settings": json.dumps({"sha256": digest})}
        done = subprocess.run(
            [sys.executable, "-I", following, "install_package"],
            env={**os.environ, **given},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert json.loads(done.stdout)["changed"] == "true", done
        assert package.is_current(host.package.with_name(f"{digest}.pyz"))
        (host.root / "etc/os-release").write_text("ID=debian\n")
        go.touch()
        outputs = json.loads(process.stdout.read())
        assert outputs["deploy_result"] == "ok", outputs

    @pytest.mark.parametrize("data", ["", "AAAA", "€", "eJw="])
    def test_what_is_no_package_is_not_installed(self, host: Any, data: str) -> None:
        step = ("install_package", {"sha256": "0" * 64, "data": data})
        assert reason(host.run(sent(compose(step)))).startswith("data: is")
        assert package.is_current(host.package)

    def test_one_that_does_not_run_here_is_not_used(self, host: Any) -> None:
        data = with_step("import os, time", "import os, tim")
        told = reason(host.run(sent(compose(self.install(data)))))
        assert "No module named 'tim'" in told
        assert package.is_current(host.package)

    def test_a_package_that_was_altered_on_the_host_is_not_run(
        self, host: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = with_step("it went wrong", "it went worse")
        other = package.put(host.root, data)
        other.write_bytes(data + b"\n")
        monkeypatch.setattr(host_package, "digest", lambda: other.stem)
        assert "made for the package" in reason(host.run(sent(compose())))

    def test_a_package_that_others_than_root_can_change_is_not_run(self, host: Any) -> None:
        other = package.put(host.root, with_step("time.sleep(60)", "pass"))
        text = json.dumps({**json.loads(compose()), "package": other.stem})
        other.chmod(0o666)
        assert f"{other} is not root's alone" in reason(host.run(sent(text)))
        assert not host.counted

    def test_one_that_nobody_asks_for_goes_away_after_a_week(self, host: Any) -> None:
        old = package.put(host.root, b"old")
        asked = package.put(host.root, b"asked for")
        for path in (old, asked, host.package):
            os.utime(path, (1, time.time() - package.KEPT_S - 60))
        package.keep(asked)
        assert package.drop_old(host.root) == [old.name]
        assert asked.exists()
        assert host.package.exists()


class TestOtherGroups:
    """Who may write in the stacks' project is not root on a host by that."""

    @pytest.fixture
    def agent(self, outcomes: Any, tmp_path: pathlib.Path) -> Any:
        (tmp_path / "operator.pub").write_text("-----BEGIN PUBLIC KEY-----\n")
        (tmp_path / "hooks/ansible").touch()
        return outcomes

    @pytest.mark.parametrize(
        "group", ["script", "ansible", "component", "os-apply-config", "script!"]
    )
    def test_what_nobody_signs_is_not_run_on_a_host_that_knows_its_operator(
        self, agent: Any, tmp_path: pathlib.Path, group: str
    ) -> None:
        want(tmp_path, config(group=group))
        agent.refuse()
        told = json.loads((tmp_path / "told").read_text())
        assert told["deploy_status_code"] == 1
        assert (tmp_path / "deployed/one.json").exists()
        if group != "script!":
            assert "runs what the operator has signed" in told["deploy_stderr"]
            assert "enrol it with --trust-stacks" in told["deploy_stderr"]

    def test_nor_when_it_says_that_it_was_interrupted(
        self, agent: Any, tmp_path: pathlib.Path
    ) -> None:
        want(tmp_path, config())
        (tmp_path / "deployed/one.json").write_text("{}")
        agent.refuse()
        assert (tmp_path / "deployed/one.json").exists()
        assert "runs what the operator" in (tmp_path / "told").read_text()

    def test_a_hook_is_not_run_even_where_nothing_refused_before(
        self, agent: Any, tmp_path: pathlib.Path, capfd: Any
    ) -> None:
        hook = tmp_path / "hook"
        hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        hook.chmod(0o755)
        assert agent.hook(hook, config()) == 0
        assert not (tmp_path / "ran").exists()
        told = json.loads(capfd.readouterr().out)
        assert "runs what the operator has signed" in told["deploy_stderr"]
        assert told["deploy_status_code"] == 1

    def test_the_operator_can_have_stacks_push_to_it(
        self, agent: Any, tmp_path: pathlib.Path
    ) -> None:
        (tmp_path / "unsigned").write_text("run\n")
        want(tmp_path, config())
        agent.refuse()
        assert not (tmp_path / "told").exists()
        (tmp_path / "unsigned").write_text("refuse\n")
        agent.refuse()
        assert (tmp_path / "told").exists()

    def test_messages_are_left_to_the_hook_that_looks_at_their_signature(
        self, agent: Any, tmp_path: pathlib.Path
    ) -> None:
        expired = {"format": 2, "host": "other", "push_id": "p", "expires_at": 1, "steps": []}
        want(tmp_path, config(group="novadocker", config=json.dumps(expired)))
        agent.refuse()
        assert not (tmp_path / "told").exists()

    @pytest.mark.parametrize("text", [None, "", "[]", "{", 3, "[" * 100_000])
    def test_no_text_that_anybody_puts_there_breaks_the_agent(
        self, agent: Any, tmp_path: pathlib.Path, text: Any
    ) -> None:
        want(tmp_path, config(group="novadocker", config=text))
        assert agent.refuse() == 0
        deployed = tmp_path / "deployed/one.json"
        deployed.write_text(json.dumps(config(group="novadocker", config=text)))
        assert agent.notify(deployed, {"deploy_result": "failed"}) == 0

    def test_the_outcome_of_a_message_is_signed_for_what_the_message_says(
        self, agent: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        host_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        from cryptography.hazmat.primitives import serialization

        (tmp_path / "host.key").write_bytes(
            host_key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        (tmp_path / "host.name").write_text(f"{HOST}\n")
        monkeypatch.setattr(agent, "HOST_KEY", tmp_path / "host.key")
        monkeypatch.setattr(agent, "HOST_NAME", tmp_path / "host.name")
        text = compose()
        deployed = tmp_path / "deployed/one.json"
        deployed.write_text(json.dumps({**sent(text, "x")}))
        said = {"deploy_result": "ok", "changed": "true", "report": "{}"}
        assert agent.notify(deployed, said) == 0
        told = json.loads((tmp_path / "told").read_text())
        document = host_keys.document(HOST, "p1", messages.digest(text), told)
        assert host_keys.is_signed(public_text(host_key), told["signature"], document)
