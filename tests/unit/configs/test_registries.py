# SPDX-License-Identifier: Apache-2.0
"""Registries as an engine sees them that is not there yet, or is going to have other settings."""

from __future__ import annotations

import hashlib
import json
import pathlib
import shutil
import urllib.parse
from typing import Any

import check_images
import pytest
from library import engine as library_engine
from library import engine_proxies, registries

from novadocker_actions import recipes

from .certificates import Authority
from .conftest import Make, Programs
from .engine import engine
from .registry import DIGEST, Registry, serving

FOUND = {"ok": True, "digest": DIGEST, "reason": ""}


def look(make_step: Make, reference: str, **settings: Any) -> dict[str, Any]:
    step = make_step("check_images", "check", images=[reference], **settings)
    check_images.converge(step)
    answer: dict[str, Any] = step.facts[reference]
    return answer


@pytest.mark.field_case("K5.1")
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_registry_of_the_host_itself_needs_no_tls(make_step: Make, host: str) -> None:
    with serving(Registry) as place:
        reference = f"{host}:{place.rpartition(':')[2]}/org/app:1.2"
        assert look(make_step, reference) == FOUND


@pytest.mark.field_case("K5.1")
@pytest.mark.parametrize("told", ["file", "flag", "run"])
def test_networks_without_tls_are_known_however_the_engine_is_told(
    make_step: Make, root: pathlib.Path, programs: Programs, told: str
) -> None:
    (root / "etc/docker").mkdir()
    key = "insecure-registries"
    settings: dict[str, Any] = {}
    if told == "file":
        (root / "etc/docker/daemon.json").write_text(json.dumps({key: ["10.0.0.0/8"]}))
    elif told == "flag":
        command = "/usr/bin/dockerd --insecure-registry=10.0.0.0/8"
        programs(
            "systemctl",
            f"echo 'ExecStart={{ path=x ; argv[]={command} ; ignore_errors=no ; }}'",
        )
    else:
        docker = {key: ["10.0.0.0/8"]}
        settings = recipes.settings_of(
            "check_images", "controller", {"docker": docker, "images": []}
        )
    given = {"daemon_settings": settings.get("daemon_settings", {})}
    seen = check_images.registries_to_be(make_step("check_images", "check", **given))
    assert seen.endpoints("10.1.2.3:5000") == ["https://10.1.2.3:5000", "http://10.1.2.3:5000"]
    assert seen.endpoints("192.0.2.1:5000") == ["https://192.0.2.1:5000"]


@pytest.mark.field_case("K5.1")
def test_a_name_of_the_host_itself_and_a_network_by_one_of_its_addresses(
    make_step: Make, root: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "etc/docker").mkdir()
    written = {"insecure-registries": ["10.1.2.3/8", "HTTP://reg.test:5000"]}
    (root / "etc/docker/daemon.json").write_text(json.dumps(written))
    addresses = {"cache.test": "127.0.1.1", "mirror.test": "192.0.2.1"}

    def resolve(host: str, _port: None) -> list[tuple[Any, ...]]:
        return [(None, None, None, "", (addresses[host], 0))]

    monkeypatch.setattr(registries.socket, "getaddrinfo", resolve)
    seen = registries.Registries(make_step("check_images", "check"))
    names = ("cache.test:5000", "10.9.9.9", "reg.test:5000", "mirror.test:5000", "docker.io")
    assert [seen.is_insecure(name) for name in names] == [True, True, True, False, False]


def test_an_engine_that_is_going_to_see_it_otherwise_is_not_asked(
    make_step: Make, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library_engine, "DOCKER_SOCKET", str(tmp_path / "s"))
    answers: Any = {("GET", "/_ping"): (200, "OK")}
    with serving(Registry) as place, engine(tmp_path / "s", answers):
        reference = f"{place}/org/app:1.2"
        assert look(make_step, reference)["ok"] is False
        given = {"insecure-registries": [place]}
        assert look(make_step, reference, daemon_settings=given) == FOUND
        assert look(make_step, reference, daemon_settings={"debug": True})["ok"] is False


class Silent(Registry):
    """A registry that leaves the digest out, as it may."""

    manifest = b'{"schemaVersion": 2}'

    def do_HEAD(self) -> None:
        self._end(200, {})

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.manifest)))
        self.end_headers()
        self.wfile.write(self.manifest)


