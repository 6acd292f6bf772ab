# SPDX-License-Identifier: Apache-2.0
"""Image references, and what is found in a registry."""

from __future__ import annotations

import itertools
import types
from unittest import mock

import pytest

from novadocker_actions.actions import glance as glance_actions
from novadocker_actions.cloud import glance
from novadocker_actions.cloud.clients import Service
from novadocker_actions.errors import CloudError, NovadockerError, Refused
from novadocker_actions.plan import references, rows
from novadocker_actions.plan.references import Reference

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "familiar", "name"),
    [
        ("busybox", "busybox:latest", "busybox"),
        ("docker.io/library/busybox", "busybox:latest", "busybox"),
        ("index.docker.io/org/app:1", "org/app:1", "org/app:1"),
        ("org/app", "org/app:latest", "org/app"),
        ("quay.io/org/app:v1.2", "quay.io/org/app:v1.2", "quay.io/org/app:v1.2"),
        ("registry:5000/a/b__c", "registry:5000/a/b__c:latest", "registry:5000/a/b__c"),
        ("localhost/app", "localhost/app:latest", "localhost/app"),
        (f"app@{DIGEST}", f"app@{DIGEST}", f"app@{DIGEST}"),
        (f"app:1@{DIGEST}", f"app:1@{DIGEST}", f"app:1@{DIGEST}"),
    ],
)
def test_references(text: str, familiar: str, name: str) -> None:
    reference = Reference.parse(text)

    assert (reference.familiar, reference.name) == (familiar, name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Busybox",
        "busy box",
        "-x",
        "a//b",
        "app:",
        "app:-tag",
        "app@sha256:short",
        "http://quay.io/app",
        "app;rm -rf",
        "Org/app",
        "a" * 256,
        "app\n",
    ],
)
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(Refused, match="images: "):
        Reference.parse(text)


def test_images_that_the_registry_lacks_are_named_with_its_words() -> None:
    answers = {
        "a:1": {"ok": True, "digest": DIGEST},
        "b:1": {"ok": False, "reason": "manifest unknown"},
    }

    assert references.require_found(answers, ["a:1"]) == {"a:1": DIGEST}
    with pytest.raises(Refused, match=r"b:1 \(manifest unknown\); c:1 \(the host did not look"):
        references.require_found(answers, ["a:1", "b:1", "c:1"])


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        ({"status": "active", "os_hash_algo": "sha512", "os_hash_value": "h"}, ""),
        ({"status": "saving"}, "Glance image i is saving, not active"),
        (
            {"status": "active", "os_hash_algo": "sha512", "os_hash_value": "other"},
            "Glance image i is not what the host exported: its sha512 differs",
        ),
    ],
)
def test_an_uploaded_image_is_compared_with_the_archive(record: dict[str, str], fault: str) -> None:
    assert glance.fault_of({"id": "i", **record}, "h") == fault


def test_a_published_image_asks_for_a_docker_hypervisor_and_nothing_else() -> None:
    service = mock.create_autospec(Service, instance=True)

    glance.create(service, "an-id", "org/app:1", DIGEST)

    record = service.post.call_args.kwargs["json"]
    assert (record["id"], record["tags"]) == ("an-id", ["novadocker-published-an-id"])
    assert record["img_hv_type"] == "docker"
    assert record["trait:CUSTOM_HYPERVISOR_DOCKER"] == "required"
    assert (record["container_format"], record["disk_format"]) == ("docker", "raw")


@pytest.mark.parametrize(
    ("change", "own"),
    [
        ({}, True),
        ({"owner": "another"}, False),
        ({"tags": []}, False),
        ({"tags": ["novadocker-published-of-another"]}, False),
        ({"id": "a-copy"}, False),
    ],
)
def test_an_image_is_ours_by_its_owner_and_a_mark_that_names_it(
    change: dict[str, object], own: bool
) -> None:
    image = {"id": "i", "owner": "project", "tags": [glance.mark("i")], **change}

    assert glance.is_own(image, "project") is own


@pytest.mark.parametrize(
    ("change", "used"),
    [
        ({}, True),
        ({"visibility": "private"}, False),
        ({"owner": "another"}, False),
        ({"image_type": "snapshot"}, False),
        ({"base_image_ref": "its-image"}, False),
        ({"status": "queued"}, False),
    ],
)
def test_an_image_of_a_release_without_marks_is_used_where_an_administrator_made_it(
    change: dict[str, str], used: bool
) -> None:
    image = {"id": "i", "owner": "project", "status": "active", "visibility": "public"}
    service = mock.create_autospec(Service, instance=True)
    service.get.return_value = {"images": [{**image, "created_at": "2026-01-01", **change}]}

    published = glance.published(service, "project", "app:1", DIGEST)

    assert (published is not None) is used


