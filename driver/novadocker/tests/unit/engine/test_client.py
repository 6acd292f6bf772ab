# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any, get_args
from unittest import mock

import docker
import docker.errors
import pytest
import requests

from novadocker import exceptions
from novadocker.cmd import check
from novadocker.virt.docker.engine import client


@pytest.fixture
def sdk(monkeypatch: pytest.MonkeyPatch) -> mock.MagicMock:
    fake = mock.MagicMock()
    fake.side_effect = lambda **_kwargs: mock.MagicMock(api_version="1.41")
    monkeypatch.setattr(client, "_Client", fake)
    return fake


def failing(sdk: Any, *faults: Any) -> mock.MagicMock:
    """Let the one client there is fail so, one fault a call."""
    low = mock.MagicMock(api_version="1.41")
    low.info.side_effect = low.start.side_effect = faults
    sdk.side_effect = lambda **_kwargs: low
    return low


def answer(status: int, why: str = "why") -> docker.errors.APIError:
    return docker.errors.APIError("no", response=mock.Mock(status_code=status), explanation=why)


TOO_OLD = answer(
    400, "client version 1.41 is too old. Minimum supported API version is 1.44, please upgrade"
)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(404, exceptions.NotFound), (409, exceptions.Conflict), (500, exceptions.EngineError)],
)
def test_answers_become_faults(status: int, kind: type[Exception], sdk: Any) -> None:
    failing(sdk, answer(status))
    with pytest.raises(kind, match="why") as fault:
        client.Engine("unix:///x").call("start", "name")
    assert fault.value.status == status


