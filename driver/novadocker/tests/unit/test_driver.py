# SPDX-License-Identifier: Apache-2.0
"""What Nova asks of the driver, on an engine in memory."""

import io
import tarfile
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from nova import exception, objects
from nova.compute import power_state, task_states
from nova.network import model

from novadocker import compat, exceptions
from novadocker.tests import make
from novadocker.tests.make import HOST, IMAGE_ID, port
from novadocker.tests.unit.archives import Parts
from novadocker.virt.docker import driver
from novadocker.virt.docker.engine import containers, isolation, readiness
from novadocker.virt.docker.face import lookups
from novadocker.virt.docker.instances import guest


@pytest.fixture
def spawn(docker_driver: Any, image_meta: Any) -> Any:
    def spawned(instance: Any, meta: Any = image_meta, **more: Any) -> Any:
        arguments = {"injected_files": [], "admin_password": None, "network_info": [], **more}
        docker_driver.spawn(None, instance, meta, allocations={}, **arguments)
        return instance

    return spawned


def names(instance: Any) -> set[str]:
    return {f"nova-{instance.uuid}", f"nova-sandbox-{instance.uuid}"}


def workload(engine: Any, instance: Any) -> Any:
    return engine.call("inspect_container", f"nova-{instance.uuid}")


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
            found = [f"/{one.name}" for one in members]
        assert found == [drive, drive, guest.AUTHORIZED_KEYS, f"{drive}/x"]

    def test_ports_are_wired_before_the_workload_runs(
        self, spawn: Any, engine: Any, wiring: Any
    ) -> None:
        def attached(_info: Any, netns: str) -> None:
            assert netns.startswith("/var/run/docker/netns/")
            found = [one for one in engine.names() if not one.startswith("nova-sandbox")]
            assert not any(engine._find(one)["State"]["Running"] for one in found)

        wiring.attach.side_effect = attached
        spawn(make.instance(), network_info=[port()])
        wiring.attach.assert_called_once()

    def test_neutron_wires_ports_while_docker_works(
        self, spawn: Any, engine: Any, wiring: Any, virtapi: Any
    ) -> None:
        def plugged(_instance: Any, _info: Any) -> None:
            assert virtapi.waiting
            assert engine.names() == set()

        def wired() -> None:
            assert wiring.attach.called
            (found,) = (one for one in engine.names() if not one.startswith("nova-sandbox"))
            assert engine.archives[found]
            assert engine._find(found)["State"]["Status"] == "created"

        wiring.plug_host.side_effect = plugged
        virtapi.wired = wired
        one = spawn(make.instance(key_data="k"), network_info=[port(active=False)])
        assert workload(engine, one)["State"]["Running"]

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
        self, spawn: Any, engine: Any
    ) -> None:
        config = workload(engine, spawn(make.instance()))["HostConfig"]
        assert config["Memory"] == config["MemorySwap"] == 256 << 20
        assert (config["CpuQuota"], config["CpuPeriod"]) == (200_000, 100_000)
        assert config["CapDrop"] == ["ALL"]
        assert "NET_RAW" in config["CapAdd"]
        assert config["SecurityOpt"] == ["no-new-privileges:true"]
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
        }

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
                raise exceptions.EngineError("OCI runtime create failed: exec: no such file", 400)
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