def test_a_digest_that_the_registry_does_not_tell_is_that_of_the_manifest(make_step: Make) -> None:
    with serving(Silent) as place:
        told = look(make_step, f"{place}/org/app:1.2")
    assert told == {
        "ok": True,
        "digest": f"sha256:{hashlib.sha256(Silent.manifest).hexdigest()}",
        "reason": "",
    }


class Proxy(Registry):
    """A proxy that answers for every registry."""

    def do_HEAD(self) -> None:
        known = self.path.startswith("http://reg.invalid/v2/")
        self._end(200 if known else 502, {"Docker-Content-Digest": DIGEST})


@pytest.mark.field_case("K5.2")
@pytest.mark.parametrize(
    "text",
    [
        '[Service]\nEnvironment="HTTP_PROXY=http://{place}/" "NO_PROXY=localhost,.example"\n',
        "[Service]\nEnvironment=NO_PROXY=x\nEnvironment=http_proxy={place}\n",
        "[Service]\nEnvironmentFile=-/etc/ops/proxies\n",
    ],
)
def test_a_proxy_of_the_unit_is_gone_through_before_the_engine_is_installed(
    make_step: Make, root: pathlib.Path, programs: Programs, text: str
) -> None:
    programs("systemctl", "echo Environment=; echo LoadState=not-found")
    drop_in = root / "etc/systemd/system/docker.service.d/http-proxy.conf"
    drop_in.parent.mkdir(parents=True)
    (root / "etc/ops").mkdir()
    given = {"insecure-registries": ["reg.invalid"]}
    with serving(Proxy) as place:
        drop_in.write_text(text.format(place=place))
        (root / "etc/ops/proxies").write_text(f"HTTP_PROXY='http://{place}'\n")
        assert look(make_step, "reg.invalid/app:1", daemon_settings=given) == FOUND


@pytest.mark.field_case("K5.2")
def test_a_proxy_of_the_run_is_gone_through(make_step: Make) -> None:
    with serving(Proxy) as place:
        given = {
            "insecure-registries": ["reg.invalid"],
            "proxies": {"http-proxy": f"http://{place}"},
        }
        assert look(make_step, "reg.invalid/app:1", daemon_settings=given) == FOUND


def test_a_proxy_of_the_agent_s_is_none_of_the_engine_s(
    make_step: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(Proxy) as place:
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, f"http://{place}")
        given = {"insecure-registries": ["reg.invalid"]}
        assert look(make_step, "reg.invalid/app:1", daemon_settings=given)["ok"] is False


@pytest.mark.field_case("K5.2")
@pytest.mark.parametrize(
    ("url", "without", "through"),
    [
        ("https://reg.example/", "", True),
        ("https://reg.example/", "reg.example", False),
        ("https://reg.example/", "example", False),
        ("https://reg.example/", ".example", False),
        ("https://reg.example/", "*.example", False),
        ("https://example/", ".example", True),
        ("https://badexample/", "example", True),
        ("https://reg.example:5000/", "reg.example:5000", False),
        ("https://reg.example:5001/", "reg.example:5000", True),
        ("https://10.1.2.3/", "10.0.0.0/8", False),
        ("https://11.1.2.3/", "10.0.0.0/8", True),
        ("https://10.1.2.3:5000/", "10.1.2.3", False),
        ("https://[fd00::1]:5000/", "fd00::/8", False),
        ("https://reg.example/", " a , * ", False),
        ("https://localhost:5000/", "", False),
        ("https://127.0.0.1:5000/", "", False),
    ],
)
def test_what_is_spared_of_proxies_is_as_the_engine_s_language_has_it(
    url: str, without: str, through: bool
) -> None:
    proxies = engine_proxies.Proxies("http://p:3128", "p:3129", without)
    assert proxies.of(url) == ({"https": "http://p:3129"} if through else {})


@pytest.mark.field_case("K5.3")
def test_a_token_for_tokens_is_exchanged_for_one(make_step: Make, root: pathlib.Path) -> None:
    got: list[str] = []

    class Tokens(Registry):
        def do_POST(self) -> None:
            form = self.rfile.read(int(self.headers["Content-Length"])).decode()
            got.append(form)
            self.give({"access_token": "good"})

        def do_GET(self) -> None:
            self.give({"token": "bad"})

    (root / "root/.docker").mkdir(parents=True)
    with serving(Tokens) as place:
        auths = {place: {"auth": "MDAwOg==", "identitytoken": "t0ken"}}
        (root / "root/.docker/config.json").write_text(json.dumps({"auths": auths}))
        assert look(make_step, f"{place}/org/app:1.2") == FOUND
    assert dict(urllib.parse.parse_qsl(got[0])) == {
        "grant_type": "refresh_token",
        "refresh_token": "t0ken",
        "client_id": "docker",
        "service": "s",
        "scope": "pull",
    }