def test_proxies_of_the_operators_are_not_given_to_containers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxies = {"default": {"httpProxy": "http://operator:s3cret@proxy.example:3128"}}
    (tmp_path / "config.json").write_text(json.dumps({"proxies": proxies}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    connection = client._Client(base_url="unix:///x", version="1.41")
    assert "s3cret" in str(connection._proxy_configs)
    asked = mock.Mock()
    monkeypatch.setattr(connection, "create_container_from_config", asked)
    connection.create_container("image", name="name", environment={"A": "b"})
    assert asked.call_args.args[0]["Env"] == ["A=b"]


@pytest.mark.parametrize(
    ("check", "sent"),
    [
        ({"test": ["CMD", "true"], "interval": 30, "start_period": 60}, 30),
        ({"test": ["NONE"]}, None),
        (None, None),
    ],
)
def test_health_is_checked_no_more_often_while_a_container_starts(
    check: Any, sent: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not sent of it the engine takes from the image, which is a tenant's."""
    connection = client._Client(base_url="unix:///x", version="1.44")
    asked = mock.Mock()
    monkeypatch.setattr(connection, "create_container_from_config", asked)
    connection.create_container("image", name="name", healthcheck=check)
    assert (asked.call_args.args[0]["Healthcheck"] or {}).get("StartInterval") == sent


def test_reading_is_tried_again_on_a_new_connection(sdk: Any) -> None:
    connection = failing(sdk, requests.exceptions.ConnectionError("reset"), {"NCPU": 2})
    assert client.Engine("unix:///x").call("info") == {"NCPU": 2}
    assert connection.close.called
    assert sdk.call_count == 2


def test_doing_is_not_tried_again(sdk: Any) -> None:
    connection = failing(sdk, requests.exceptions.ConnectionError("reset"), None)
    with pytest.raises(exceptions.EngineUnreachable, match="unix:///x"):
        client.Engine("unix:///x").call("start", "name")
    assert connection.start.call_count == 1


@pytest.mark.parametrize("verb", ["info", "start"])
@pytest.mark.parametrize("patient", [False, True])
def test_an_upgraded_engine_is_met_anew(verb: client.Verb, patient: bool, sdk: Any) -> None:
    old = mock.MagicMock(api_version="1.41")
    getattr(old, verb).side_effect = TOO_OLD
    new = mock.MagicMock(api_version="1.52")
    getattr(new, verb).return_value = "done"
    sdk.side_effect = [old, new]
    engine = client.Engine("unix:///x")
    assert engine.call(verb, patient=patient) == "done"
    assert [call[1]["version"] for call in sdk.call_args_list] == ["auto", "auto"]
    assert engine.call(verb, patient=patient) == "done"
    assert getattr(old, verb).call_count == 1


def test_an_engine_that_takes_no_version_at_all_is_a_fault(sdk: Any) -> None:
    connection = failing(sdk, TOO_OLD, TOO_OLD, TOO_OLD)
    with pytest.raises(exceptions.EngineError, match="too old"):
        client.Engine("unix:///x").call("start", "name")
    assert connection.start.call_count == 2


def test_what_was_read_already_is_not_sent_again(sdk: Any) -> None:
    connection = failing(sdk)
    connection.load_image.side_effect = TOO_OLD
    engine = client.Engine("unix:///x")
    with pytest.raises(exceptions.EngineError, match="too old"):
        engine.call("load_image", iter([b"some"]))
    assert connection.load_image.call_count == 1
    connection.info.side_effect = [{}]
    engine.call("info")
    assert [call[1]["version"] for call in sdk.call_args_list] == ["auto", "auto"]


def test_a_timeout_is_not_tried_again(sdk: Any) -> None:
    connection = failing(sdk, requests.exceptions.ReadTimeout("slow"), {})
    with pytest.raises(exceptions.EngineUnreachable):
        client.Engine("unix:///x").call("info")
    assert connection.info.call_count == 1


def test_an_engine_that_is_down_is_unreachable(sdk: Any) -> None:
    sdk.side_effect = docker.errors.DockerException("refused")
    with pytest.raises(exceptions.EngineUnreachable):
        client.Engine("unix:///x").call("version")


def test_each_thread_has_clients_of_its_own(sdk: Any) -> None:
    engine = client.Engine("unix:///x")
    for _ in range(2):
        engine.call("version")
        engine.call("version", patient=True)
    assert [call[1]["timeout"] for call in sdk.call_args_list] == [60, 1800]
    other = threading.Thread(target=lambda: engine.call("version"))
    other.start()
    other.join()
    assert sdk.call_count == 3
    assert [call[1]["version"] for call in sdk.call_args_list] == ["auto", "1.41", "1.41"]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (answer(500), exceptions.EngineError),
        (requests.exceptions.ChunkedEncodingError("cut"), exceptions.EngineUnreachable),
    ],
)
def test_streams_fail_as_calls_do(fault: Exception, kind: type[Exception], sdk: Any) -> None:
    def parts() -> Any:
        yield b"one"
        raise fault

    connection = failing(sdk)
    connection.export.return_value = parts()
    stream = client.Engine("unix:///x").stream("export", "name")
    assert next(stream) == b"one"
    with pytest.raises(kind):
        next(stream)


def test_tls_verifies_unless_told_otherwise(
    conf: Any, option: Any, tmp_path: Any, sdk: Any
) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_text("")
        option(f"{name}_file", str(tmp_path / name))
    option("host_url", "tcp://engine:2376")
    engine = client.Engine.from_conf(conf)
    assert engine._tls.verify
    assert engine._tls.cert == (str(tmp_path / "cert"), str(tmp_path / "key"))
    option("tls_verify", False)
    assert not client.Engine.from_conf(conf)._tls.verify


def test_a_port_is_never_spoken_to_in_the_clear(conf: Any, option: Any) -> None:
    option("host_url", "tcp://engine:2376")
    tls = client.Engine.from_conf(conf)._tls
    assert tls is not None
    assert tls.verify
    assert tls.cert is None


@pytest.mark.parametrize("url", ["http://engine:2375", "ssh://engine", "npipe://x", "engine:2375"])
def test_what_is_not_safe_is_refused(url: str, conf: Any, option: Any) -> None:
    option("host_url", url)
    with pytest.raises(exceptions.DriverError, match="tcp://HOST:2376, which is TLS"):
        client.Engine.from_conf(conf)
    (finding,) = check.engine(conf)
    assert (finding.what, finding.state) == ("docker", "error")


def test_the_environment_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/another/ca")
    monkeypatch.setenv("HTTPS_PROXY", "http://192.0.2.1:3128")
    tls = docker.tls.TLSConfig(verify=False)
    connection = client._Client(base_url="tcp://engine:2376", version="1.41", tls=tls)
    settings = connection.merge_environment_settings(
        "https://engine:2376/info", {}, None, None, None
    )
    assert settings["verify"] is False
    assert not settings["proxies"]


def test_a_socket_has_no_tls(conf: Any) -> None:
    assert client.Engine.from_conf(conf)._tls is None


def test_every_verb_is_a_method_of_the_sdks_client() -> None:
    verbs = set(get_args(client.Verb))
    assert all(callable(getattr(client._Client, verb, None)) for verb in verbs)
    assert verbs >= client._READS
