# SPDX-License-Identifier: Apache-2.0
"""Cold migration between two hosts, by way of Glance."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
from nova import context, exception, objects

from novadocker.tests import make
from novadocker.tests.archives import Parts, tar
from novadocker.tests.make import IMAGE_ID
from novadocker.virt.docker.instances import guest

CONTEXT = context.RequestContext("admin", "admins", is_admin=True)
TEMPORARY = "99999999-2222-4333-8444-555555555555"


class Glance:
    """Holds one image at a time."""

    def __init__(self) -> None:
        self.data: bytes | None = None
        self.create = mock.Mock(return_value={"id": TEMPORARY})
        self.delete = mock.Mock()
        self.get_all = mock.Mock()
        self.failing: Exception | None = None

    def update(self, _context: Any, _image: str, _meta: Any, data: Any, purge_props: bool) -> None:
        assert not purge_props
        if self.failing:
            raise self.failing
        parts = []
        while part := data.read(4096):
            parts.append(part)
        self.data = b"".join(parts)

    def get(self, _context: Any, image_id: str) -> dict[str, Any]:
        return {
            "id": image_id,
            "container_format": "docker",
            "disk_format": "raw",
            "checksum": "c" * 32,
            "size": len(self.data or b""),
        }


@pytest.fixture
def glance(monkeypatch: pytest.MonkeyPatch) -> Glance:
    fake = Glance()

    def fetch(_context: Any, _image: str, path: str, _certificates: Any = None) -> None:
        with open(path, "wb") as out:
            out.write(fake.data or b"")

    monkeypatch.setattr("nova.virt.images.fetch", fetch)
    return fake


def spawned(docker_driver: Any, image_meta: Any) -> Any:
    made = make.instance()
    docker_driver.spawn(None, made, image_meta, [], None, {}, network_info=[])
    return made


def test_an_instance_moves(
    docker_driver: Any, engine: Any, image_meta: Any, glance: Glance
) -> None:
    instance = spawned(docker_driver, image_meta)
    engine.saved = Parts().docker()
    info = docker_driver.migrate_disk_and_power_off(
        None, instance, "198.51.100.9", instance.flavor, []
    )
    assert glance.create.call_args[0][1]["visibility"] == "private"
    assert engine.names() == {f"nova-{instance.uuid}-resize"}

    docker_driver.finish_migration(None, None, instance, info, [], None, False, {})
    assert engine._find(f"nova-{instance.uuid}")["State"]["Running"]
    labels = engine._find(f"nova-{instance.uuid}")["Config"]["Labels"]
    assert labels["org.openstack.nova.image_id"] == IMAGE_ID
    glance.delete.assert_called_once_with(None, TEMPORARY)
    assert not any(TEMPORARY in str(image) for image in engine.images.values())
    docker_driver.confirm_migration(None, None, instance, [])
    docker_driver.destroy(None, instance, [])
    assert {tag for image in engine.images.values() for tag in image["RepoTags"]} == {
        docker_driver.parts.sandboxes.image,
        f"nova-glance/{IMAGE_ID}:{'a' * 16}",
    }


def test_an_image_that_glance_keeps_is_no_fault(
    docker_driver: Any, engine: Any, image_meta: Any, glance: Glance
) -> None:
    instance = spawned(docker_driver, image_meta)
    engine.saved = Parts().docker()
    info = docker_driver.migrate_disk_and_power_off(
        None, instance, "198.51.100.9", instance.flavor, []
    )
    glance.delete.side_effect = exception.ImageNotFound(image_id=TEMPORARY)
    docker_driver.finish_migration(None, None, instance, info, [], None, False, {})


def test_an_instance_that_glance_does_not_take_stays(
    docker_driver: Any, engine: Any, image_meta: Any, glance: Glance
) -> None:
    instance = spawned(docker_driver, image_meta)
    engine.saved = Parts().docker()
    glance.failing = exception.ImageQuotaExceeded(image_id=TEMPORARY)
    with pytest.raises(exception.InstanceFaultRollback):
        docker_driver.migrate_disk_and_power_off(
            None, instance, "198.51.100.9", instance.flavor, []
        )
    glance.delete.assert_called_once()
    assert engine._find(f"nova-{instance.uuid}")["State"]["Running"]


def test_snapshot_is_uploaded(new_driver: Any, engine: Any, image_meta: Any) -> None:
    api = mock.Mock()
    docker_driver = new_driver(glance=api)
    instance = spawned(docker_driver, image_meta)
    engine.saved = Parts().docker()
    states = mock.Mock()
    docker_driver.snapshot(None, instance, TEMPORARY, states)
    assert api.update.call_args[0][1] == TEMPORARY
    assert [call[1]["task_state"] for call in states.call_args_list] == [
        "image_pending_upload",
        "image_uploading",
    ]


class TestATargetThatWasKilled:
    """Instances that were about to arrive at this host."""

    @pytest.fixture
    def arriving(self, docker_driver: Any, engine: Any, image_meta: Any, glance: Glance) -> Any:
        """An instance of which there is nothing here, and a temporary image."""
        instance = spawned(docker_driver, image_meta)
        engine.saved = Parts().docker()
        docker_driver.migrate_disk_and_power_off(
            None, instance, "198.51.100.9", instance.flavor, []
        )
        docker_driver.destroy(None, instance, [])
        instance.system_metadata = {"old_vm_state": "active"}
        glance.get_all.return_value = [{"id": TEMPORARY, "owner": "project"}]
        return instance

    def test_a_reboot_completes_what_it_was_about_to_do(
        self, docker_driver: Any, engine: Any, glance: Glance, arriving: Any
    ) -> None:
        docker_driver.reboot(CONTEXT, arriving, [], "HARD")
        assert engine._find(f"nova-{arriving.uuid}")["State"]["Running"]
        filters = {"name": f"{arriving.uuid}-migration"}
        assert glance.create.call_args[0][1]["name"] == filters["name"]
        glance.get_all.assert_called_once_with(CONTEXT, filters=filters)
        glance.delete.assert_called_once_with(CONTEXT, TEMPORARY)

    def test_one_that_has_the_image_takes_no_other(
        self, docker_driver: Any, engine: Any, glance: Glance, arriving: Any
    ) -> None:
        image = engine.add_image(f"nova-docker/instance:{arriving.uuid}")
        docker_driver.reboot(CONTEXT, arriving, [], "HARD")
        assert engine._find(f"nova-{arriving.uuid}")["Image"] == image
        glance.delete.assert_called_once_with(CONTEXT, TEMPORARY)

    def test_one_that_has_arrived_is_rebooted_without_glance(
        self, docker_driver: Any, engine: Any, glance: Glance, arriving: Any
    ) -> None:
        docker_driver.reboot(CONTEXT, arriving, [], "HARD")
        glance.get_all.side_effect = exception.GlanceConnectionFailed(server="g", reason="r")
        docker_driver.reboot(CONTEXT, arriving, [], "HARD")
        assert engine._find(f"nova-{arriving.uuid}")["State"]["Running"]

    def test_an_image_of_that_name_that_others_have_made_is_not_taken(
        self, docker_driver: Any, glance: Glance, arriving: Any
    ) -> None:
        glance.get_all.return_value = [{"id": TEMPORARY, "owner": "strangers"}]
        with pytest.raises(exception.InstanceNotFound):
            docker_driver.reboot(CONTEXT, arriving, [], "HARD")
        glance.delete.assert_not_called()

    @pytest.mark.parametrize("owner", ["project", "admins"])
    def test_its_image_goes_with_it(
        self, owner: str, docker_driver: Any, glance: Glance, arriving: Any
    ) -> None:
        glance.get_all.return_value = [{"id": TEMPORARY, "owner": owner}]
        docker_driver.destroy(CONTEXT, arriving, [])
        # As one that Nova knows little of.
        docker_driver.destroy(CONTEXT, objects.Instance(uuid=arriving.uuid, task_state=None), [])
        glance.delete.assert_called_once_with(CONTEXT, TEMPORARY)

    def test_another_move_replaces_what_an_upload_that_was_killed_has_left(
        self, docker_driver: Any, engine: Any, image_meta: Any, glance: Glance
    ) -> None:
        instance = spawned(docker_driver, image_meta)
        instance.system_metadata = {"old_vm_state": "active"}
        engine.saved = Parts().docker()
        glance.get_all.return_value = [{"id": "left", "owner": "admins"}]
        docker_driver.migrate_disk_and_power_off(
            CONTEXT, instance, "198.51.100.9", instance.flavor, []
        )
        glance.delete.assert_called_once_with(CONTEXT, "left")

    def test_what_does_not_move_is_not_looked_for(
        self, docker_driver: Any, glance: Glance, arriving: Any
    ) -> None:
        arriving.system_metadata = {}
        with pytest.raises(exception.InstanceNotFound):
            docker_driver.reboot(CONTEXT, arriving, [], "HARD")
        glance.get_all.assert_not_called()

    def test_nothing_is_left_of_its_image_when_it_is_deleted(
        self, docker_driver: Any, engine: Any, arriving: Any
    ) -> None:
        name = f"nova-docker/instance:{arriving.uuid}"
        docker_driver.parts.migrations._fetch(None, arriving, TEMPORARY)
        assert any(name in image["RepoTags"] for image in engine.images.values())
        assert not any(TEMPORARY in str(image["RepoTags"]) for image in engine.images.values())
        docker_driver.destroy(CONTEXT, arriving, [])
        assert not any(name in image["RepoTags"] for image in engine.images.values())


def test_a_snapshot_has_nothing_of_the_instance_alone(
    docker_driver: Any, engine: Any, image_meta: Any, glance: Glance
) -> None:
    instance = spawned(docker_driver, image_meta)
    layer = tar((f"{guest.CONFIG_DRIVE[1:]}/openstack/x", b"secret"), ("kept", b""))
    engine.saved = Parts(layers=[layer]).docker()
    docker_driver.snapshot(None, instance, TEMPORARY, mock.Mock())
    assert b"kept" in (glance.data or b"")
    assert b"secret" not in (glance.data or b"")


@pytest.fixture
def too_large(docker_driver: Any, engine: Any) -> None:
    """A container that its host would not take back."""
    docker_driver.parts.snapshots._max_bytes = 1 << 20
    engine.saved = Parts(layers=[tar(("x", b"x" * (1 << 20)))]).docker()


def test_an_instance_that_is_too_large_stays_and_runs(
    docker_driver: Any, engine: Any, image_meta: Any, glance: Glance, too_large: Any
) -> None:
    instance = spawned(docker_driver, image_meta)
    with pytest.raises(exception.InstanceFaultRollback, match="max_image_size_gb"):
        docker_driver.migrate_disk_and_power_off(
            None, instance, "198.51.100.9", instance.flavor, []
        )
    glance.create.assert_not_called()
    assert engine._find(f"nova-{instance.uuid}")["State"]["Running"]


@pytest.mark.parametrize(
    ("vm_state", "task_state", "runs"),
    [
        ("active", "shelving_image_pending_upload", True),
        ("stopped", "shelving_image_pending_upload", False),
        ("active", "image_pending_upload", False),
    ],
)
def test_one_that_is_too_large_for_a_snapshot_is_what_it_was(
    vm_state: str,
    task_state: str,
    runs: bool,
    docker_driver: Any,
    engine: Any,
    image_meta: Any,
    glance: Glance,
    too_large: Any,
) -> None:
    instance = spawned(docker_driver, image_meta)
    # As Nova does before it shelves one.
    docker_driver.power_off(instance)
    instance.vm_state = vm_state

    def update(task_state: str, expected_state: str = "") -> None:
        instance.task_state = states[task_state]

    states = {"image_pending_upload": task_state}
    with pytest.raises(exception.ImageUnacceptable, match="max_image_size_gb"):
        docker_driver.snapshot(None, instance, TEMPORARY, update)
    assert glance.data is None
    assert engine._find(f"nova-{instance.uuid}")["State"]["Running"] is runs