@pytest.mark.parametrize("known", [True, False])
def test_a_registry_that_wants_a_certificate_of_clients_gets_the_engine_s(
    make_step: Make, root: pathlib.Path, tmp_path: pathlib.Path, known: bool
) -> None:
    authority = Authority(tmp_path)
    with serving(Registry, authority.signed("registry"), authority.path) as place:
        # By a name that is not taken without TLS.
        certs = root / f"etc/docker/certs.d/{place}"
        certs.mkdir(parents=True)
        shutil.copy(authority.path, certs / "ca.crt")
        if known:
            for path in authority.signed("client"):
                shutil.copy(path, certs / path.name)
        seen = registries.Registries(make_step("check_images"))
        context = seen.tls(f"https://{place}")
        assert context.get_ca_certs()
        answer = look(make_step, f"{place}/org/app:1.2")
    assert answer["ok"] is known


class Basic(Registry):
    """A registry that wants an account, and then sends its clients to ``place``."""

    place = ""

    def do_HEAD(self) -> None:
        if self.path.startswith("/moved/"):
            known = self.headers.get("Authorization") == "Basic dTpw"
            self._end(200 if known else 401, {"Docker-Content-Digest": DIGEST})
        elif self.headers.get("Authorization"):
            self._end(307, {"Location": f"{self.place}/moved/app"})
        else:
            self._end(401, {"WWW-Authenticate": "Basic realm=x"})

    do_GET = do_HEAD  # noqa: N815


def with_account(root: pathlib.Path, domain: str) -> None:
    (root / "root/.docker").mkdir(parents=True, exist_ok=True)
    auths = {domain: {"auth": "dTpw"}}
    (root / "root/.docker/config.json").write_text(json.dumps({"auths": auths}))


@pytest.mark.parametrize("proxy", [False, True])
def test_an_account_goes_to_no_other_place_with_a_redirect(
    make_step: Make, root: pathlib.Path, tmp_path: pathlib.Path, proxy: bool
) -> None:
    got: list[dict[str, str]] = []

    class Elsewhere(Registry):
        def do_HEAD(self) -> None:
            got.append(dict(self.headers))
            self._end(200, {"Docker-Content-Digest": DIGEST})

        do_GET = do_HEAD  # noqa: N815

    class Front(Basic):
        """A proxy as well: it answers for every registry."""

        def do_HEAD(self) -> None:
            self.path = urllib.parse.urlsplit(self.path).path
            super().do_HEAD()

    # Only what goes without TLS goes through the proxy.
    scheme, certificate = "http", None
    if proxy:
        scheme, certificate = "https", Authority(tmp_path).signed("elsewhere")
    with serving(Front) as place, serving(Elsewhere, certificate) as elsewhere:
        Front.place = f"{scheme}://{elsewhere}"
        domain = "reg.invalid" if proxy else place
        with_account(root, domain)
        given: dict[str, Any] = {"insecure-registries": [domain]}
        if proxy:
            given["proxies"] = {"http-proxy": f"http://ops:pr0xy@{place}"}
        assert look(make_step, f"{domain}/app:1", daemon_settings=given) == FOUND
    assert got
    assert not any("uthorization" in name for headers in got for name in headers), got


def test_a_redirect_within_a_registry_keeps_the_account(
    make_step: Make, root: pathlib.Path
) -> None:
    with serving(Basic) as place:
        Basic.place = f"http://{place}"
        with_account(root, place)
        assert look(make_step, f"{place}/app:1") == FOUND


@pytest.mark.parametrize("location", ["ftp://127.0.0.1:1/x", "file:///etc/hostname"])
def test_a_redirect_to_what_is_no_registry_is_not_followed(
    make_step: Make, root: pathlib.Path, location: str
) -> None:
    class Away(Registry):
        def do_HEAD(self) -> None:
            self._end(307, {"Location": location})

    with serving(Away) as place:
        reason = look(make_step, f"{place}/app:1")["reason"]
    assert reason.endswith(f"{place}: status 307")