def test_a_marked_image_comes_before_an_older_one_without() -> None:
    image = {"owner": "project", "status": "active", "visibility": "public"}
    older = {**image, "id": "older", "created_at": "2025-01-01"}
    marked = {**image, "id": "m", "created_at": "2026-01-01", "tags": [glance.mark("m")]}
    service = mock.create_autospec(Service, instance=True)
    service.get.return_value = {"images": [older, marked]}

    assert glance.published(service, "project", "app:1", DIGEST) == marked


def test_no_image_is_ours_where_the_project_is_not_known() -> None:
    assert not glance.is_own({"id": "i", "owner": "", "tags": [glance.mark("i")]}, "")


def test_an_upload_that_is_tried_again_finds_its_own_record() -> None:
    service = mock.create_autospec(Service, instance=True)
    service.get.return_value = {"images": []}
    service.post.side_effect = lambda path, json: json
    first = glance.record_for(service, "project", "task-1", "app:1", DIGEST)
    other = glance.record_for(service, "project", "task-2", "app:1", DIGEST)
    service.get.side_effect = [{"images": []}, {**first, "owner": "project", "status": "saving"}]
    service.post.side_effect = CloudError("image", "POST /v2/images", 409, "it exists")

    again = glance.record_for(service, "project", "task-1", "app:1", DIGEST)

    assert again["id"] == first["id"] != other["id"]
    assert service.delete.call_args_list == []


def test_images_are_neither_published_nor_removed_where_the_project_is_not_known() -> None:
    service = mock.Mock()

    with pytest.raises(NovadockerError, match="which project the run works for"):
        list(glance.own(service, ""))
    with pytest.raises(NovadockerError, match="which project the run works for"):
        glance.record_for(service, "", "task-1", "app:1", DIGEST)
    assert service.mock_calls == []


@pytest.mark.field_case("K6.2")
@pytest.mark.parametrize(("nodes", "enrolled"), [("dd-", 2), ("d-", 1), ("-dddd", 4)])
@pytest.mark.parametrize(("first", "wait_s"), [(0, 0), (1, 0), (0, 0.3)])
def test_a_node_of_glance_that_nobody_enrolled_is_seen_and_named(
    monkeypatch: pytest.MonkeyPatch, nodes: str, enrolled: int, first: int, wait_s: float
) -> None:
    # However long it is asked, good answers count in a row alone.
    monkeypatch.setattr(glance_actions, "GLANCE_WAIT_S", wait_s)
    monkeypatch.setattr(glance_actions, "_POLL_S", 0.01)
    turn = itertools.islice(itertools.cycle(nodes), first, None)
    asked: list[dict[str, bool]] = []

    def get(_path: str, **how: bool) -> dict[str, object]:
        asked.append(how)
        formats = ["bare", *(["docker"] if next(turn) == "d" else [])]
        return {"properties": {"container_format": {"enum": formats}}}

    cloud = types.SimpleNamespace(image=types.SimpleNamespace(get=get))
    controllers = [
        rows.HostRow(host=f"g{number}", role="controller,glance", deployment_id="d")
        for number in range(enrolled)
    ]
    action = glance_actions.VerifyGlance(rows.batch(controllers)["rows"], {})

    (row, *_) = rows.read(action.act(cloud)["rows"])

    assert not row.ok
    assert "not enrolled (`novadocker-enroll add --role glance`)" in row.reason
    assert all(how == {"anew": True} for how in asked)


@pytest.mark.field_case("K6.2")
def test_all_nodes_of_glance_take_docker_images() -> None:
    schema = {"properties": {"container_format": {"enum": ["bare", "docker"]}}}
    service = mock.create_autospec(Service, instance=True)
    service.get.return_value = schema
    row = rows.HostRow(host="g", role="glance", deployment_id="d")
    action = glance_actions.VerifyGlance(rows.batch([row])["rows"], {})

    (row,) = rows.read(action.act(types.SimpleNamespace(image=service))["rows"])

    assert row.ok
    assert service.get.call_count >= 10