class TestPorts:
    def test_inactive_ports_are_waited_for(self, spawn: Any, virtapi: Any) -> None:
        spawn(make.instance(), network_info=[port(active=False)])
        assert virtapi.waited == [([("network-vif-plugged", port()["id"])], 300)]

    @pytest.mark.parametrize("more", [{"power_on": False}, {"network_info": [port()]}])
    def test_nothing_is_waited_for_without_need(self, more: Any, spawn: Any, virtapi: Any) -> None:
        spawn(make.instance(), **{"network_info": [port(active=False)], **more})
        assert virtapi.waited[0][0] == []

    def test_time_that_is_up_fails_it_where_that_is_fatal(
        self, spawn: Any, virtapi: Any, engine: Any
    ) -> None:
        virtapi.raising = compat.EVENT_TIMEOUT()
        with pytest.raises(exception.VirtualInterfaceCreateException):
            spawn(make.instance(), network_info=[port(active=False)])
        assert engine.names() == set()

    def test_a_failure_that_neutron_reports_fails_it(
        self, spawn: Any, virtapi: Any, engine: Any
    ) -> None:
        virtapi.failing = True
        with pytest.raises(exception.VirtualInterfaceCreateException):
            spawn(make.instance(), network_info=[port(active=False)])
        assert engine.names() == set()

    def test_neither_fails_it_where_it_is_not_fatal(
        self, spawn: Any, virtapi: Any, engine: Any, option: Any
    ) -> None:
        option("vif_plugging_is_fatal", False, None)
        virtapi.failing = True
        spawn(make.instance(), network_info=[port(active=False)])

    def test_plug_vifs_wires_running_sandboxes_only(
        self, docker_driver: Any, spawn: Any, wiring: Any, engine: Any
    ) -> None:
        instance = spawn(make.instance())
        wiring.plug.reset_mock()
        docker_driver.plug_vifs(instance, [port()])
        wiring.plug.assert_called_once()
        engine.call("kill", f"nova-sandbox-{instance.uuid}")
        docker_driver.plug_vifs(instance, [port()])
        docker_driver.plug_vifs(make.instance(), [port()])
        wiring.plug.assert_called_once()

    @pytest.mark.parametrize(
        ("method", "call", "expected"),
        [
            ("plug_vifs", "plug", exception.VirtualInterfacePlugException),
            ("unplug_vifs", "unplug", exception.VirtualInterfaceUnplugException),
        ],
    )
    def test_faults_are_those_that_nova_can_bear(
        self, method: str, call: str, expected: Any, docker_driver: Any, spawn: Any, wiring: Any
    ) -> None:
        instance = spawn(make.instance())
        getattr(wiring, call).side_effect = exceptions.NetworkError("no")
        with pytest.raises(expected):
            getattr(docker_driver, method)(instance, [port()])

    def test_tagged_interfaces_are_in_the_metadata(
        self, docker_driver: Any, spawn: Any, interfaces: Any
    ) -> None:
        interfaces += [
            objects.VirtualInterface(address="fa:16:3e:00:00:01", tag="web"),
            objects.VirtualInterface(address="fa:16:3e:00:00:02", tag=None),
        ]
        one = spawn(make.instance())
        assert one.device_metadata is None
        one = spawn(make.instance(), network_info=[port()])
        (device,) = one.device_metadata.devices
        assert (device.mac, device.tags) == ("fa:16:3e:00:00:01", ["web"])
        interfaces.append(objects.VirtualInterface(address="fa:16:3e:00:00:03", tag="db"))
        docker_driver.attach_interface(None, one, None, port())
        assert [device.tags for device in one.device_metadata.devices] == [["web"], ["db"]]
        one.save.assert_called_once_with()

    def test_interfaces_come_and_go(self, docker_driver: Any, spawn: Any, wiring: Any) -> None:
        instance = spawn(make.instance())
        docker_driver.attach_interface(None, instance, None, port())
        wiring.plug_new.assert_called_once()
        docker_driver.detach_interface(None, instance, port())
        wiring.unplug.assert_called_with(instance, [port()])
        wiring.plug_new.side_effect = wiring.unplug.side_effect = exceptions.NetworkError("no")
        with pytest.raises(exception.InterfaceAttachFailed):
            docker_driver.attach_interface(None, instance, None, port())
        with pytest.raises(exception.InterfaceDetachFailed):
            docker_driver.detach_interface(None, instance, port())