@pytest.mark.parametrize(
    ("realm", "account", "insecure", "fault"),
    [
        ("http://tokens.example/t", True, "", "wants its account sent to tokens.example without"),
        ("http://tokens.example/t", True, "tokens.example", ""),
        ("http://tokens.example/t", False, "", ""),
        ("https://tokens.example/t", True, "", ""),
        ("file:///etc/shadow", False, "", "names no address that gives tokens: 'file:"),
        ("", False, "", "names no address that gives tokens: ''"),
    ],
)
def test_an_account_is_sent_to_no_place_without_tls_because_a_registry_names_it(
    make_step: Make,
    root: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    realm: str,
    account: bool,
    insecure: str,
    fault: str,
) -> None:
    with_account(root, "reg.example" if account else "other.example")
    seen = registries.Registries(
        make_step("check_images", "check"), {"insecure-registries": [insecure]}
    )
    asked: list[str] = []

    def ask(url: str, _method: str, headers: dict[str, str], _body: Any = None) -> Any:
        asked.append(url)
        assert bool(headers) is account
        return 200, {}, b'{"token": "good"}'

    monkeypatch.setattr(seen, "ask", ask)
    challenge = f'Bearer realm="{realm}",service="s"'
    if fault:
        with pytest.raises(ValueError, match=fault):
            seen.token("https://reg.example", challenge)
        assert asked == []
        return
    assert seen.token("https://reg.example", challenge) == "good"
    assert asked == [f"{realm}?service=s"]


class Talkative(Registry):
    """A registry whose answers have no end of headers."""

    def do_HEAD(self) -> None:
        self._end(200, {f"X-{number}": "x" for number in range(1000)})


class Endless(Registry):
    """A registry whose answers have a line without an end."""

    def do_HEAD(self) -> None:
        self._end(200, {"X": "x" * 100_000})


class Odd(Registry):
    """A registry that gives for a token what is no object."""

    def do_GET(self) -> None:
        self.give(["good"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("strange", "said"),
    [
        (Talkative, "more than 100 headers"),
        (Endless, "more than 65536 bytes"),
        (Odd, "what it gives for a token is no object"),
    ],
)
def test_a_registry_that_answers_strangely_is_named_and_keeps_no_other_from_being_asked(
    make_step: Make, strange: type[Registry], said: str
) -> None:
    with serving(strange) as place, serving(Registry) as other:
        wanted = [f"{place}/org/app:1.2", f"{other}/org/app:1.2"]
        step = make_step("check_images", "check", images=wanted)
        check_images.converge(step)
    assert step.facts[wanted[1]] == FOUND
    assert said in step.facts[wanted[0]]["reason"]


def test_a_certificate_of_clients_without_its_key_is_named(
    make_step: Make, root: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    certs = root / "etc/docker/certs.d/reg.invalid"
    certs.mkdir(parents=True)
    shutil.copy(Authority(tmp_path).signed("client")[0], certs)
    reason = look(make_step, "reg.invalid/app:1")["reason"]
    assert "client.cert in " in reason
    assert "has no client.key beside it: put it there" in reason


class TestGlance:
    """That what was found can be uploaded is known before anything is changed."""

    @pytest.fixture
    def authority(self, tmp_path: pathlib.Path) -> Authority:
        return Authority(tmp_path)

    def reached(self, make_step: Make, url: str, authority: str = "") -> dict[str, Any]:
        given = {"images": [], "glance_url": url, "glance_authority": authority}
        step = make_step("check_images", "check", **given)
        check_images.converge(step)
        answer: dict[str, Any] = step.facts[url]
        return answer

    @pytest.mark.field_case("K5.6")
    def test_an_authority_of_the_cloud_s_own_is_known_by_what_the_cloud_says(
        self, make_step: Make, authority: Authority
    ) -> None:
        with serving(Registry, authority.signed("glance")) as place:
            url = f"https://{place}/image"
            text = authority.path.read_text()
            assert self.reached(make_step, url, text)["ok"] is True
            assert self.reached(make_step, url, f"# Amt für Schlüssel, Köln\n{text}")["ok"] is True
            refused = self.reached(make_step, url)
        assert refused["ok"] is False
        assert refused["reason"].startswith("its certificate is not trusted: ")

    def test_an_address_that_nobody_answers_at_is_told(self, make_step: Make) -> None:
        with serving(Registry) as place:
            pass
        assert "refused" in self.reached(make_step, f"http://{place}")["reason"]
