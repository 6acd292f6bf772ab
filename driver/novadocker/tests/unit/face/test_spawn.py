# SPDX-License-Identifier: Apache-2.0
"""Instances are made."""

from __future__ import annotations

import io
import tarfile
import threading
from typing import Any

import pytest
from nova import exception, objects
from nova.network import model

from novadocker import exceptions
from novadocker.tests import make
from novadocker.tests.fake_engine import names, workload
from novadocker.tests.make import HOST, IMAGE_ID, port
from novadocker.virt.docker.engine import seccomp
from novadocker.virt.docker.instances import guest


class TestSpawn:
    def test_an_instance_is_a_sandbox_and_a_workload(self, spawn: Any, engine: Any) -> None:
        instance = spawn(make.instance())
        assert engine.names() == names(instance)
        assert workload(engine, instance)["State"]["Running"]

    def test_a_config_drive_of_the_image_does_not_stay(
        self, spawn: Any, engine: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        drive = guest.CONFIG_DRIVE
        monkeypatch.setattr(guest, "config_drive_files", lambda *_args: [(f"{drive}/x", b"1")])
        instance = spawn(make.instance(key_data="ssh-rsa A"))
        (packed,) = engine.archives[f"nova-{instance.uuid}"]
        with tarfile.open(fileobj=io.BytesIO(packed)) as members:
            files = [f"/{member.name}" for member in members]
        assert files == [drive, drive, guest.AUTHORIZED_KEYS, f"{drive}/x"]

    def test_ports_are_wired_before_the_workload_runs(
        self, spawn: Any, engine: Any, wiring: Any
    ) -> None:
        def attached(_info: Any, netns: str) -> None:
            assert netns.startswith("/var/run/docker/netns/")
            names = [name for name in engine.names() if not name.startswith("nova-sandbox")]
            assert not any(engine._find(name)["State"]["Running"] for name in names)

        wiring.attach.side_effect = attached
        spawn(make.instance(), network_info=[port()])
        wiring.attach.assert_called_once()

    def test_neutron_wires_ports_while_docker_works(
        self,
        spawn: Any,
        engine: Any,
        wiring: Any,
        virtapi: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        create, begun = engine._create_container, threading.Barrier(2)

        def create_first(*args: Any, **asked: Any) -> Any:
            monkeypatch.setattr(engine, "_create_container", create)
            begun.wait(30)
            return create(*args, **asked)

        def plugged(_instance: Any, _info: Any) -> None:
            assert virtapi.waiting
            assert engine.names() == set()
            # The first container is made no earlier than this, and not after it is done.
            begun.wait(30)

        monkeypatch.setattr(engine, "_create_container", create_first)

        def wired() -> None:
            assert wiring.attach.called
            (name,) = (known for known in engine.names() if not known.startswith("nova-sandbox"))
            assert engine.archives[name]
            assert engine._find(name)["State"]["Status"] == "created"

        wiring.plug_host.side_effect = plugged
        virtapi.wired = wired
        instance = spawn(make.instance(key_data="k"), network_info=[port(active=False)])
        assert workload(engine, instance)["State"]["Running"]

    def test_the_image_is_fetched_while_neutron_allocates_ports(
        self, spawn: Any, engine: Any
    ) -> None:
        class Allocating(model.NetworkInfo):
            def __len__(self) -> int:
                assert "inspect_image" in engine.calls
                return 1

            def __iter__(self) -> Any:
                return iter([port()])

        spawn(make.instance(), network_info=Allocating())

    def test_ports_that_cannot_be_allocated_fail_it_before_there_is_anything(
        self, spawn: Any, engine: Any, wiring: Any
    ) -> None:
        class Failing(model.NetworkInfo):
            def __len__(self) -> int:
                raise exception.NoMoreFixedIps(net="n")

        with pytest.raises(exception.NoMoreFixedIps):
            spawn(make.instance(), network_info=Failing())
        assert "create_container" not in engine.calls
        wiring.plug_host.assert_not_called()

    def test_power_off_means_off(self, spawn: Any, engine: Any) -> None:
        instance = spawn(make.instance(), power_on=False)
        assert not workload(engine, instance)["State"]["Running"]

    def test_limits_and_isolation_are_those_of_flavor_and_options(
        self, spawn: Any, engine: Any, conf: Any
    ) -> None:
        config = workload(engine, spawn(make.instance()))["HostConfig"]
        assert config["Memory"] == config["MemorySwap"] == 256 << 20
        assert (config["CpuQuota"], config["CpuPeriod"]) == (200_000, 100_000)
        assert config["CapDrop"] == ["ALL"]
        assert "NET_RAW" in config["CapAdd"]
        own_filter = seccomp.profile(conf.docker.default_capabilities)
        assert config["SecurityOpt"] == ["no-new-privileges:true", f"seccomp={own_filter}"]
        assert config["PidsLimit"] == 4096
        assert config["RestartPolicy"] == {"Name": "no"}
        assert not config.get("Privileged")
        assert not config.get("Binds")

    def test_labels_say_whose_it_is(self, spawn: Any, engine: Any) -> None:
        instance = spawn(make.instance())
        labels = workload(engine, instance)["Config"]["Labels"]
        prefix = "org.openstack.nova."
        assert labels == {
            f"{prefix}uuid": instance.uuid,
            f"{prefix}name": instance.name,
            f"{prefix}host": HOST,
            f"{prefix}project": "project",
            f"{prefix}image_id": IMAGE_ID,
            f"{prefix}role": "workload",
            f"{prefix}environment": "{}",
            f"{prefix}devices": "",
            # A digest.
            f"{prefix}fixed": labels[f"{prefix}fixed"],
        }
        assert len(labels[f"{prefix}fixed"]) == 32

    def test_metadata_is_environment(self, spawn: Any, engine: Any) -> None:
        instance = spawn(make.instance(metadata={"COLOUR": "green", "not=a name": "x"}))
        assert workload(engine, instance)["asked"]["environment"] == {"COLOUR": "green"}

    def test_metadata_is_no_environment_where_it_is_switched_off(
        self, spawn: Any, engine: Any, option: Any
    ) -> None:
        option("metadata_environment", False)
        instance = spawn(make.instance(metadata={"COLOUR": "green"}))
        assert workload(engine, instance)["asked"]["environment"] == {}

    def test_command_line_of_the_image_is_taken(self, spawn: Any, engine: Any) -> None:
        meta = make.image_meta(properties={"os_command_line": "sleep '1 2'"})
        assert workload(engine, spawn(make.instance(), meta))["asked"]["command"] == [
            "sleep",
            "1 2",
        ]

    @pytest.mark.field_case("K9.5")
    @pytest.mark.parametrize(
        ("metadata", "command", "entry_point"),
        [
            ({"docker:command": "serve --name 'a b'"}, ["serve", "--name", "a b"], None),
            ({"docker:command": '["serve", "$HOME"]'}, ["serve", "$HOME"], None),
            ({"docker:entrypoint": "/bin/sh -c"}, None, ["/bin/sh", "-c"]),
            ({"docker:entrypoint": ""}, None, [""]),
            ({"docker:entrypoint": "sh", "docker:command": "-c ls"}, ["-c", "ls"], ["sh"]),
        ],
    )
    def test_one_server_has_a_command_and_an_entry_point_of_its_own(
        self, spawn: Any, engine: Any, metadata: Any, command: Any, entry_point: Any
    ) -> None:
        meta = make.image_meta(properties={"os_command_line": "of the image"})
        instance = spawn(make.instance(metadata={"COLOUR": "green", **metadata}), meta)
        asked = workload(engine, instance)["asked"]
        assert (asked["command"], asked["entrypoint"]) == (command, entry_point)
        assert asked["environment"] == {"COLOUR": "green"}

    def test_key_and_files_are_written_before_it_starts(self, spawn: Any, engine: Any) -> None:
        instance = spawn(
            make.instance(key_data="ssh-ed25519 AAAA"), injected_files=[("/etc/x", b"content")]
        )
        (packed,) = engine.archives[f"nova-{instance.uuid}"]
        with tarfile.open(fileobj=io.BytesIO(packed)) as members:
            assert members.getnames() == ["etc/x", "root/.ssh/authorized_keys"]
            assert members.extractfile("etc/x").read() == b"content"
        assert engine.calls.index("put_archive") < len(engine.calls) - 1
        assert engine.calls[-1] == "start"

    def test_key_is_not_written_where_that_is_switched_off(
        self, spawn: Any, engine: Any, option: Any
    ) -> None:
        option("inject_key", False)
        spawn(make.instance(key_data="ssh-ed25519 AAAA"))
        assert engine.archives == {}

    def test_password_is_set_where_that_is_switched_on(
        self, spawn: Any, engine: Any, option: Any
    ) -> None:
        spawn(make.instance(), admin_password="secret")
        assert "exec_create" not in engine.calls
        option("inject_password", True)
        spawn(make.instance(), admin_password="secret")
        assert "exec_create" in engine.calls

    def test_left_overs_of_a_crash_are_replaced(self, spawn: Any, engine: Any) -> None:
        instance = spawn(make.instance())
        before = workload(engine, instance)["Id"]
        spawn(instance)
        assert engine.names() == names(instance)
        assert workload(engine, instance)["Id"] != before

    @pytest.mark.parametrize("verb", ["create_container", "start", "put_archive"])
    def test_nothing_is_left_of_a_failure(
        self, verb: str, spawn: Any, engine: Any, wiring: Any
    ) -> None:
        engine.failing[verb] = exceptions.EngineError("no", 500)
        with pytest.raises(exceptions.EngineError):
            spawn(make.instance(key_data="k"), network_info=[port()])
        assert engine.names() == set()
        wiring.unplug.assert_called()

    def test_a_command_that_cannot_be_started_is_the_images_fault(
        self, spawn: Any, engine: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        start = engine._start

        def refuse(name: str) -> None:
            if "sandbox" not in name:
                raise exceptions.EngineError("unable to find user nosuch: no matching entries", 500)
            start(name)

        monkeypatch.setattr(engine, "_start", refuse)
        with pytest.raises(exception.ImageUnacceptable, match="cannot be started"):
            spawn(make.instance())

    def test_a_port_that_cannot_be_wired_fails_it(
        self, spawn: Any, engine: Any, wiring: Any
    ) -> None:
        for end in (wiring.attach, wiring.plug_host):
            end.side_effect = exceptions.NetworkError("no")
            with pytest.raises(exception.VirtualInterfaceCreateException):
                spawn(make.instance(), network_info=[port()])
            assert engine.names() == set()
            wiring.unplug.assert_called_once()
            wiring.unplug.reset_mock()

    def test_volumes_are_refused(self, spawn: Any, docker_driver: Any) -> None:
        with pytest.raises(exception.InvalidVolume, match="file system that a user has made"):
            docker_driver.get_volume_connector(make.instance())
        info = {"block_device_mapping": [{"mount_device": "/dev/vdb"}]}
        with pytest.raises(exception.InvalidBDMFormat, match="volumes"):
            spawn(make.instance(), block_device_info=info)

    def test_boot_from_volume_is_refused(self, spawn: Any) -> None:
        with pytest.raises(exception.ImageUnacceptable, match="volume"):
            spawn(make.instance(), objects.ImageMeta.from_dict({}))

    def test_an_image_without_a_checksum_is_looked_up(self, spawn: Any, glance: Any) -> None:
        glance.get.return_value = {
            "id": IMAGE_ID,
            "container_format": "docker",
            "disk_format": "raw",
            "checksum": "a" * 32,
        }
        meta = objects.ImageMeta.from_dict({"id": IMAGE_ID, "properties": {}})
        spawn(make.instance(), meta)
        glance.get.assert_called_once()

    def test_privileged_takes_flavor_and_option(
        self, spawn: Any, engine: Any, option: Any, new_driver: Any, image_meta: Any
    ) -> None:
        instance = make.instance()
        instance.flavor = make.flavor(extra_specs={"docker:privileged": "true"})
        with pytest.raises(exceptions.DriverError, match="allow_privileged"):
            spawn(instance)
        assert engine.names() == set()
        option("allow_privileged", True)
        new_driver().spawn(None, instance, image_meta, [], None, {}, [])
        config = workload(engine, instance)["HostConfig"]
        assert config["Privileged"]
        assert "CapDrop" not in config
