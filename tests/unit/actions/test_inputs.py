# SPDX-License-Identifier: Apache-2.0
"""What the workflows take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from novadocker_actions.errors import Refused
from novadocker_actions.plan import inputs
from tests import engine_values

WORKBOOK = Path(__file__).parents[3] / "workbooks" / "novadocker.yaml"


def test_defaults_fit_their_own_limits() -> None:
    for workflow in inputs.WORKFLOWS:
        given = {name: inputs.FIELDS[name][0] for name in inputs.WORKFLOWS[workflow]}
        assert inputs.validate(workflow, given) == inputs.validate(workflow, {})


@pytest.mark.parametrize("workflow", sorted(inputs.WORKFLOWS))
def test_the_workbook_declares_just_these_inputs_and_defaults(workflow: str) -> None:
    declared: dict[str, Any] = {}
    for entry in yaml.safe_load(WORKBOOK.read_text())["workflows"][workflow]["input"]:
        declared.update(entry)

    assert declared == {name: inputs.FIELDS[name][0] for name in inputs.WORKFLOWS[workflow]}


def test_lists_may_be_given_as_comma_separated_text() -> None:
    settings = inputs.validate("deploy", {"hosts": "a, b,", "images": "busybox,nginx:1"})

    assert settings["hosts"] == ["a", "b"]
    assert settings["images"] == ["busybox:latest", "nginx:1"]


def test_a_default_is_not_shared_between_runs() -> None:
    inputs.validate("deploy", {})["docker"]["debug"] = True

    assert inputs.validate("deploy", {})["docker"] == {}


@pytest.mark.parametrize("given", [{}, {"images": []}, {"images": "busybox"}])
def test_an_upgrade_has_no_images(given: dict[str, Any]) -> None:
    assert inputs.validate("deploy", {"upgrade": True, **given})["images"] == []


def test_a_workflow_without_images_has_none() -> None:
    assert inputs.validate("undeploy", {})["images"] == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"batch_size": 0}, r"batch_size: 0 is less than the minimum of 1\. Give 1 to 100"),
        ({"batch_sizes": []}, "batch_sizes: .*Give a list of 1 to 100 hosts and of percentages"),
        ({"batch_sizes": [1, 0]}, "batch_sizes: .*Give a list"),
        ({"batch_sizes": [101]}, "batch_sizes: .*Give a list"),
        ({"batch_sizes": ["101%"]}, "batch_sizes: .*Give a list"),
        ({"batch_sizes": "1,many"}, "batch_sizes: .*Give a list"),
        ({"batch_sizes": [1], "batch_size": 2}, "batch_sizes: batch_size is given as well"),
        ({"max_failed": "5%%"}, "max_failed: .*Give how many hosts may fail"),
        ({"max_failed": -1}, "max_failed: .*Give how many hosts may fail"),
        ({"batch_size": 1.5}, r"batch_size: 1\.5 is not of type"),
        ({"batch_size": True}, "batch_size: True is not of type"),
        ({"hosts": ["a", "a"]}, "hosts: .* has non-unique elements"),
        ({"hosts": ["bad name"]}, "hosts: 'bad name' in it is not of the expected form"),
        ({"hosts": ["c1\n"]}, r"hosts: 'c1\\n' in it is not of the expected form"),
        ({"hosts": ""}, "hosts: .* should be non-empty"),
        ({"docker": []}, "docker: .* is not of type 'object'"),
        ({"drain": "now"}, "drain: 'now' is not one of"),
        ({"report_url": "javascript:x"}, "report_url: 'javascript:x' is not of the expected form"),
        ({"driver_url": "https://x --index-url=y"}, "driver_url: .* not of the expected"),
        ({"driver_index": "https://me:secret@x/simple"}, "driver_index: a password or a token"),
        ({"match": ""}, "match: '' should be non-empty"),
        ({"aggregate": " "}, "aggregate: ' ' is not of the expected form"),
        ({"phase": "both"}, r"phase: 'both' is not one of .* Give all, stage or switch"),
        ({"batch_pause_s": -1}, "batch_pause_s: -1 is less than the minimum of 0. Give 0 to 43200"),
        ({"approval": "yes"}, r"approval: 'yes' is not one of .* Give none, canary or batches"),
        ({"upgrade": True, "phase": "stage"}, "phase: an upgrade has one"),
        ({"upgrade": "yes"}, "upgrade: 'yes' is not of type 'boolean'. Give true or false"),
        ({"upgrade": True, "match": "rack1"}, "match: an upgrade is of all Docker hypervisors"),
        ({"upgrade": True, "if_none_match": "fail"}, "if_none_match: an upgrade is of Docker"),
        ({"upgrade": True, "images": ["nginx"]}, "images: an upgrade publishes none. Leave it"),
        ({"upgrade": True, "docker": {"debug": True}}, "docker: an upgrade leaves engines as"),
        ({"upgrade": True, "aggregate": "x"}, "aggregate: an upgrade leaves hosts in the aggreg"),
        ({"typo": 1}, "typo: novadocker.deploy takes no such input. It takes: agent_timeout_s"),
        ({"images": ["a", "A"]}, "images: 'A' is not a Docker image reference"),
    ],
)
def test_a_misfit_is_named_with_its_remedy(given: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused, match=said):
        inputs.validate("deploy", given)


@pytest.mark.field_case("K2.6")
@pytest.mark.parametrize(
    ("docker", "said"),
    [
        ({"log-opts": {"max-file": 3}}, r"docker\.log-opts\.max-file: 3 is not of type 'string'"),
        ({"iptables": "false"}, r"docker\.iptables: 'false' is not of type 'boolean'"),
        ({"hosts": ["fd://", "tcp://0.0.0.0:2376"]}, "docker: hosts cannot be set by a run: the u"),
        ({"data_root": "/srv"}, "docker: data_root is no key .* Is data-root meant"),
        ({"insecure-registries": "reg:5000"}, r"docker\.insecure-registries: .* type 'array'"),
        ({"registry-mirrors": [1]}, r"docker\.registry-mirrors\.0: 1 is not of type 'string'"),
        ({"proxies": {"default": {}}}, r"docker\.proxies: Additional properties are not allowed"),
        ({"default-address-pools": [{"base": "10.0.0.0/8"}]}, "'size' is a required property"),
        ({"tlsverify": True}, "docker: tlsverify cannot be set by a run"),
        ({"graph": "/srv"}, "it is called data-root now"),
        ({"mtu": True}, r"docker\.mtu: True is not of type 'integer'"),
        ({"log-level": "loud"}, r"docker\.log-level: 'loud' is not one of"),
    ],
)
def test_settings_that_no_engine_takes_are_refused_by_name(
    docker: dict[str, Any], said: str
) -> None:
    with pytest.raises(Refused, match=said):
        inputs.validate("deploy", {"docker": docker})


@pytest.mark.field_case("K2.6")
@pytest.mark.parametrize(("docker", "said"), [*engine_values.REFUSED, *engine_values.LATE])
def test_values_that_no_engine_works_with_are_refused_by_name(
    docker: dict[str, Any], said: str
) -> None:
    with pytest.raises(Refused, match=said) as refusal:
        inputs.validate("deploy", {"docker": docker})

    assert refusal.value.field.startswith("docker.")


@pytest.mark.parametrize("docker", [*engine_values.TAKEN, *engine_values.OF_THE_HOST])
def test_values_that_an_engine_may_take_are_left_to_it(docker: dict[str, Any]) -> None:
    assert inputs.validate("deploy", {"docker": docker})["docker"] == docker


def test_settings_that_engines_take_are_taken() -> None:
    docker = {
        "data-root": "/srv/docker",
        "default-address-pools": [{"base": "10.10.0.0/16", "size": 24}],
        "default-ulimits": {"nofile": {"Name": "nofile", "Hard": 64000, "Soft": 64000}},
        "features": {"buildkit": True},
        "insecure-registries": ["10.0.0.0/8"],
        "log-driver": "journald",
        "log-opts": {"tag": "{{.Name}}"},
        "proxies": {"http-proxy": "http://proxy:3128", "no-proxy": "localhost"},
        "registry-mirrors": ["https://mirror:5443"],
        "runtimes": {"kata": {"path": "/usr/bin/kata-runtime"}},
    }
    assert inputs.validate("deploy", {"docker": docker})["docker"] == docker


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"docker": {"proxies": {"http-proxy": "http://u:pw1@p:1"}}}, "docker.proxies.http-proxy"),
        ({"docker": {"registry-mirrors": ["https://u:pw1@m"]}}, "docker.registry-mirrors.0"),
        ({"docker": {"log-opts": {"splunk-token": "pw1"}}}, "docker.log-opts.splunk-token"),
        ({"driver_index": "https://u:pw1@index.test/simple"}, "driver_index"),
        ({"docker": {"proxy": "http://u:pw1@p:1"}}, "docker.proxy"),
    ],
)
def test_secrets_are_refused_and_not_told(given: dict[str, Any], place: str) -> None:
    with pytest.raises(Refused, match="a password or a token") as refusal:
        inputs.validate("deploy", given)

    assert str(refusal.value).startswith(f"{place}: ")
    assert "pw1" not in str(refusal.value)


@pytest.mark.parametrize(
    "docker",
    [
        {"log-opts": {"tag": "{{.Name}}", "splunk-token": ""}},
        {"proxies": {"http-proxy": "http://reader@proxy:3128"}},
        {"registry-mirrors": ["https://mirror/a:b@sha"]},
    ],
)
def test_what_is_no_secret_is_taken(docker: dict[str, Any]) -> None:
    assert inputs.validate("deploy", {"docker": docker})["docker"] == docker


@pytest.mark.parametrize("name", ["driver_url", "driver_index"])
@pytest.mark.parametrize(
    "text", [None, "http://controller:8080/wheels", "https://index.test/simple/"]
)
def test_places_of_the_driver(name: str, text: str | None) -> None:
    assert inputs.validate("deploy", {name: text})[name] == text


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"hosts": ["c" * 250] * 200}, "hosts"),
        ({"images": ["i" * 200] * 80}, "images"),
        ({"docker": {"labels": ["x" * 13_000]}}, "docker"),
    ],
)
def test_inputs_that_are_too_long_to_be_carried_are_refused(
    given: dict[str, Any], field: str
) -> None:
    with pytest.raises(Refused, match=f"^{field}: it takes"):
        inputs.require_bearable(given)
    inputs.require_bearable(
        {"hosts": ["rack-0001-docker.cloud.test"] * 1000, "images": ["busybox"]}
    )


def test_numbers_and_percentages_come_as_a_command_line_has_them() -> None:
    settings = inputs.validate("deploy", {"batch_sizes": "1, 10%,50%", "max_failed": "5%"})
    assert (settings["batch_sizes"], settings["max_failed"]) == ([1, "10%", "50%"], "5%")
    assert inputs.validate("deploy", {"max_failed": "2"})["max_failed"] == 2