class TestLife:
    def state(self, docker_driver: Any, instance: Any) -> int:
        return docker_driver.get_info(instance).state

    def test_states_follow_what_is_done(self, docker_driver: Any, spawn: Any) -> None:
        one = spawn(make.instance())
        for action, expected in (
            (docker_driver.pause, power_state.PAUSED),
            (docker_driver.pause, power_state.PAUSED),
            (docker_driver.unpause, power_state.RUNNING),
            (docker_driver.unpause, power_state.RUNNING),
            (docker_driver.power_off, power_state.SHUTDOWN),
            (docker_driver.power_off, power_state.SHUTDOWN),
            (lambda one: docker_driver.power_on(None, one, []), power_state.RUNNING),
            (docker_driver.soft_delete, power_state.SHUTDOWN),
            (docker_driver.restore, power_state.RUNNING),
            (lambda one: docker_driver.power_off(one, 5), power_state.SHUTDOWN),
            (
                lambda one: docker_driver.resume_state_on_host_boot(None, one, [], None),
                power_state.RUNNING,
            ),
        ):
            action(one)
            assert self.state(docker_driver, one) == expected

    @pytest.mark.parametrize("kind", ["SOFT", "HARD"])
    @pytest.mark.parametrize("before", ["pause", "power_off", "unpause"])
    def test_reboot_works_from_every_state(
        self, kind: str, before: str, docker_driver: Any, spawn: Any
    ) -> None:
        one = spawn(make.instance())
        getattr(docker_driver, before)(one)
        docker_driver.reboot(None, one, [], kind)
        assert self.state(docker_driver, one) == power_state.RUNNING

    def test_stop_waits_no_longer_than_the_cap(
        self, docker_driver: Any, spawn: Any, engine: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = spawn(make.instance())
        waits = []
        stop = engine._stop
        monkeypatch.setattr(
            engine, "_stop", lambda name, timeout: waits.append(timeout) or stop(name, timeout)
        )
        docker_driver.power_off(one, timeout=60)
        assert waits == [10]

    def test_who_does_not_run_is_disconnected(
        self, docker_driver: Any, spawn: Any, wiring: Any
    ) -> None:
        instance = spawn(make.instance())
        for call, up in (
            (docker_driver.pause, False),
            (docker_driver.unpause, True),
            (docker_driver.power_off, False),
        ):
            call(instance)
            assert wiring.set_links.call_args[0][1] is up
        wiring.set_links.reset_mock()
        docker_driver.plug_vifs(instance, [])
        assert wiring.set_links.call_args[0][1] is False
        wiring.set_links.side_effect = exceptions.NetworkError("no")
        docker_driver.power_off(instance)

    def test_pause_that_fails_is_a_fault(self, docker_driver: Any, spawn: Any) -> None:
        one = spawn(make.instance(), power_on=False)
        with pytest.raises(exceptions.Conflict):
            docker_driver.pause(one)

    def test_an_instance_without_a_container_is_not_found(self, docker_driver: Any) -> None:
        gone = make.instance()
        for call in (
            docker_driver.get_info,
            docker_driver.power_off,
            docker_driver.pause,
            lambda one: docker_driver.reboot(None, one, [], "HARD"),
            lambda one: docker_driver.get_console_output(None, one),
        ):
            with pytest.raises(exception.InstanceNotFound):
                call(gone)
        assert not docker_driver.instance_exists(gone)

    def test_a_network_that_went_with_the_host_is_made_again(
        self, docker_driver: Any, spawn: Any, engine: Any, wiring: Any
    ) -> None:
        one = spawn(make.instance())
        for name in names(one):
            engine.call("kill", name)
        wiring.reset_mock()
        docker_driver.power_on(None, one, [port()])
        assert [call[0] for call in wiring.method_calls] == ["unplug_dead", "plug"]

    def test_a_workload_in_a_namespace_that_is_gone_is_restarted(
        self, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        one = spawn(make.instance())
        engine.call("kill", f"nova-sandbox-{one.uuid}")
        engine.calls.clear()
        docker_driver.power_on(None, one, [])
        assert engine.calls.index("kill") < engine.calls.index("start", engine.calls.index("kill"))
        assert self.state(docker_driver, one) == power_state.RUNNING

    def test_one_that_is_restored_gets_its_network_again(
        self, docker_driver: Any, spawn: Any, engine: Any, wiring: Any
    ) -> None:
        one = spawn(make.instance())
        docker_driver.soft_delete(one)
        engine.call("kill", f"nova-sandbox-{one.uuid}")
        one.info_cache = objects.InstanceInfoCache(network_info=model.NetworkInfo([port()]))
        docker_driver.restore(one)
        assert wiring.plug.call_args[0][1] == [port()]
        assert self.state(docker_driver, one) == power_state.RUNNING

    def test_what_a_container_cannot_do_has_a_reason(self, docker_driver: Any, spawn: Any) -> None:
        one = spawn(make.instance())
        with pytest.raises(NotImplementedError) as refused:
            docker_driver.suspend(None, one)
        assert "Use pause" in refused.value.format_message()
        with pytest.raises(exception.MigrationPreCheckError, match="live"):
            docker_driver.check_can_live_migrate_destination(None, one, {}, {})
        assert self.state(docker_driver, one) == power_state.RUNNING

    def test_both_are_made_again_where_the_sandbox_was_removed(
        self, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        one = spawn(make.instance())
        engine.call("remove_container", f"nova-sandbox-{one.uuid}")
        docker_driver.power_on(None, one, [])
        assert engine.names() == names(one)
        assert workload(engine, one)["Config"]["Labels"]["org.openstack.nova.image_id"] == IMAGE_ID
        docker_driver.destroy(None, one, [])
        assert not any("nova-docker/instance" in str(image) for image in engine.images.values())

    def test_destroy_leaves_nothing_and_may_be_repeated(
        self, docker_driver: Any, spawn: Any, engine: Any, wiring: Any
    ) -> None:
        one = spawn(make.instance())
        docker_driver.destroy(None, one, [port()])
        assert engine.names() == set()
        wiring.unplug.assert_called_with(one, [port()])
        docker_driver.destroy(None, one, None)
        docker_driver.cleanup(None, one, [port()])

    def test_a_port_that_stays_is_told_after_all_else_is_gone(
        self, docker_driver: Any, spawn: Any, engine: Any, wiring: Any
    ) -> None:
        one = spawn(make.instance())
        wiring.unplug.side_effect = exceptions.NetworkError("no")
        with pytest.raises(exceptions.NetworkError):
            docker_driver.destroy(None, one, [port()])
        assert engine.names() == set()
        docker_driver.rescue(None, spawn(one), [], make.image_meta(), "", None)
        with pytest.raises(exceptions.NetworkError):
            docker_driver.destroy(None, one, [port()])
        assert engine.names() == set()

    def test_password(self, docker_driver: Any, spawn: Any, engine: Any) -> None:
        one = spawn(make.instance())
        docker_driver.set_admin_password(one, "secret")
        (asked,) = engine.execs
        assert asked["environment"] == {"NOVA_ADMIN_PASSWORD": "secret"}
        # Neither its output nor its directory is the image's to choose.
        assert (asked["stdout"], asked["stderr"], asked["workdir"]) == (False, False, "/")
        engine.exec_code = 127
        with pytest.raises(exception.SetAdminPasswdNotSupported):
            docker_driver.set_admin_password(one, "secret")

    def test_a_password_program_without_end_is_not_waited_for(
        self, docker_driver: Any, spawn: Any, engine: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = spawn(make.instance())
        engine.exec_code = None
        passed = []
        monkeypatch.setattr(containers.time, "sleep", passed.append)
        monkeypatch.setattr(containers.time, "monotonic", lambda: sum(passed))
        with pytest.raises(exceptions.EngineError, match="has not ended after 30 s"):
            docker_driver.set_admin_password(one, "secret")
        assert 30 < sum(passed) < 32
        assert len(passed) < 50

    def test_the_console_log_has_an_end(
        self, new_driver: Any, spawn: Any, engine: Any, option: Any
    ) -> None:
        one = spawn(make.instance())
        assert workload(engine, one)["HostConfig"]["LogConfig"] == {
            "Type": "json-file",
            "Config": {"max-size": "10m", "max-file": "3"},
        }
        option("log_max_size", "200k")
        option("log_max_files", 1)
        other = make.instance()
        new_driver().spawn(None, other, make.image_meta(), [], None, {}, [])
        assert workload(engine, other)["HostConfig"]["LogConfig"]["Config"] == {
            "max-size": "200k",
            "max-file": "1",
        }

    def test_console_is_the_end_of_the_log(
        self, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        one = spawn(make.instance())
        engine.log = b"x" * 200_000 + b"\xff end"
        output = docker_driver.get_console_output(None, one)
        assert output.endswith("\ufffd end")
        assert len(output) == lookups.MAX_CONSOLE_BYTES


class TestHost:
    def test_only_instances_of_this_host_are_listed(
        self, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        one = spawn(make.instance())
        engine._create_container(engine.add_image("x:y"), name="foreign")
        other = {
            "org.openstack.nova.uuid": "u",
            "org.openstack.nova.host": "another",
            "org.openstack.nova.role": "workload",
        }
        engine._create_container("x:y", name="other", labels=other)
        engine.calls.clear()
        assert docker_driver.list_instance_uuids() == [one.uuid]
        assert docker_driver.list_instances() == [one.name]
        assert docker_driver.get_num_instances() == 1
        assert engine.calls == ["containers"] * 3

    def test_init_host_prepares_the_engine(
        self, docker_driver: Any, engine: Any, wiring: Any
    ) -> None:
        wiring.prepare.side_effect = exceptions.NetworkError("no sudo")
        docker_driver.init_host(HOST)
        docker_driver.cleanup_host(HOST)
        assert any("nova-docker/sandbox" in str(image) for image in engine.images.values())
        assert engine.names() == set()

    @pytest.mark.parametrize("name", ["runc", "io.containerd.kata.v2", "/opt/runsc"])
    def test_a_runtime_that_there_may_be_is_taken(
        self, name: str, docker_driver: Any, option: Any
    ) -> None:
        option("runtime", name)
        docker_driver.init_host(HOST)
        docker_driver.cleanup_host(HOST)

    def test_a_runtime_that_there_is_not_keeps_the_host_from_starting(
        self, docker_driver: Any, option: Any
    ) -> None:
        option("runtime", "runsc")
        fault = "runtime is 'runsc', which Docker does not have: it has io.containerd.runc.v2, runc"
        with pytest.raises(exception.InvalidConfiguration, match=fault):
            docker_driver.init_host(HOST)

    def test_a_dead_engine_is_waited_for(
        self, docker_driver: Any, engine: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = iter(range(0, 1000, 20))
        monkeypatch.setattr(readiness.time, "monotonic", lambda: next(now))
        monkeypatch.setattr(readiness.time, "sleep", mock.Mock())
        engine.failing["version"] = exceptions.EngineUnreachable("dead")
        with pytest.raises(exception.HypervisorUnavailable):
            docker_driver.init_host(HOST)
        assert readiness.time.sleep.call_count == 3

    @pytest.mark.parametrize(
        ("wanted", "able", "limited"),
        [("auto", True, True), ("auto", False, False), ("off", True, False)],
    )
    def test_disk_quota_is_used_where_it_works(
        self,
        wanted: str,
        able: bool,
        limited: bool,
        docker_driver: Any,
        spawn: Any,
        engine: Any,
        option: Any,
    ) -> None:
        option("disk_quota", wanted)
        engine.quota = able
        docker_driver.init_host(HOST)
        docker_driver.cleanup_host(HOST)
        config = workload(engine, spawn(make.instance()))["HostConfig"]
        assert config.get("StorageOpt") == ({"size": "5G"} if limited else None)

    def test_disk_quota_that_is_required_and_not_there_is_a_fault(
        self, docker_driver: Any, option: Any
    ) -> None:
        option("disk_quota", "require")
        with pytest.raises(exception.InvalidConfiguration, match="pquota"):
            docker_driver.init_host(HOST)

    def test_resources(self, docker_driver: Any) -> None:
        found = docker_driver.get_available_resource(HOST)
        assert (found["vcpus"], found["memory_mb"]) == (4, 8192)
        assert found["hypervisor_type"] == "docker"
        assert found["hypervisor_version"] == 20010024
        assert found["hypervisor_hostname"] == HOST
        assert docker_driver.get_available_nodes() == [HOST]
        assert docker_driver.get_host_ip_addr() == "192.0.2.1"

    def test_a_node_keeps_the_name_that_nova_knows(self, docker_driver: Any, option: Any) -> None:
        option("node_name", "host.example.org")
        assert docker_driver.get_available_nodes() == ["host.example.org"]

    def test_placement_learns_amounts_and_our_traits_only(
        self, docker_driver: Any, option: Any
    ) -> None:
        option("reserved_host_memory_mb", 512, None)
        tree = mock.Mock()
        tree.data.return_value = mock.Mock(
            inventory={}, traits={"CUSTOM_OTHERS", "CUSTOM_DOCKER_DISK_QUOTA"}
        )
        docker_driver.update_provider_tree(tree, HOST)
        inventory = tree.update_inventory.call_args[0][1]
        assert inventory["MEMORY_MB"]["reserved"] == 512
        assert inventory["VCPU"]["max_unit"] == 4
        traits = tree.update_traits.call_args[0][1]
        assert {"CUSTOM_OTHERS", "CUSTOM_HYPERVISOR_DOCKER"} <= traits
        assert "CUSTOM_DOCKER_DISK_QUOTA" not in traits

    def test_lifecycle_events_reach_nova(self, docker_driver: Any) -> None:
        heard = []
        docker_driver.register_event_listener(heard.append)
        docker_driver._emit("uuid", 1)
        assert heard[0].get_instance_uuid() == "uuid"

    def test_seccomp_profile_is_read(self, option: Any, tmp_path: Any) -> None:
        profile = tmp_path / "profile.json"
        profile.write_text("{}")
        option("seccomp_profile", str(profile))
        assert isolation.Isolation.from_section(driver.CONF.docker).seccomp == "{}"


class TestImages:
    def test_snapshot_needs_a_container(self, docker_driver: Any) -> None:
        with pytest.raises(exception.InstanceNotRunning):
            docker_driver.snapshot(None, make.instance(), "id", mock.Mock())

    def test_cache_image_says_whether_it_was_fetched(self, docker_driver: Any, glance: Any) -> None:
        glance.get.return_value = {
            "id": IMAGE_ID,
            "container_format": "docker",
            "disk_format": "raw",
            "checksum": "a" * 32,
        }
        assert docker_driver.cache_image(None, IMAGE_ID) is False

    def test_cache_is_aged_as_the_options_say(self, docker_driver: Any, engine: Any) -> None:
        docker_driver.manage_image_cache(None, [])
        assert any(IMAGE_ID in str(image) for image in engine.images.values())


class TestMigration:
    def test_resize_on_one_host_confirmed(
        self, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        one = spawn(make.instance())
        info = docker_driver.migrate_disk_and_power_off(None, one, "192.0.2.1", one.flavor, [])
        assert engine.names() == {f"nova-{one.uuid}-resize"}
        one.flavor = make.flavor(memory_mb=512)
        docker_driver.finish_migration(None, None, one, info, [], None, False, {})
        assert workload(engine, one)["HostConfig"]["Memory"] == 512 << 20
        assert workload(engine, one)["State"]["Running"]
        assert docker_driver.parts.workloads.states_by_uuid()[one.uuid].value == "running"
        docker_driver.confirm_migration(None, None, one, [])
        assert engine.names() == names(one)

    def test_resize_on_one_host_reverted(self, docker_driver: Any, spawn: Any, engine: Any) -> None:
        one = spawn(make.instance())
        info = docker_driver.migrate_disk_and_power_off(None, one, HOST, one.flavor, [])
        one.flavor = make.flavor(memory_mb=512)
        docker_driver.finish_migration(None, None, one, info, [], None, False, {}, power_on=False)
        assert not workload(engine, one)["State"]["Running"]
        one.task_state = task_states.RESIZE_REVERTING
        docker_driver.destroy(None, one, [])
        assert engine.names() == {f"nova-{one.uuid}-resize"}
        one.flavor = make.flavor()
        docker_driver.finish_revert_migration(None, one, [], None)
        assert engine.names() == names(one)
        assert workload(engine, one)["HostConfig"]["Memory"] == 256 << 20

    def test_images_of_an_instance_that_was_made_anew_twice_go_with_it(
        self, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        one = spawn(make.instance())
        before = set(engine.images)
        for _ in range(2):
            info = docker_driver.migrate_disk_and_power_off(None, one, HOST, one.flavor, [])
            docker_driver.finish_migration(None, None, one, info, [], None, False, {})
        one.task_state = task_states.RESIZE_REVERTING
        docker_driver.destroy(None, one, [])
        # The first image has lost its name to the second, which is gone.
        assert any(not image["RepoTags"] for image in engine.images.values())
        one.task_state = None
        docker_driver.destroy(None, one, [])
        assert set(engine.images) == before

    def test_an_instance_that_is_deleted_takes_its_old_self_with_it(
        self, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        one = spawn(make.instance())
        docker_driver.migrate_disk_and_power_off(None, one, HOST, one.flavor, [])
        docker_driver.destroy(None, one, [])
        assert engine.names() == set()

    def test_one_that_had_not_left_when_nova_compute_was_killed_stays(
        self, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        one = spawn(make.instance())
        own = workload(engine, one)["Id"]
        docker_driver.power_off(one)
        docker_driver.finish_revert_migration(None, one, [], None, power_on=False)
        assert not workload(engine, one)["State"]["Running"]
        docker_driver.finish_revert_migration(None, one, [], None)
        assert workload(engine, one)["Id"] == own
        assert workload(engine, one)["State"]["Running"]

    def test_one_that_was_put_aside_when_nova_compute_was_killed_is_rebooted(
        self, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        one = spawn(make.instance())
        docker_driver.migrate_disk_and_power_off(None, one, HOST, one.flavor, [])
        docker_driver.reboot(None, one, [], "HARD")
        assert engine.names() == names(one)
        assert workload(engine, one)["State"]["Running"]

    def test_one_that_cannot_leave_goes_on(
        self, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        one = spawn(make.instance())
        engine.failing["commit"] = exceptions.EngineError("no space", 500)
        with pytest.raises(exception.InstanceFaultRollback):
            docker_driver.migrate_disk_and_power_off(None, one, "elsewhere", one.flavor, [])
        assert engine.names() == names(one)
        assert workload(engine, one)["State"]["Running"]

    def test_a_root_disk_is_not_made_smaller(self, docker_driver: Any, spawn: Any) -> None:
        one = spawn(make.instance())
        docker_driver.parts.facts.disk_quota = True
        with pytest.raises(exception.InstanceFaultRollback):
            docker_driver.migrate_disk_and_power_off(None, one, HOST, make.flavor(root_gb=1), [])

    def test_one_that_cannot_arrive_leaves_nothing_but_its_old_self(
        self, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        one = spawn(make.instance())
        info = docker_driver.migrate_disk_and_power_off(None, one, HOST, one.flavor, [])
        engine.failing["commit"] = exceptions.EngineError("no space", 500)
        with pytest.raises(exceptions.EngineError):
            docker_driver.finish_migration(None, None, one, info, [], None, False, {})
        assert engine.names() == {f"nova-{one.uuid}-resize"}


def copied(packed: bytes) -> dict[str, bytes]:
    """Unpack what was written into a container."""
    with tarfile.open(fileobj=io.BytesIO(packed)) as members:
        return {one.name: members.extractfile(one).read() for one in members}


class TestRescue:
    def test_an_instance_is_rescued_and_runs_again(
        self, docker_driver: Any, spawn: Any, engine: Any, image_meta: Any
    ) -> None:
        one = spawn(make.instance())
        own = workload(engine, one)["Id"]
        docker_driver.rescue(None, one, [], image_meta, "", None)
        assert engine.names() == {*names(one), f"nova-{one.uuid}-rescued"}
        assert workload(engine, one)["Id"] != own
        assert workload(engine, one)["State"]["Running"]
        assert copied(engine.archives[f"nova-{one.uuid}-rescuing"][1]) == {
            "./etc/of": f"nova-{one.uuid}:/.".encode()
        }
        docker_driver.unrescue(None, one)
        assert engine.names() == names(one)
        assert workload(engine, one)["Id"] == own
        assert workload(engine, one)["State"]["Running"]
        (back,) = engine.archives[f"nova-{one.uuid}-rescued"]
        assert copied(back) == {"./etc/of": f"nova-{one.uuid}:/mnt/rescue/.".encode()}

    @pytest.mark.parametrize("verb", ["spawn", "rescue"])
    def test_an_image_has_to_be_signed_where_the_instances_is(
        self, verb: str, docker_driver: Any, spawn: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = make.instance()
        if verb == "rescue":
            spawn(one)
        one.trusted_certs = objects.TrustedCerts(ids=["certificate"])
        fetch = mock.Mock(side_effect=lambda *args: Path(args[2]).write_bytes(Parts().docker()))
        monkeypatch.setattr("nova.virt.images.fetch", fetch)
        if verb == "rescue":
            docker_driver.rescue(None, one, [], make.image_meta(), "", None)
        else:
            spawn(one)
        assert fetch.call_args[0][3].ids == ["certificate"]

    def test_without_an_image_it_is_the_instances_own(
        self, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        one = spawn(make.instance())
        image = workload(engine, one)["Image"]
        docker_driver.rescue(None, one, [], objects.ImageMeta.from_dict({}), "", None)
        assert workload(engine, one)["Image"] == image

    def test_password_of_a_rescue_is_set_where_that_is_switched_on(
        self, docker_driver: Any, spawn: Any, engine: Any, image_meta: Any, option: Any
    ) -> None:
        one = spawn(make.instance())
        docker_driver.rescue(None, one, [], image_meta, "secret", None)
        assert "exec_create" not in engine.calls
        docker_driver.unrescue(None, one)
        option("inject_password", True)
        docker_driver.rescue(None, one, [], image_meta, "secret", None)
        assert "exec_create" in engine.calls

    def test_a_rescue_that_was_cut_short_is_undone_by_a_reboot_or_another_one(
        self, docker_driver: Any, spawn: Any, engine: Any, image_meta: Any
    ) -> None:
        one = spawn(make.instance())
        own = workload(engine, one)["Id"]
        docker_driver.rescue(None, one, [], image_meta, "", None)
        docker_driver.reboot(None, one, [], "HARD")
        assert workload(engine, one)["Id"] == own
        assert engine.names() == names(one)
        docker_driver.rescue(None, one, [], image_meta, "", None)
        docker_driver.rescue(None, one, [], image_meta, "", None)
        docker_driver.unrescue(None, one)
        assert workload(engine, one)["Id"] == own

    @pytest.mark.parametrize("verb", ["create_container", "export", "put_archive", "rename"])
    def test_a_rescue_that_fails_leaves_the_instance_as_it_was(
        self, verb: str, docker_driver: Any, spawn: Any, engine: Any, image_meta: Any
    ) -> None:
        one = spawn(make.instance())
        own = workload(engine, one)["Id"]
        engine.failing[verb] = exceptions.EngineError("no", 500)
        with pytest.raises(exceptions.EngineError):
            docker_driver.rescue(None, one, [], image_meta, "", None)
        assert engine.names() == names(one)
        assert workload(engine, one)["Id"] == own

    def test_a_rescued_instance_can_be_deleted(
        self, docker_driver: Any, spawn: Any, engine: Any, image_meta: Any
    ) -> None:
        one = spawn(make.instance())
        docker_driver.rescue(None, one, [], image_meta, "", None)
        docker_driver.destroy(None, one, [])
        assert engine.names() == set()

    def test_one_that_was_not_rescued_just_runs(
        self, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        one = spawn(make.instance())
        docker_driver.unrescue(None, one)
        assert workload(engine, one)["State"]["Running"]


class TestDiagnostics:
    STATS = {
        "cpu_stats": {"cpu_usage": {"total_usage": 30, "percpu_usage": [10, 20]}},
        "memory_stats": {"limit": 256 << 20, "usage": 10 << 20},
        "blkio_stats": {
            "io_service_bytes_recursive": [
                {"op": "Read", "value": 4096},
                {"op": "Write", "value": 1},
            ],
            "io_serviced_recursive": [{"op": "read", "value": 2}],
        },
    }

    def test_counters(self, docker_driver: Any, spawn: Any, engine: Any, wiring: Any) -> None:
        engine.stats = self.STATS
        stats = {
            f"{way}_{what}": 5
            for way in ("rx", "tx")
            for what in ("bytes", "packets", "errors", "dropped")
        }
        wiring.devices.return_value = [{"name": "eth0", "mac": "fa:16:3e:00:00:01", "stats": stats}]
        one = spawn(make.instance())
        flat = docker_driver.get_diagnostics(one)
        assert flat["cpu1_time"] == 20
        assert flat["memory"] == 256 << 10
        assert (flat["root_read"], flat["root_read_req"]) == (4096, 2)
        assert (flat["eth0_rx"], flat["eth0_tx_packets"]) == (5, 5)
        found = docker_driver.get_instance_diagnostics(one)
        assert (found.state, found.hypervisor, found.num_cpus) == ("running", "docker", 2)
        assert found.memory_details.maximum == 256
        assert found.nic_details[0].mac_address == "fa:16:3e:00:00:01"

    @pytest.mark.parametrize("name", ["inactive_file", "total_inactive_file"])
    def test_files_that_can_be_dropped_are_no_memory_in_use(
        self, name: str, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        memory = {"limit": 256 << 20, "usage": 10 << 20, "stats": {name: 4 << 20}}
        engine.stats = {**self.STATS, "memory_stats": memory}
        one = spawn(make.instance())
        assert docker_driver.get_diagnostics(one)["memory-rss"] == 6 << 10
        assert docker_driver.get_instance_diagnostics(one).memory_details.used == 6

    def test_requests_that_nobody_has_counted_are_not_none_at_all(
        self, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        blkio = {**self.STATS["blkio_stats"], "io_serviced_recursive": None}
        engine.stats = {**self.STATS, "blkio_stats": blkio}
        one = spawn(make.instance())
        flat = docker_driver.get_diagnostics(one)
        assert flat["root_read"] == 4096
        assert "root_read_req" not in flat
        disk = docker_driver.get_instance_diagnostics(one).disk_details[0]
        assert (disk.read_bytes, disk.read_requests) == (4096, None)

    def test_a_kernel_that_tells_little(self, docker_driver: Any, spawn: Any, engine: Any) -> None:
        engine.stats = {"cpu_stats": {"cpu_usage": {"total_usage": 30}}}
        one = spawn(make.instance())
        assert docker_driver.get_diagnostics(one)["cpu0_time"] == 30
