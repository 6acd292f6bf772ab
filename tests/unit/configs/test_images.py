# SPDX-License-Identifier: Apache-2.0
"""check_images, export_image and upload_image, with a registry, an engine and a Glance."""

from __future__ import annotations

import base64
import hashlib
import json
import pathlib
import socket
import time
import urllib.parse
from collections.abc import Iterator
from typing import Any

import check_images
import export_image
import pytest
import upload_image
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from library import engine as library_engine
from library import faults, references
from library import glance as library_glance
from library import registries as library_registries

from novadocker_actions.cloud import host_keys
from tests.host_keys import public_text

from .certificates import Authority
from .conftest import Make, Programs
from .engine import engine
from .registry import DIGEST, Registry, serving

TOKEN = "gAAAA-" + "t" * 150


class TestCheckImages:
    def run(self, make_step: Make, images: Any) -> Any:
        step = make_step("check_images", "check", images=images)
        check_images.converge(step)
        return step.facts

    def test_images_are_found_or_the_reason_is_told(
        self, make_step: Make, root: pathlib.Path
    ) -> None:
        with serving(Registry) as place:
            (root / "etc/docker").mkdir()
            settings = json.dumps({"insecure-registries": [place]})
            (root / "etc/docker/daemon.json").write_text(settings)
            good, bad = f"{place}/org/app:1.2", f"{place}/org/app:1.3"
            outcome = self.run(make_step, [good, bad])
        assert outcome[good] == {"ok": True, "digest": DIGEST, "reason": ""}
        assert outcome[bad]["ok"] is False
        assert "no such image" in outcome[bad]["reason"]

    def test_mirrors_of_the_host_come_before_the_hub(
        self, make_step: Make, root: pathlib.Path
    ) -> None:
        (root / "etc/docker").mkdir()
        settings = json.dumps({"registry-mirrors": ["https://mirror:5443/"]})
        (root / "etc/docker/daemon.json").write_text(settings)
        registries = library_registries.Registries(make_step("check_images"))
        assert registries.endpoints("docker.io") == [
            "https://mirror:5443",
            "https://registry-1.docker.io",
        ]
        assert registries.endpoints("quay.io") == ["https://quay.io"]

    @pytest.mark.parametrize(
        ("reference", "parts"),
        [
            ("busybox", ("docker.io", "library/busybox", "latest")),
            ("org/app:1", ("docker.io", "org/app", "1")),
            ("docker.io/busybox", ("docker.io", "library/busybox", "latest")),
            ("localhost/x", ("localhost", "x", "latest")),
            ("host:5000/x/y:2", ("host:5000", "x/y", "2")),
            (f"quay.io/x@{DIGEST}", ("quay.io", "x", DIGEST)),
            (f"quay.io/x:1@{DIGEST}", ("quay.io", "x", DIGEST)),
        ],
    )
    def test_references_are_read_as_the_engine_does(self, reference: Any, parts: Any) -> None:
        assert references.split_reference(reference) == parts

    def test_stored_credentials_are_used(self, make_step: Make, root: pathlib.Path) -> None:
        (root / "root/.docker").mkdir(parents=True)
        stored = {"auths": {"quay.io": {"auth": "dTpw"}}}
        (root / "root/.docker/config.json").write_text(json.dumps(stored))
        registries = library_registries.Registries(make_step("check_images"))
        assert registries.basic("https://quay.io") == "Basic dTpw"
        assert registries.basic("https://other.io") is None

    def accounts(self, make_step: Make, root: pathlib.Path, **settings: Any) -> Any:
        (root / "root/.docker").mkdir(parents=True)
        (root / "root/.docker/config.json").write_text(json.dumps(settings))
        return library_registries.Registries(make_step("check_images"))

    @pytest.mark.field_case("K5.3")
    @pytest.mark.parametrize(
        "key", ["https://reg.example/v2/", "http://reg.example", "REG.example"]
    )
    def test_accounts_under_whole_addresses_are_found(
        self, make_step: Make, root: pathlib.Path, key: str
    ) -> None:
        account = self.accounts(make_step, root, auths={key: {"auth": "dTpw"}}).account(
            "reg.example"
        )
        assert (account.user, account.password) == ("u", "p")

    @pytest.mark.field_case("K5.4")
    def test_the_hub_s_account_goes_to_the_hub_alone(
        self, make_step: Make, root: pathlib.Path
    ) -> None:
        auths = {"https://index.docker.io/v1/": {"auth": "dTpw"}}
        registries = self.accounts(make_step, root, auths=auths)
        assert registries.account("docker.io").user == "u"
        for domain in ("localhost", "localhost:5000", "reg.example", "docker.io.example"):
            assert registries.account(domain).header(domain) == {}

    @pytest.mark.field_case("K5.3")
    def test_a_token_for_tokens_is_no_empty_password(
        self, make_step: Make, root: pathlib.Path
    ) -> None:
        entry = {"auth": "dTo=", "identitytoken": "t0ken"}
        account = self.accounts(make_step, root, auths={"reg.example": entry}).account(
            "reg.example"
        )
        assert account.basic == ""
        header = account.header("reg.example")["X-Registry-Auth"]
        assert json.loads(base64.urlsafe_b64decode(header)) == {
            "identitytoken": "t0ken",
            "serveraddress": "reg.example",
        }

    @pytest.mark.field_case("K5.3")
    @pytest.mark.parametrize(
        "settings",
        [
            {"credHelpers": {"reg.example": "ops"}, "credsStore": "none"},
            {"credsStore": "ops", "auths": {"reg.example": {}}},
        ],
    )
    def test_helpers_are_asked_and_their_secret_is_not_logged(
        self,
        make_step: Make,
        root: pathlib.Path,
        programs: Programs,
        caplog: pytest.LogCaptureFixture,
        settings: Any,
    ) -> None:
        programs("docker-credential-ops", """echo '{"Username": "u", "Secret": "s3cret"}'""")
        with caplog.at_level("DEBUG"):
            account = self.accounts(make_step, root, **settings).account("reg.example")
        assert (account.user, account.password) == ("u", "s3cret")
        assert "s3cret" not in caplog.text

    @pytest.mark.field_case("K5.3")
    def test_an_empty_helper_says_that_a_registry_has_none(
        self, make_step: Make, root: pathlib.Path
    ) -> None:
        auth = base64.b64encode(b"u:p").decode()
        account = self.accounts(
            make_step,
            root,
            credHelpers={"reg.example": ""},
            credsStore="desktop",
            auths={"https://reg.example/v1/": {"auth": "eDp5"}, "reg.example": {"auth": auth}},
        ).account("reg.example")
        assert (account.user, account.password) == ("u", "p")

    @pytest.mark.field_case("K5.3")
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("[]", "does not hold an object"),
            ('{"auths": []}', ""),
            ('{"auths": ["reg.example"]}', "auths is no object"),
            ('{"credHelpers": "ops"}', "credHelpers is no object"),
            ("", ""),
            ("\n", ""),
        ],
    )
    def test_a_file_of_the_client_that_is_odd_is_read_or_named(
        self, make_step: Make, root: pathlib.Path, text: str, words: str
    ) -> None:
        (root / "root/.docker").mkdir(parents=True)
        (root / "root/.docker/config.json").write_text(text)

        def account() -> Any:
            return library_registries.Registries(make_step("check_images", "check")).account(
                "reg.example"
            )

        if not words:
            assert account().header("reg.example") == {}
            return
        with pytest.raises(faults.StepFailed, match=rf"root/.docker/config.json:? {words}: mend"):
            account()

    @pytest.mark.field_case("K5.3")
    def test_a_helper_that_is_not_there_is_named(
        self, make_step: Make, root: pathlib.Path, programs: Programs
    ) -> None:
        registries = self.accounts(make_step, root, credHelpers={"reg.example": "gone"})
        with pytest.raises(faults.StepFailed, match="docker-credential-gone on this host: install"):
            registries.account("reg.example")
        assert registries.account("other.example").header("other.example") == {}

    @pytest.mark.field_case("K5.1")
    @pytest.mark.parametrize(
        ("domain", "insecure"),
        [
            ("localhost:5000", True),
            ("127.0.0.5:5000", True),
            ("[::1]:5000", True),
            ("10.2.3.4:5000", True),
            ("plain.example:5000", True),
            ("192.0.2.1:5000", False),
            ("reg.example", False),
            ("named.example:5000", True),
        ],
    )
    def test_what_the_engine_takes_without_tls_is_asked_without(
        self, make_step: Make, root: pathlib.Path, domain: str, insecure: bool
    ) -> None:
        (root / "etc/docker").mkdir()
        plain = "http://plain.example:5000"
        settings = {"insecure-registries": ["10.0.0.0/8", "named.example:5000", plain]}
        (root / "etc/docker/daemon.json").write_text(json.dumps(settings))
        registries = library_registries.Registries(make_step("check_images"))
        assert (f"http://{domain}" in registries.endpoints(domain)) is insecure

    @pytest.mark.field_case("K5.2")
    def test_proxies_of_the_engine_s_file_are_gone_through_but_for_what_it_spares(
        self, make_step: Make, root: pathlib.Path
    ) -> None:
        (root / "etc/docker").mkdir()

        class Proxy(Registry):
            def do_HEAD(self) -> None:
                self._end(200, {"Docker-Content-Digest": DIGEST})

        with serving(Proxy) as place:
            settings = {
                "proxies": {"http-proxy": f"http://{place}", "no-proxy": "spared.invalid"},
                "insecure-registries": ["reg.invalid", "spared.invalid"],
            }
            (root / "etc/docker/daemon.json").write_text(json.dumps(settings))
            outcome = self.run(make_step, ["reg.invalid/app:1", "spared.invalid/app:1"])
        assert outcome["reg.invalid/app:1"]["ok"] is True
        assert outcome["spared.invalid/app:1"]["ok"] is False

    @pytest.mark.field_case("K5.2")
    def test_where_an_engine_is_it_is_the_one_that_looks(
        self,
        make_step: Make,
        root: pathlib.Path,
        tmp_path: pathlib.Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(library_engine, "DOCKER_SOCKET", str(tmp_path / "s"))
        answers: Any = {
            ("GET", "/_ping"): (200, "OK"),
            ("GET", "/distribution/reg.invalid/app:1/json"): (
                200,
                {"Descriptor": {"digest": DIGEST}},
            ),
            ("GET", "/distribution/reg.invalid/no:1/json"): (401, {"message": "unauthorized"}),
        }
        with engine(tmp_path / "s", answers):
            outcome = self.run(make_step, ["reg.invalid/app:1", "reg.invalid/no:1"])
        assert outcome["reg.invalid/app:1"] == {"ok": True, "digest": DIGEST, "reason": ""}
        assert outcome["reg.invalid/no:1"]["reason"] == "the engine says: unauthorized"


ARCHIVE = b"not really a tar" * 1000
# What the tag named when the run looked.
OLDER = "sha256:" + "a" * 64
TAGGING = f"/images/{urllib.parse.quote(f'busybox@{OLDER}', safe='')}/tag"


@pytest.fixture
def docker_engine(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Serve an engine that has one image."""
    monkeypatch.setattr(library_engine, "DOCKER_SOCKET", str(tmp_path / "s"))
    record = {"Id": "sha256:" + "1" * 64, "RepoDigests": [f"busybox@{DIGEST}"], "Size": 1000}
    answers = {
        ("POST", "/images/create"): (200, '{"status": "done"}\n'),
        ("GET", "/images/busybox/json"): (200, record),
        ("GET", "/images/busybox/get"): (200, ARCHIVE),
    }
    with engine(tmp_path / "s", answers) as asked:
        yield answers, asked


def export(make_step: Make) -> Any:
    step = make_step("export_image", image="busybox")
    export_image.converge(step)
    return step


class TestExport:
    def test_the_archive_and_its_facts(
        self, make_step: Make, docker_engine: Any, root: pathlib.Path
    ) -> None:
        facts = export(make_step).facts
        archive = root / f"var/lib/novadocker/exports/{'d' * 64}.tar"
        assert archive.read_bytes() == ARCHIVE
        assert facts["digest"] == DIGEST
        assert facts["sha512"] == hashlib.sha512(ARCHIVE).hexdigest()
        assert facts["size_bytes"] == len(ARCHIVE)
        assert archive.stat().st_mode & 0o077 == 0
        # A key that an outcome brings would be taken for the host's by nobody.
        assert "public_key" not in facts

    def test_again_keeps_the_archive(self, make_step: Make, docker_engine: Any) -> None:
        first = export(make_step).facts
        second = export(make_step)
        assert second.actions == []
        assert second.facts == first

    def test_a_refused_pull_is_told(self, make_step: Make, docker_engine: Any) -> None:
        error = '{"errorDetail": {}, "error": "manifest unknown"}\n'
        docker_engine[0][("POST", "/images/create")] = (200, error)
        with pytest.raises(faults.StepFailed, match="cannot pull busybox: manifest unknown"):
            export(make_step)

    @pytest.mark.parametrize(
        ("reference", "query"),
        [
            ("a:5000/b", "fromImage=a%3A5000%2Fb&tag=latest"),
            ("a:5000/b:1", "fromImage=a%3A5000%2Fb&tag=1"),
            (f"b@{DIGEST}", "fromImage=b&tag=sha256%3A" + "d" * 64),
        ],
    )
    def test_the_engine_is_asked_for_one_version(
        self, make_step: Make, docker_engine: Any, reference: Any, query: Any
    ) -> None:
        export_image.pull(make_step("export_image"), reference)
        assert docker_engine[1] == [f"POST /images/create?{query}"]

    @pytest.mark.parametrize("is_operators", [False, True])
    def test_a_tag_that_has_moved_since_the_run_looked_is_moved_back(
        self, make_step: Make, docker_engine: Any, is_operators: bool
    ) -> None:
        answers, asked = docker_engine
        has = answers["GET", "/images/busybox/json"][1]
        newer, older = has["Id"], "sha256:" + "2" * 64
        answers["GET", "/images/json"] = (200, [{"Id": newer}] if is_operators else [])

        def tag(query: str) -> tuple[int, str]:
            assert query == "repo=busybox&tag=latest"
            has.update(Id=older, RepoDigests=[f"busybox@{OLDER}"])
            return 201, ""

        answers["POST", TAGGING] = tag
        step = make_step("export_image", image="busybox", digest=OLDER)
        export_image.converge(step)
        assert (step.facts["digest"], step.facts["image_id"]) == (OLDER, older)
        pulled = [query for query in asked if query.startswith("POST /images/create?")]
        assert pulled[-1].endswith("fromImage=busybox&tag=" + urllib.parse.quote(OLDER))
        # What was pulled by the tag is left to nobody, unless somebody had it before.
        assert (f"DELETE /images/{newer}" in asked) != is_operators

    def test_an_image_that_the_registry_has_no_more_is_not_taken_for_another(
        self, make_step: Make, docker_engine: Any
    ) -> None:
        docker_engine[0]["POST", TAGGING] = (404, {"message": "no such image"})
        step = make_step("export_image", image="busybox", digest=OLDER)
        with pytest.raises(faults.StepFailed, match=f"and not as {OLDER}"):
            export_image.converge(step)

    def test_what_the_run_looked_at_is_pulled_once(
        self, make_step: Make, docker_engine: Any
    ) -> None:
        export_image.converge(make_step("export_image", image="busybox", digest=DIGEST))
        assert sum(item.startswith("POST /images/create?") for item in docker_engine[1]) == 1

    def test_undo_leaves_nothing(
        self, make_step: Make, docker_engine: Any, root: pathlib.Path
    ) -> None:
        export(make_step)
        export_image.undo(make_step("export_image", "undo"))
        assert not (root / "var/lib/novadocker/exports").exists()


class TestUpload:
    @pytest.fixture
    def glance(self) -> Iterator[Any]:
        got: dict[str, object] = {"status": 204}

        class Glance(Registry):
            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                got.update(path=self.path, token=self.headers["X-Auth-Token"], body=body)
                self._end(int(str(got["status"])), {"Content-Length": "0"})

        with serving(Glance) as place:
            yield f"http://{place}/image", got

    @pytest.fixture
    def key(self, root: pathlib.Path) -> Any:
        """The key that the host is enrolled with."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        (root / "etc/novadocker").mkdir()
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        (root / "etc/novadocker/host.key").write_bytes(pem)
        return key

    def settings(self, key: Any, url: str, **other: str) -> dict[str, str]:
        goal = {"image_id": "0" * 32, "glance_url": url}
        sealed = host_keys.seal({"token": TOKEN, **goal, **other}, public_text(key))
        return {**goal, "digest": DIGEST, "sealed_token": sealed}

    def test_the_archive_arrives_with_the_token_and_is_removed(
        self, make_step: Make, docker_engine: Any, glance: Any, root: pathlib.Path, key: Any
    ) -> None:
        export(make_step)
        step = make_step("upload_image", **self.settings(key, glance[0]))
        upload_image.converge(step)
        assert glance[1]["path"] == f"/image/v2/images/{'0' * 32}/file"
        assert glance[1]["token"] == TOKEN
        assert glance[1]["body"] == ARCHIVE
        assert not (root / "var/lib/novadocker/exports").exists()
        assert TOKEN not in json.dumps([step.actions, step.facts])

    def test_a_refusal_keeps_the_archive_for_another_try(
        self, make_step: Make, docker_engine: Any, glance: Any, root: pathlib.Path, key: Any
    ) -> None:
        export(make_step)
        glance[1]["status"] = 401
        settings = self.settings(key, glance[0])
        with pytest.raises(faults.StepFailed, match="Glance answered 401"):
            upload_image.converge(make_step("upload_image", **settings))
        glance[1]["status"] = 204
        upload_image.converge(make_step("upload_image", **settings))
        assert glance[1]["body"] == ARCHIVE

    def test_a_token_for_another_key_is_refused(
        self, make_step: Make, docker_engine: Any, glance: Any, key: Any
    ) -> None:
        export(make_step)
        other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        with pytest.raises(faults.StepFailed, match="was not made for this host's key"):
            upload_image.converge(make_step("upload_image", **self.settings(other, glance[0])))

    @pytest.mark.parametrize("name", ["image_id", "glance_url"])
    def test_a_token_goes_only_where_it_was_sealed_for(
        self, make_step: Make, docker_engine: Any, glance: Any, key: Any, name: str
    ) -> None:
        export(make_step)
        settings = self.settings(key, glance[0], **{name: "another"})
        with pytest.raises(faults.StepFailed, match=f"was made for another {name}"):
            upload_image.converge(make_step("upload_image", **settings))
        assert "token" not in glance[1]

    @pytest.mark.field_case("K5.5")
    def test_a_glance_that_is_silent_while_it_stores_is_waited_for(
        self,
        make_step: Make,
        docker_engine: Any,
        key: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(library_glance, "CONNECT_TIMEOUT_S", 0.2)

        class Slow(Registry):
            def do_PUT(self) -> None:
                time.sleep(0.5)
                self.rfile.read(int(self.headers["Content-Length"]))
                time.sleep(0.5)
                self._end(204, {})

        export(make_step)
        with serving(Slow) as place:
            settings = self.settings(key, f"http://{place}")
            step = make_step("upload_image", **settings)
            upload_image.converge(step)
        assert step.actions

    @pytest.mark.field_case("K5.5")
    def test_the_engine_may_be_silent_for_as_long_as_it_writes(
        self, make_step: Make, docker_engine: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        limits: dict[str, float | None] = {}
        asked = library_engine.docker_response

        def response(path: str, method: str = "GET", timeout_s: Any = 30, *more: Any) -> Any:
            limits[path.partition("?")[0].rpartition("/")[2]] = timeout_s
            return asked(path, method, timeout_s, *more)

        monkeypatch.setattr(export_image, "docker_response", response)
        export(make_step)
        assert limits == {"create": None, "get": None}

    def test_a_refusal_that_comes_before_the_end_is_told(
        self,
        make_step: Make,
        docker_engine: Any,
        key: Any,
    ) -> None:
        class Quota(Registry):
            def do_PUT(self) -> None:
                self.send_response(413)
                self.send_header("Content-Length", "5")
                self.end_headers()
                self.wfile.write(b"quota")
                self.wfile.flush()
                # As servers do: no more is read, and the connection stays for a moment.
                self.connection.shutdown(socket.SHUT_RD)
                self.close_connection = True
                time.sleep(0.5)

        docker_engine[0]["GET", "/images/busybox/get"] = (200, b"x" * 32 * 1024 * 1024)
        export(make_step)
        with serving(Quota) as place:
            step = make_step("upload_image", **self.settings(key, f"http://{place}"))
            with pytest.raises(faults.StepFailed, match='Glance answered 413: "quota"'):
                upload_image.converge(step)

    @pytest.mark.field_case("K5.6")
    def test_a_glance_behind_an_authority_of_the_cloud_s_own_gets_the_archive(
        self, make_step: Make, docker_engine: Any, key: Any, tmp_path: pathlib.Path
    ) -> None:
        got: list[int] = []

        class Glance(Registry):
            def do_PUT(self) -> None:
                got.append(len(self.rfile.read(int(self.headers["Content-Length"]))))
                self._end(204, {"Content-Length": "0"})

        authority = Authority(tmp_path)
        export(make_step)
        with serving(Glance, authority.signed("glance")) as place:
            settings = self.settings(key, f"https://{place}")
            with pytest.raises(faults.StepFailed, match="is not reached: .*certificate verify"):
                upload_image.converge(make_step("upload_image", **settings))
            assert got == []
            settings["glance_authority"] = authority.path.read_text()
            upload_image.converge(make_step("upload_image", **settings))
        assert got == [len(ARCHIVE)]

    def test_without_an_export_the_remedy_is_told(self, make_step: Make) -> None:
        settings = {"image_id": "0" * 32, "digest": DIGEST, "glance_url": "", "sealed_token": ""}
        with pytest.raises(faults.StepFailed, match="run export_image first"):
            upload_image.converge(make_step("upload_image", **settings))
