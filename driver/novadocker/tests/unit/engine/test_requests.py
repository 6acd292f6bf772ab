# SPDX-License-Identifier: Apache-2.0
"""What exactly the engine is asked for about containers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

from novadocker import exceptions
from novadocker.tests import make
from novadocker.virt.docker.engine import client, containers, isolation, limits, names, room
from novadocker.virt.docker.engine.workload import Workload
from novadocker.virt.docker.host.facts import HostFacts

RUNNING = {"State": {"Status": "running"}}
PAUSED = {"State": {"Status": "paused"}}


@pytest.fixture
def engine() -> mock.MagicMock:
    fake = mock.create_autospec(client.Engine, instance=True)
    fake.call.return_value = mock.MagicMock()
    fake.stream.return_value = iter([b"one", b"two"])
    return fake


@pytest.fixture
def boxes(engine: Any, monkeypatch: pytest.MonkeyPatch) -> containers.Containers:
    # What it asks for is told by a test of its own.
    monkeypatch.setattr(room.Room, "reserve", mock.MagicMock())
    return containers.Containers(
        engine, HostFacts("H"), isolation.Isolation(("KILL",), runtime="runsc")
    )


@pytest.mark.parametrize(
    ("ask", "requests"),
    [
        (lambda boxes: boxes.start("box"), [mock.call("start", "box")]),
        (lambda boxes: boxes.kill("box"), [mock.call("kill", "box"), mock.call("wait", "box")]),
        (
            lambda boxes: boxes.remove("box"),
            [mock.call("remove_container", "box", force=True, v=True, patient=True)],
        ),
        (lambda boxes: boxes.rename("box", "new"), [mock.call("rename", "box", "new")]),
        (
            lambda boxes: boxes.stats("box"),
            [mock.call("stats", "box", stream=False, one_shot=True)],
        ),
        (
            lambda boxes: boxes.put_archive("box", b"tar"),
            [mock.call("put_archive", "box", "/", b"tar")],
        ),
        (
            lambda boxes: boxes.commit("box", "repository", "tag"),
            [
                mock.call("inspect_container", "box"),
                mock.call(
                    "commit", "box", repository="repository", tag="tag", pause=False, patient=True
                ),
            ],
        ),
        (
            lambda boxes: boxes.names_of("uuid"),
            [
                mock.call(
                    "containers",
                    all=True,
                    filters={
                        "label": ["org.openstack.nova.host=H", "org.openstack.nova.uuid=uuid"]
                    },
                )
            ],
        ),
        (
            lambda boxes: boxes.names_by_uuid(),
            [mock.call("containers", all=True, filters={"label": ["org.openstack.nova.host=H"]})],
        ),
        (
            lambda boxes: boxes.states_by_uuid(),
            [
                mock.call(
                    "containers",
                    all=True,
                    filters={
                        "label": [
                            "org.openstack.nova.host=H",
                            "org.openstack.nova.role=workload",
                        ]
                    },
                )
            ],
        ),
    ],
)
def test_requests(ask: Callable[[Any], Any], requests: Any, boxes: Any, engine: Any) -> None:
    ask(boxes)
    assert engine.call.call_args_list[: len(requests)] == requests


def test_a_stop_is_patient_and_a_hurry_kills(boxes: Any, engine: Any) -> None:
    engine.call.return_value = RUNNING
    for timeout_s in (1, 30):
        boxes.stop("box", timeout_s)
        assert engine.call.mock_calls[-1] == mock.call(
            "stop", "box", timeout=timeout_s, patient=True
        )
    boxes.stop("box", 0)
    assert engine.call.mock_calls[-2:] == [mock.call("kill", "box"), mock.call("wait", "box")]


def test_a_removal_that_goes_on_is_awaited_even_where_it_ends_first(
    boxes: Any, engine: Any
) -> None:
    busy = exceptions.Conflict("removal of container box is already in progress", 409)
    engine.call.side_effect = [busy, exceptions.NotFound("No such container: box", 404)]
    assert boxes.remove("box")
    assert engine.call.mock_calls[-1] == mock.call("wait", "box", condition="removed", patient=True)


def test_log_is_read_whole_and_not_followed(boxes: Any, engine: Any) -> None:
    assert boxes.log_tail("box", 7, 5) == b"netwo"
    engine.stream.assert_called_once_with(
        "logs", "box", stdout=True, stderr=True, tail=7, stream=True, follow=False
    )


def test_export(boxes: Any, engine: Any) -> None:
    assert b"".join(boxes.export("box")) == b"onetwo"
    engine.stream.assert_called_once_with("export", "box")


def test_a_command_runs_as_root_and_its_end_is_awaited(boxes: Any, engine: Any) -> None:
    engine.call.side_effect = [{"Id": "E"}, "", {"ExitCode": None}, {"ExitCode": 3}]
    assert boxes.run("box", ["sh"], {"A": "1"}) == 3
    assert engine.call.mock_calls == [
        mock.call(
            "exec_create",
            "box",
            ["sh"],
            environment={"A": "1"},
            user="0",
            workdir="/",
            stdout=False,
            stderr=False,
        ),
        mock.call("exec_start", "E", detach=True),
        mock.call("exec_inspect", "E"),
        mock.call("exec_inspect", "E"),
    ]


@pytest.mark.parametrize(("whole", "size"), [(False, 5), (True, 7)])
def test_the_size_of_what_is_in_a_container_is_asked_for(
    whole: bool, size: int, engine: Any
) -> None:
    engine.call.side_effect = [{"Id": "I"}, {}, [{"SizeRw": 5, "SizeRootFs": 7}]] * 2
    boxes = containers.Containers(
        engine, HostFacts("H"), isolation.Isolation(()), root_directory="/"
    )
    with pytest.raises(exceptions.ImageRefused):
        boxes.room.require("box", size - 1, whole)
    assert engine.call.mock_calls == [
        mock.call("inspect_container", "box"),
        mock.call("info"),
        mock.call("containers", all=True, size=True, filters={"id": ["I"]}, patient=True),
    ]
    boxes.room.require("box", size, whole)


@pytest.mark.parametrize(("path", "asked"), [("/a/", "/a/."), ("/X", "/X/.")])
def test_files_are_copied_patiently(path: str, asked: str, boxes: Any, engine: Any) -> None:
    details = {"HostConfig": {"Mounts": None}}
    engine.call.side_effect = [details, details, (iter([]), {}), True]
    boxes.copy("from", path, "to", "/there")
    assert engine.call.mock_calls[2:] == [
        mock.call("get_archive", "from", asked, patient=True),
        mock.call("put_archive", "to", "/there", mock.ANY, patient=True),
    ]


def test_a_whole_file_system_is_copied_without_what_is_mounted_in_it(
    boxes: Any, engine: Any
) -> None:
    boxes.copy("from", "/", "to", "/there")
    engine.stream.assert_called_once_with("export", "from")
    engine.call.assert_called_with("put_archive", "to", "/there", mock.ANY, patient=True)


@pytest.mark.parametrize("init", [True, False])
def test_a_container_is_made_from_all_that_is_known(init: bool, boxes: Any, engine: Any) -> None:
    workload = Workload(
        name="box",
        sandbox="sandbox",
        image="sha256:1",
        labels={"a": "b", "org.openstack.nova.uuid": "U"},
        command=["sh"],
        environment={"C": "d"},
        tty=True,
        init=init,
    )
    flavor = make.flavor()
    engine.call.return_value = {"Memory": 1}
    boxes.create(workload, flavor, disk_gb=7)
    host_config, create = engine.call.mock_calls[0], engine.call.mock_calls[1]
    expected = isolation.arguments(boxes._isolation, {})
    assert host_config == mock.call(
        "create_host_config",
        network_mode="container:sandbox",
        restart_policy={"Name": "no"},
        init=init or None,
        mounts=None,
        storage_opt={"size": "7G"},
        **isolation.limits(flavor),
        **expected,
    )
    assert expected["runtime"] == "runsc"
    assert create == mock.call(
        "create_container",
        "sha256:1",
        name="box",
        command=["sh"],
        entrypoint=None,
        labels={
            "a": "b",
            "org.openstack.nova.uuid": "U",
            "org.openstack.nova.fixed": limits.fixed({}),
        },
        environment={"C": "d"},
        tty=True,
        stdin_open=True,
        host_config={"Memory": 1},
        healthcheck={"test": ["NONE"]},
    )


def test_labels_that_are_not_there_are_empty() -> None:
    assert names.image_label({"Config": {"Labels": {}}}) == ""
    labels = names.labels(make.instance(project_id=None), "H", names.Role.SANDBOX)
    assert labels["org.openstack.nova.project"] == labels["org.openstack.nova.image_id"] == ""
