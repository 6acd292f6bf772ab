# SPDX-License-Identifier: Apache-2.0
"""The host as Nova sees it."""

from __future__ import annotations

import uuid
from typing import Any
from unittest import mock

import pytest
from nova import exception
from nova.compute import provider_tree

from novadocker import exceptions
from novadocker.tests import make
from novadocker.tests.fake_engine import workload
from novadocker.tests.make import HOST
from novadocker.virt.docker import driver
from novadocker.virt.docker.engine import isolation, readiness


class TestHost:
    def test_only_instances_of_this_host_are_listed(
        self, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        instance = spawn(make.instance())
        engine._create_container(engine.add_image("x:y"), name="foreign")
        other = {
            "org.openstack.nova.uuid": "u",
            "org.openstack.nova.host": "another",
            "org.openstack.nova.role": "workload",
        }
        engine._create_container("x:y", name="other", labels=other)
        engine.calls.clear()
        assert docker_driver.list_instance_uuids() == [instance.uuid]
        assert docker_driver.list_instances() == [instance.name]
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

    @pytest.mark.parametrize("wanted", ["auto", "require"])
    def test_a_fault_as_disk_quota_is_tried_out(
        self, wanted: str, docker_driver: Any, engine: Any, option: Any
    ) -> None:
        option("disk_quota", wanted)
        engine.quota = True
        engine.failing["put_archive"] = exceptions.EngineError("input/output error", 500)
        if wanted == "require":
            with pytest.raises(exception.InvalidConfiguration, match="input/output error"):
                docker_driver.init_host(HOST)
            return
        docker_driver.init_host(HOST)
        docker_driver.cleanup_host(HOST)
        assert not docker_driver.parts.facts.disk_quota

    def test_resources(self, docker_driver: Any) -> None:
        available = docker_driver.get_available_resource(HOST)
        assert (available["vcpus"], available["memory_mb"]) == (4, 8192)
        assert available["hypervisor_type"] == "docker"
        assert available["hypervisor_version"] == 20010024
        assert available["hypervisor_hostname"] == HOST
        assert docker_driver.get_available_nodes() == [HOST]
        assert docker_driver.get_host_ip_addr() == "192.0.2.1"

    @pytest.mark.field_case("K7.1")
    def test_a_node_keeps_the_name_that_nova_knows(self, docker_driver: Any, option: Any) -> None:
        option("node_name", "host.example.org")
        assert docker_driver.get_available_nodes() == ["host.example.org"]

    def test_placement_learns_amounts_and_our_traits_only(
        self, docker_driver: Any, option: Any
    ) -> None:
        option("reserved_host_memory_mb", 512, None)
        tree = mock.Mock()
        tree.get_provider_uuids.return_value = ["root"]
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

    @pytest.mark.field_case("K7.3")
    def test_what_another_driver_has_left_in_placement_goes(self, docker_driver: Any) -> None:
        tree = provider_tree.ProviderTree()
        root = tree.new_root(HOST, str(uuid.uuid4()))
        children = {
            f"{HOST}_pci_0000_41_00_0": {"VGPU": {"total": 4}},
            f"{HOST}:Open vSwitch agent": {},
            f"{HOST}_0000:81:00.0": {"CUSTOM_PCI_8086_1528": {"total": 1}},
        }
        for name, inventory in children.items():
            tree.new_child(name, root, str(uuid.uuid4()))
            tree.update_inventory(name, inventory)
        others = {"CUSTOM_OTHERS", "COMPUTE_STATUS_DISABLED", "MISC_SHARES_VIA_AGGREGATE"}
        libvirts = {"COMPUTE_STORAGE_BUS_VIRTIO", "HW_CPU_X86_AVX", "COMPUTE_GRAPHICS_MODEL_VGA"}
        tree.update_traits(HOST, others | libvirts)

        docker_driver.update_provider_tree(tree, HOST)

        traits = set(tree.data(HOST).traits)
        assert others | {"CUSTOM_HYPERVISOR_DOCKER"} <= traits
        assert not libvirts & traits
        left = {tree.data(provider).name for provider in tree.get_provider_uuids(HOST)}
        assert left == {HOST, *list(children)[1:]}

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
        option("seccomp_profile", "engine")
        assert isolation.Isolation.from_section(driver.CONF.docker).seccomp is None
        with pytest.raises(ValueError, match="regex"):
            option("seccomp_profile", "profile.json")
