# SPDX-License-Identifier: Apache-2.0
"""Rescue, as Nova asks for it."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from nova import objects

from novadocker import exceptions
from novadocker.tests import make
from novadocker.tests.archives import Parts
from novadocker.tests.fake_engine import names, workload


def copied(packed: bytes) -> dict[str, bytes]:
    """Unpack what was written into a container."""
    with tarfile.open(fileobj=io.BytesIO(packed)) as members:
        return {member.name: members.extractfile(member).read() for member in members}


class TestRescue:
    def test_an_instance_is_rescued_and_runs_again(
        self, docker_driver: Any, spawn: Any, engine: Any, image_meta: Any
    ) -> None:
        instance = spawn(make.instance())
        own = workload(engine, instance)["Id"]
        docker_driver.rescue(None, instance, [], image_meta, "", None)
        assert engine.names() == {*names(instance), f"nova-{instance.uuid}-rescued"}
        assert workload(engine, instance)["Id"] != own
        assert workload(engine, instance)["State"]["Running"]
        assert copied(engine.archives[f"nova-{instance.uuid}-rescuing"][1]) == {
            "./etc/of": f"nova-{instance.uuid}:/.".encode()
        }
        docker_driver.unrescue(None, instance)
        assert engine.names() == names(instance)
        assert workload(engine, instance)["Id"] == own
        assert workload(engine, instance)["State"]["Running"]
        (back,) = engine.archives[f"nova-{instance.uuid}-rescued"]
        assert copied(back) == {"./etc/of": f"nova-{instance.uuid}:/mnt/rescue/.".encode()}

    @pytest.mark.parametrize("verb", ["spawn", "rescue"])
    def test_an_image_has_to_be_signed_where_the_instances_is(
        self, verb: str, docker_driver: Any, spawn: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        instance = make.instance()
        if verb == "rescue":
            spawn(instance)
        instance.trusted_certs = objects.TrustedCerts(ids=["certificate"])
        fetch = mock.Mock(side_effect=lambda *args: Path(args[2]).write_bytes(Parts().docker()))
        monkeypatch.setattr("nova.virt.images.fetch", fetch)
        if verb == "rescue":
            docker_driver.rescue(None, instance, [], make.image_meta(), "", None)
        else:
            spawn(instance)
        assert fetch.call_args[0][3].ids == ["certificate"]

    def test_without_an_image_it_is_the_instances_own(
        self, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        instance = spawn(make.instance())
        image = workload(engine, instance)["Image"]
        docker_driver.rescue(None, instance, [], objects.ImageMeta.from_dict({}), "", None)
        assert workload(engine, instance)["Image"] == image

    def test_password_of_a_rescue_is_set_where_that_is_switched_on(
        self, docker_driver: Any, spawn: Any, engine: Any, image_meta: Any, option: Any
    ) -> None:
        instance = spawn(make.instance())
        docker_driver.rescue(None, instance, [], image_meta, "secret", None)
        assert "exec_create" not in engine.calls
        docker_driver.unrescue(None, instance)
        option("inject_password", True)
        docker_driver.rescue(None, instance, [], image_meta, "secret", None)
        assert "exec_create" in engine.calls

    def test_a_rescue_that_was_cut_short_is_undone_by_a_reboot_or_another_one(
        self, docker_driver: Any, spawn: Any, engine: Any, image_meta: Any
    ) -> None:
        instance = spawn(make.instance())
        own = workload(engine, instance)["Id"]
        docker_driver.rescue(None, instance, [], image_meta, "", None)
        docker_driver.reboot(None, instance, [], "HARD")
        assert workload(engine, instance)["Id"] == own
        assert engine.names() == names(instance)
        docker_driver.rescue(None, instance, [], image_meta, "", None)
        docker_driver.rescue(None, instance, [], image_meta, "", None)
        docker_driver.unrescue(None, instance)
        assert workload(engine, instance)["Id"] == own

    @pytest.mark.parametrize("verb", ["create_container", "export", "put_archive", "rename"])
    def test_a_rescue_that_fails_leaves_the_instance_as_it_was(
        self, verb: str, docker_driver: Any, spawn: Any, engine: Any, image_meta: Any
    ) -> None:
        instance = spawn(make.instance())
        own = workload(engine, instance)["Id"]
        engine.failing[verb] = exceptions.EngineError("no", 500)
        with pytest.raises(exceptions.EngineError):
            docker_driver.rescue(None, instance, [], image_meta, "", None)
        assert engine.names() == names(instance)
        assert workload(engine, instance)["Id"] == own

    def test_a_rescued_instance_can_be_deleted(
        self, docker_driver: Any, spawn: Any, engine: Any, image_meta: Any
    ) -> None:
        instance = spawn(make.instance())
        docker_driver.rescue(None, instance, [], image_meta, "", None)
        docker_driver.destroy(None, instance, [])
        assert engine.names() == set()

    def test_one_that_was_not_rescued_just_runs(
        self, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        instance = spawn(make.instance())
        docker_driver.unrescue(None, instance)
        assert workload(engine, instance)["State"]["Running"]
