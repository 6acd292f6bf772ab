# SPDX-License-Identifier: Apache-2.0
"""Messages to hosts: their text, and the executor's key that signs it."""

from __future__ import annotations

import base64
import json
import os
import pathlib
import pwd
import subprocess
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from oslo_config import cfg

from novadocker_actions import host_package
from novadocker_actions.cloud import messages
from novadocker_actions.cmd import enroll
from novadocker_actions.errors import NovadockerError, Refused

STEPS = [("install_docker", {"users": ["nova"]}), ("install_driver", {"requirement": "Größe"})]


def message(**more: Any) -> str:
    """Return the text of a message."""
    given: dict[str, Any] = {
        "host": "compute-1",
        "push_id": "p1",
        "run_id": "r1",
        "mode": "apply",
        "expires_at": 1_900_000_000,
        "timeout_s": 900,
        "steps": STEPS,
    }
    return messages.compose(**{**given, **more})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Return the place of an executor's key."""
    path = tmp_path_factory.mktemp("etc") / "message.key"
    messages.make_key(path)
    return path


@pytest.fixture
def configured(made: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that says where mistral.conf has the key; it is that key at first."""
    cfg.CONF.register_opts(messages.OPTIONS, "novadocker")

    def put(path: pathlib.Path) -> None:
        cfg.CONF.set_override("message_key_file", str(path), "novadocker")

    put(made)
    yield put
    cfg.CONF.clear_override("message_key_file", "novadocker")


class TestText:
    def test_it_says_all_that_the_host_has_to_know(self) -> None:
        said = messages.parse(message())
        assert said == {
            "format": 2,
            "host": "compute-1",
            "push_id": "p1",
            "run_id": "r1",
            "mode": "apply",
            "expires_at": 1_900_000_000,
            "timeout_s": 900,
            "package": host_package.digest(),
            "steps": [{"name": name, "settings": settings} for name, settings in STEPS],
        }

    def test_it_is_one_line_of_ascii_and_the_same_for_the_same(self) -> None:
        text = message()
        assert text.isascii()
        assert "\n" not in text
        assert text == message(steps=[(name, dict(settings)) for name, settings in STEPS])

    @pytest.mark.parametrize(
        "change",
        [
            {"format": 1},
            {"host": None},
            {"push_id": 3},
            {"mode": "destroy"},
            {"expires_at": "soon"},
            {"expires_at": True},
            {"timeout_s": None},
            {"package": None},
            {"steps": {"install_docker": {}}},
            {"steps": ["install_docker"]},
            {"steps": [{"name": "install_docker"}]},
            {"steps": [{"name": "install_docker", "settings": []}]},
        ],
    )
    def test_what_is_not_a_message_is_told(self, change: dict[str, Any]) -> None:
        text = json.dumps({**json.loads(message()), **change})
        with pytest.raises(NovadockerError, match="A message to a host"):
            messages.parse(text)

    @pytest.mark.parametrize("text", ["", "#!/bin/sh", "[]", "2", "[" * 100_000])
    def test_what_was_in_mailboxes_before_is_not_one(self, text: str) -> None:
        with pytest.raises(NovadockerError, match="A message to a host"):
            messages.parse(text)


class TestSigning:
    def verified(self, key: pathlib.Path, text: bytes, signature: str, folder: Any) -> bool:
        """Whether openssl, which hosts have, takes a signature for that of a key."""
        (folder / "signature").write_bytes(base64.b64decode(signature))
        command = ["openssl", "dgst", "-sha256", "-verify", str(messages.public_file(key))]
        for option in ("rsa_padding_mode:pss", "rsa_pss_saltlen:32"):
            command += ["-sigopt", option]
        command += ["-signature", str(folder / "signature")]
        done = subprocess.run(command, input=text, capture_output=True, check=False)
        return done.returncode == 0

    def test_openssl_believes_it_for_just_this_text(
        self, configured: Any, made: pathlib.Path, tmp_path: pathlib.Path
    ) -> None:
        text = message()
        signature = messages.sign(text)
        signed = b"novadocker-message\n" + text.encode()
        assert self.verified(made, signed, signature, tmp_path)
        for other in (
            signed[:-1] + b" ",
            text.encode(),
            signed.replace(b"compute-1", b"compute-2"),
        ):
            assert not self.verified(made, other, signature, tmp_path)

    def test_a_key_that_is_replaced_is_used_at_once(
        self, configured: Any, made: pathlib.Path, tmp_path: pathlib.Path
    ) -> None:
        messages.sign(message())
        other = tmp_path / "other.key"
        messages.make_key(other)
        configured(other)
        signature = messages.sign(message())
        assert not self.verified(made, messages.covered(message()), signature, tmp_path)
        assert self.verified(other, messages.covered(message()), signature, tmp_path)

    def test_without_a_key_the_file_and_the_command_that_makes_it_are_named(
        self, configured: Any, tmp_path: pathlib.Path
    ) -> None:
        configured(tmp_path / "none.key")
        with pytest.raises(
            Refused, match=r"none\.key: cannot be read .*`novadocker-enroll make-key`"
        ):
            messages.sign(message())

    @pytest.mark.parametrize("mode", [0o604, 0o660, 0o644, 0o777])
    def test_a_key_that_others_can_read_is_not_used(
        self, configured: Any, tmp_path: pathlib.Path, mode: int
    ) -> None:
        path = tmp_path / "message.key"
        messages.make_key(path)
        path.chmod(mode)
        configured(path)
        with pytest.raises(Refused, match="can be read by others"):
            messages.sign(message())

    @pytest.mark.parametrize(("kind", "said"), [("text", "no private key"), ("ec", "is not RSA")])
    def test_what_is_no_such_key_is_told(
        self, configured: Any, tmp_path: pathlib.Path, kind: str, said: str
    ) -> None:
        data = b"-----BEGIN\n"
        if kind == "ec":
            data = ec.generate_private_key(ec.SECP256R1()).private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        path = tmp_path / "message.key"
        path.write_bytes(data)
        path.chmod(0o600)
        configured(path)
        with pytest.raises(Refused, match=said):
            messages.sign(message())


class TestMakingAKey:
    def test_it_is_rsa_of_3072_bits_for_its_user_alone(self, made: pathlib.Path) -> None:
        key = serialization.load_pem_private_key(made.read_bytes(), None)
        assert isinstance(key, rsa.RSAPrivateKey)
        assert key.key_size == 3072
        assert made.stat().st_mode & 0o777 == 0o600
        public = serialization.load_pem_public_key(messages.public_file(made).read_bytes())
        assert public == key.public_key()
        assert messages.public_file(made).stat().st_mode & 0o777 == 0o644
        # Nothing else is left beside them.
        assert sorted(path.name for path in made.parent.iterdir()) == ["message.key", "message.pub"]

    def test_one_that_hosts_believe_is_never_replaced(self, made: pathlib.Path) -> None:
        before = made.read_bytes(), messages.public_file(made).read_bytes()
        with pytest.raises(Refused, match="is there already, and enrolled hosts believe it"):
            messages.make_key(made)
        assert (made.read_bytes(), messages.public_file(made).read_bytes()) == before

    def test_the_command_makes_it_for_the_executors_user_who_can_get_there(
        self, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        place = tmp_path / "novadocker"
        place.mkdir(mode=0o700)
        user = pwd.getpwuid(os.getuid())
        path = place / "message.key"
        assert enroll.main(["make-key", "--file", str(path), "--user", user.pw_name]) == 0
        assert path.stat().st_uid == user.pw_uid
        assert place.stat().st_mode & 0o777 == 0o711
        assert str(messages.public_file(path)) in capsys.readouterr().out
        assert enroll.main(["make-key", "--file", str(path), "--user", user.pw_name]) == 1

    def test_a_user_that_is_not_there_is_told(
        self, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        given = ["make-key", "--file", str(tmp_path / "k"), "--user", "no-such-user"]
        assert enroll.main(given) == 1
        assert "there is no user no-such-user here" in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []
