# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: I001 - Nova's test package sets up the process, and is imported first
"""Nova's in-process cloud, from the API to the driver, on a real Docker Engine."""

from __future__ import annotations

import nova.tests.unit

import contextlib
import socket
import time
import unittest
import warnings
from pathlib import Path
from typing import Any

import docker
import fixtures
import os_vif
from nova import version
from nova.tests import fixtures as nova_fixtures
from nova.tests.functional import integrated_helpers

from novadocker import _alias, conf
from novadocker.tests import cdi
from tests.functional.driver import busybox, openvswitch, own_engine, privileges, serial_proxy

_alias.install()
conf.load()

HOSTS = ("novadocker-test-cloud-1", "novadocker-test-cloud-2")
METADATA = "/var/lib/cloud/seed/config_drive/openstack/latest/meta_data.json"
IMAGE_ID = "cedef40a-ed67-4d10-800e-17455edce175"
VOLUME = nova_fixtures.CinderFixture.IMAGE_BACKED_VOL


def setUpModule() -> None:
    entered = openvswitch.running("br-int")
    entered.__enter__()
    unittest.addModuleCleanup(entered.__exit__, None, None, None)
    os_vif.initialize()


def api_paste() -> Path:
    """Find the file that the wheel of Nova installs beside its environment's libraries."""
    return Path(nova.tests.unit.__file__).parents[6] / "etc/nova/api-paste.ini"


class CloudTestCase(integrated_helpers.ProviderUsageBaseTestCase):
    """A cloud of one host, or two which share an engine."""

    compute_driver = "novadocker.virt.docker.DockerDriver"

    def setUp(self) -> None:
        self.useFixture(fixtures.EnvironmentVariable("OS_TEST_TIMEOUT", "0"))
        self._archives: dict[str, bytes] = {}
        self.addCleanup(self._remove_containers)
        self.flags(api_paste_config=str(api_paste()), group="wsgi")
        super().setUp()
        # Nova's tests make errors of warnings; this one is between Nova and SQLAlchemy 2.1.
        warnings.filterwarnings("ignore", message="The noload")
        self.stub_out("oslo_privsep.daemon.RootwrapClientChannel", privileges.CHANNEL)
        for group, command in privileges.helper_commands().items():
            self.flags(helper_command=command, group=group)
        self.flags(state_path=self.useFixture(fixtures.TempDir()).path)
        # A shell does not end when it is asked to.
        self.flags(stop_timeout_cap=1, host_url=own_engine.given_url(), group="docker")
        # Without one it greets nobody.
        self.flags(tty=True, group="docker")
        self.flags(vif_plugging_timeout=0, allow_resize_to_same_host=True)
        self.engine = own_engine.given()
        self._archives[IMAGE_ID] = busybox.image()
        for image in self.glance.images.values():
            image.update(container_format="docker", disk_format="raw", checksum="0" * 32)
        self.stub_out("nova.virt.images.fetch", self._fetch)
        self.useFixture(fixtures.MonkeyPatch("nova.image.glance.API.update", self._update_image))
        self._start_compute(HOSTS[0])

    def _fetch(self, context: Any, image_href: str, path: str, trusted_certs: Any = None) -> None:
        Path(path).write_bytes(self._archives[image_href])

    def _update_image(
        self,
        api: Any,
        context: Any,
        image_id: str,
        meta: Any,
        data: Any = None,
        purge_props: bool = False,
    ) -> Any:
        """Store what is uploaded, as Glance would."""
        if data is not None:
            parts = []
            while part := data.read(65536):
                parts.append(part)
            self._archives[image_id] = b"".join(parts)
        image = self.glance.images[image_id]
        image.setdefault("properties", {}).update(meta.get("properties", {}))
        image.update({key: value for key, value in meta.items() if key != "properties"})
        image.update(status="active", checksum="1" * 32)
        return image

    def _remove_containers(self) -> None:
        """Remove what a test has left, and the images that it had fetched."""
        for host in HOSTS:
            for container in docker.from_env().containers.list(
                all=True, filters={"label": f"org.openstack.nova.host={host}"}
            ):
                container.remove(force=True)
        for image in docker.from_env().images.list("nova-glance/*"):
            for tag in image.tags:
                if tag.split(":")[0].removeprefix("nova-glance/") in self._archives:
                    docker.from_env().images.remove(tag, force=True)
        for host in HOSTS:
            wanted = {"label": f"org.openstack.nova.host={host}"}
            for image in docker.from_env().images.list(filters=wanted):
                # One that another was made of goes with it.
                with contextlib.suppress(docker.errors.ImageNotFound):
                    docker.from_env().images.remove(image.id, force=True)

    def _wait_for_server_parameter(
        self, server: Any, expected_params: Any, max_retries: int = 10, *args: Any, **kwargs: Any
    ) -> Any:
        # Machines that tests run on can be slow: 30 s and not 5.
        return super()._wait_for_server_parameter(server, expected_params, 60, *args, **kwargs)

    def boot(self, networks: Any = "none", **fields: Any) -> dict[str, Any]:
        flavor = self.api.get_flavors()[0]["id"]
        server = self._build_server(image_uuid=IMAGE_ID, flavor_id=flavor, networks=networks)
        server.update(fields)
        return self._wait_for_state_change(self.api.post_server({"server": server}), "ACTIVE")

    def container(self, server: dict[str, Any]) -> Any:
        return self.engine.containers.get(f"nova-{server['id']}")

    def sh(self, server: dict[str, Any], command: str) -> str:
        code, output = self.container(server).exec_run(["sh", "-c", command])
        self.assertEqual(0, code, output)
        return str(output.decode())

    def act(self, server: dict[str, Any], action: str, body: Any, status: str) -> dict[str, Any]:
        self.api.post_server_action(server["id"], {action: body})
        return self._wait_for_server_parameter(
            server, {"status": status, "OS-EXT-STS:task_state": None}
        )

    def gone(self, server: dict[str, Any]) -> None:
        self.api.delete_server(server["id"])
        self._wait_until_deleted(server)
        names = [container.name for container in self.engine.containers.list(all=True)]
        self.assertEqual([], [name for name in names if server["id"] in name])
        its_own = {"label": f"org.openstack.nova.uuid={server['id']}"}
        self.assertEqual([], self.engine.images.list(all=True, filters=its_own))

    def test_lifecycle(self) -> None:
        server = self.boot(metadata={"COLOUR": "green"}, config_drive=True)
        self.assertEqual("green\n", self.sh(server, "echo $COLOUR"))
        self.assertIn(server["id"], self.sh(server, f"cat {METADATA}"))
        self.sh(server, "echo kept > /kept")
        self.act(server, "pause", None, "PAUSED")
        self.assertEqual("paused", self.container(server).status)
        self.act(server, "unpause", None, "ACTIVE")
        self.act(server, "os-stop", None, "SHUTOFF")
        self.assertEqual("exited", self.container(server).status)
        self.act(server, "os-start", None, "ACTIVE")
        for kind in ("SOFT", "HARD"):
            self.act(server, "reboot", {"type": kind}, "ACTIVE")
        self.assertEqual("kept\n", self.sh(server, "cat /kept"))
        output = self.api.post_server_action(server["id"], {"os-getConsoleOutput": {}})
        self.assertIn("BusyBox", output["output"])
        self.assertEqual(
            "docker", self.api.api_get(f"/servers/{server['id']}/diagnostics").body["hypervisor"]
        )
        self.gone(server)

    def console(self, server: dict[str, Any]) -> str:
        body = {"remote_console": {"protocol": "serial", "type": "serial"}}
        answer = self.api.api_post(f"/servers/{server['id']}/remote-consoles", body)
        return str(answer.body["remote_console"]["url"])

    def proxied(self) -> serial_proxy.Proxy:
        self.flags(enabled=True, port_range="21000:21100", group="serial_console")
        self.api.microversion = "2.96"
        proxy = serial_proxy.Proxy()
        self.addCleanup(proxy.close)
        return proxy

    def test_a_shell_beside_the_workload_that_one_can_type_into(self) -> None:
        proxy = self.proxied()
        # There is a terminal of the workload's own.
        flavor = self.api.get_flavors()[0]["id"]
        self.api.post_extra_spec(flavor, {"extra_specs": {"docker:console": "shell"}})
        server = self.boot()
        url = self.console(server)
        with proxy.viewing(url) as first, proxy.viewing(self.console(server)) as second:
            # The window has a size, and the shell has what the workload has, and no more.
            first.type(
                "stty size; grep -e CapBnd -e NoNewPrivs /proc/self/status; echo one-$((1))\n"
            )
            shown = first.sees("one-1")
            self.assertIn("24 80", shown)
            self.assertRegex(shown, "CapBnd:\\s*00000000a80425fb")
            self.assertRegex(shown, "NoNewPrivs:\\s*1")
            second.type("echo two-$((1 + 1)) | tee /typed\n")
            second.sees("two-2")
            self.assertEqual("two-2\n", self.sh(server, "cat /typed"))
            self.assertEqual(2, self.shells(server))
        # Shells end with those who look at them.
        deadline = time.monotonic() + 20
        while self.shells(server):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)
        with proxy.viewing(url.replace("token=", "token=0")) as stranger:
            self.assertTrue(stranger.is_hung_up())
        self.assertIn("InvalidToken", proxy.refusals[-1])
        with proxy.viewing(self.console(server)) as last:
            last.type("echo three-$((1 + 2))\n")
            last.sees("three-3")
            self.gone(server)
            self.assertTrue(last.is_hung_up())
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", 21000))

    def test_the_workloads_own_terminal_is_shared_by_all_who_look_at_it(self) -> None:
        proxy, server = self.proxied(), self.boot()
        with (
            proxy.viewing(self.console(server)) as first,
            proxy.viewing(self.console(server)) as second,
        ):
            first.type("MINE=$((40 + 2))\n")
            first.sees("MINE=")
            second.type("echo $MINE-$$\n")
            for viewer in (first, second):
                viewer.sees("42-1")
            self.assertEqual(0, self.shells(server))
        self.assertEqual("running", self.container(server).status)
        self.gone(server)

    def shells(self, server: dict[str, Any]) -> int:
        """Return how many processes there are besides of the workload's own."""
        return len(self.container(server).top()["Processes"]) - 1

    def test_a_workload_that_ends_is_shut_off_at_once(self) -> None:
        server = self.boot()
        self.container(server).kill()
        started = time.monotonic()
        self._wait_for_state_change(server, "SHUTOFF")
        # Nova itself looks each ten minutes.
        self.assertLess(time.monotonic() - started, 60)

    def test_isolation_as_the_kernel_sees_it(self) -> None:
        server = self.boot()
        status = dict(
            line.split(":", 1) for line in self.sh(server, "cat /proc/1/status").splitlines()
        )
        # Docker's default set.
        self.assertEqual(0xA80425FB, int(status["CapEff"], 16))
        self.assertEqual(0xA80425FB, int(status["CapBnd"], 16))
        self.assertEqual(["1", "2"], [status[key].strip() for key in ("NoNewPrivs", "Seccomp")])
        limits = {
            "memory.max memory/memory.limit_in_bytes": self.api.get_flavors()[0]["ram"] << 20,
            "pids.max pids/pids.max": conf.load().docker.pids_limit,
        }
        for files, limit in limits.items():
            # Of cgroup v2 or v1.
            told = self.sh(server, f"cd /sys/fs/cgroup; cat {files} 2>/dev/null || true")
            self.assertEqual(limit, int(told))
        self.assertEqual(
            "refused\n",
            self.sh(server, "mount -t tmpfs none /mnt 2>/dev/null || echo refused"),
        )
        self.gone(server)

    def restart(self, **compute_options: str) -> None:
        """Start nova-compute anew, with other options."""
        self.flags(group="compute", **compute_options)
        self.computes[HOSTS[0]] = self.restart_compute_service(
            self.computes[HOSTS[0]], keep_hypervisor_state=False
        )

    def processors(self, server: dict[str, Any]) -> str:
        """Return those that the kernel lets a server run on."""
        return self.sh(server, "grep Cpus_allowed_list /proc/self/status").split()[1]

    def test_dedicated_processors_are_one_servers_alone(self) -> None:
        small = {"vcpu": 1, "memory_mb": 64, "disk": 1}
        shared = self._create_flavor(**small)
        asked = {"hw:cpu_policy": "dedicated"}
        dedicated = self._create_flavor(**small, extra_spec=asked)
        by_class = self._create_flavor(**small, extra_spec={"resources:PCPU": "1"})
        other = self.boot(flavorRef=shared)
        self.assertEqual("0-1", self.processors(other))
        self.restart(cpu_shared_set="0", cpu_dedicated_set="1")
        # It runs on.
        self.assertEqual("0", self.processors(other))
        inventory = self._get_provider_inventory(self._get_provider_uuid_by_host(HOSTS[0]))
        self.assertEqual((1, 1), tuple(inventory[name]["total"] for name in ("VCPU", "PCPU")))
        mine = self.boot(flavorRef=dedicated)
        self.assertEqual("1", self.processors(mine))
        second = self._build_server(image_uuid=IMAGE_ID, flavor_id=by_class, networks="none")
        second = self._wait_for_state_change(self.api.post_server({"server": second}), "ERROR")
        self.gone(second)
        self.act(mine, "reboot", {"type": "HARD"}, "ACTIVE")
        self.restart()
        self.act(mine, "os-stop", None, "SHUTOFF")
        self.act(mine, "os-start", None, "ACTIVE")
        self.assertEqual("1", self.processors(mine))
        for ending, left in (("revertResize", "1"), ("confirmResize", "0")):
            self.act(mine, "resize", {"flavorRef": shared}, "VERIFY_RESIZE")
            self.assertEqual("0", self.processors(mine))
            self.act(mine, ending, None, "ACTIVE")
            self.assertEqual(left, self.processors(mine))
        # It has left its own to whoever asks next.
        self.act(other, "resize", {"flavorRef": by_class}, "VERIFY_RESIZE")
        self.act(other, "confirmResize", None, "ACTIVE")
        self.assertEqual(("0", "1"), (self.processors(mine), self.processors(other)))
        self.gone(mine)
        self.gone(other)

    def things(self, *devices: Any) -> None:
        """Write the host's specification of devices that do no harm."""
        cdi.write(self.specifications, *devices)

    def thing(self, server: dict[str, Any]) -> str:
        """Return which of the devices a server has, as the kernel lets it read them."""
        read = 'head -c1 "$thing" >/dev/null && echo "${thing#*-} $THING"'
        told = self.sh(server, f"for thing in /dev/thing-*; do {read}; done 2>/dev/null || true")
        return told.strip() or "none"

    def test_a_device_is_one_servers_alone(self) -> None:
        self.specifications = Path(self.useFixture(fixtures.TempDir()).path) / "cdi"
        zero, full = (
            cdi.device(
                name,
                env=[f"THING={name}"],
                deviceNodes=[{"path": f"/dev/thing-{name}", "hostPath": f"/dev/{name}"}],
            )
            for name in ("zero", "full")
        )
        self.things(zero)
        self.flags(cdi_kinds=[cdi.KIND], cdi_spec_dirs=[str(self.specifications)], group="docker")
        self.restart()
        small = {"vcpu": 1, "memory_mb": 64, "disk": 1}
        plain = self._create_flavor(**small)
        asked = {f"resources:{cdi.CLASS}": "1"}
        with_thing = self._create_flavor(**small, extra_spec=asked)
        provider = self._get_provider_uuid_by_host(HOSTS[0])
        self.assertEqual(1, self._get_provider_inventory(provider)[cdi.CLASS]["total"])
        self.assertIn(cdi.CLASS, self._get_provider_traits(provider))

        mine = self.boot(flavorRef=with_thing)
        self.assertEqual("zero zero", self.thing(mine))
        second = self._build_server(image_uuid=IMAGE_ID, flavor_id=with_thing, networks="none")
        second = self._wait_for_state_change(self.api.post_server({"server": second}), "ERROR")
        self.gone(second)
        other = self.boot(flavorRef=plain)
        self.assertEqual("none", self.thing(other))

        # Over restarts of all kinds it stays its own.
        self.restart()
        self.act(mine, "os-stop", None, "SHUTOFF")
        self.act(mine, "os-start", None, "ACTIVE")
        self.act(mine, "reboot", {"type": "HARD"}, "ACTIVE")
        self.assertEqual("zero zero", self.thing(mine))
        self.act(mine, "rebuild", {"imageRef": IMAGE_ID}, "ACTIVE")
        self.assertEqual("zero zero", self.thing(mine))
        self.act(mine, "os-stop", None, "SHUTOFF")
        # Without it, it does not start with another's.
        self.things(full)
        self.api.post_server_action(mine["id"], {"os-start": None})
        self._wait_for_action_fail_completion(mine, "start", "compute_start_instance")
        self.assertEqual("exited", self.container(mine).status)
        self.things(zero, full)
        self._run_periodics()
        self.act(mine, "os-start", None, "ACTIVE")
        self.assertEqual("zero zero", self.thing(mine))

        # A resize takes what is free, and gives back what it leaves.
        self.act(other, "resize", {"flavorRef": with_thing}, "VERIFY_RESIZE")
        self.assertEqual("full full", self.thing(other))
        self.act(other, "revertResize", None, "ACTIVE")
        self.assertEqual("none", self.thing(other))
        self.gone(mine)
        self.things(zero)
        self._run_periodics()
        self.act(other, "resize", {"flavorRef": with_thing}, "VERIFY_RESIZE")
        self.assertEqual("zero zero", self.thing(other))
        self.gone(other)

    def test_soft_delete_and_restore(self) -> None:
        self.flags(reclaim_instance_interval=600)
        server = self.boot()
        self.sh(server, "touch /kept")
        self.api.delete_server(server["id"])
        self._wait_for_state_change(server, "SOFT_DELETED")
        self.assertEqual("exited", self.container(server).status)
        self.act(server, "restore", None, "ACTIVE")
        self.sh(server, "test -e /kept")
        self.api.delete_server(server["id"])
        self._wait_for_state_change(server, "SOFT_DELETED")
        self.api.post_server_action(server["id"], {"forceDelete": None})
        self._wait_until_deleted(server)
        names = [container.name for container in self.engine.containers.list(all=True)]
        self.assertEqual([], [name for name in names if server["id"] in name])

    def test_snapshot_and_boot_from_it(self) -> None:
        server = self.boot()
        self.sh(server, "echo mine > /mine")
        self.api.post_server_action(server["id"], {"createImage": {"name": "snap"}})
        self._wait_for_server_parameter(server, {"OS-EXT-STS:task_state": None})
        snap = next(image for image in self.glance.images.values() if image.get("name") == "snap")
        self.assertEqual("docker", snap["container_format"])
        other = self.boot(imageRef=snap["id"])
        self.assertEqual("mine\n", self.sh(other, "cat /mine"))
        self.gone(server)
        self.gone(other)

    def test_rebuild(self) -> None:
        server = self.boot()
        self.sh(server, "touch /old")
        self.act(server, "rebuild", {"imageRef": IMAGE_ID}, "ACTIVE")
        self.assertEqual("gone\n", self.sh(server, "test -e /old || echo gone"))
        self.gone(server)

    def test_shelve(self) -> None:
        self.flags(shelved_offload_time=0)
        server = self.boot()
        self.sh(server, "touch /kept")
        self.act(server, "shelve", None, "SHELVED_OFFLOADED")
        self.act(server, "unshelve", None, "ACTIVE")
        self.sh(server, "test -e /kept")
        self.gone(server)

    def test_resize_confirmed_and_reverted(self) -> None:
        server = self.boot()
        self.sh(server, "touch /kept")
        memory = self.container(server).attrs["HostConfig"]["Memory"]
        own = self.container(server).id
        sandbox = self.engine.containers.get(f"nova-sandbox-{server['id']}").id
        bigger = self.api.get_flavors()[1]["id"]
        for ending, status in (("revertResize", "ACTIVE"), ("confirmResize", "ACTIVE")):
            self.act(server, "resize", {"flavorRef": bigger}, "VERIFY_RESIZE")
            self.sh(server, "test -e /kept")
            self.assertNotEqual(memory, self.container(server).attrs["HostConfig"]["Memory"])
            self.act(server, ending, None, status)
            self.sh(server, "test -e /kept")
            if ending == "revertResize":
                self.assertEqual(memory, self.container(server).attrs["HostConfig"]["Memory"])
            self.assertEqual(own, self.container(server).id)
            self.assertEqual(sandbox, self.engine.containers.get(f"nova-sandbox-{server['id']}").id)
        self.gone(server)
        self.assertEqual([], self.engine.images.list("nova-docker/instance"))

    def test_rescue(self) -> None:
        server = self.boot()
        self.sh(
            server, "mkdir /etc/broken; echo bad > /etc/broken/config; chmod 640 /etc/broken/config"
        )
        self.act(server, "rescue", {}, "RESCUE")
        self.assertEqual("gone\n", self.sh(server, "test -e /etc/broken || echo gone"))
        self.sh(server, "echo good > /mnt/rescue/etc/broken/config")
        self.act(server, "unrescue", None, "ACTIVE")
        self.assertEqual("good\n", self.sh(server, "cat /etc/broken/config"))
        self.assertIn("-rw-r-----", self.sh(server, "ls -l /etc/broken/config"))
        self.act(server, "rescue", {}, "RESCUE")
        self.gone(server)

    def test_a_rescue_by_an_image_that_is_none_is_one_by_the_servers_own(self) -> None:
        server = self.boot()
        other = "155d900f-4e14-4e4c-a73d-069cbf4541e6"
        self.glance.images[other]["container_format"] = "bare"
        self.act(server, "rescue", {"rescue_image_ref": other}, "RESCUE")
        self.sh(server, "test -d /mnt/rescue/etc")
        event = self._wait_for_action_fail_completion(server, "rescue", "compute_rescue_by_image")
        self.assertIn("takes 'docker' only", event["details"])
        self.sh(server, "rm -r /mnt/rescue")
        self.act(server, "unrescue", None, "ACTIVE")
        self.sh(server, "test -d /etc")
        self.gone(server)

    def second_host(self) -> None:
        """Start another node with an identity and an address of its own on the same engine."""
        self.flags(state_path=self.useFixture(fixtures.TempDir()).path)
        self.stub_out("nova.virt.node.LOCAL_NODE_UUID", None)
        second = self._start_compute(HOSTS[1])
        second.manager.driver.get_host_ip_addr = lambda: "192.0.2.2"

    def host_of(self, server: dict[str, Any]) -> str:
        labels = self.container(server).attrs["Config"]["Labels"]
        return str(labels["org.openstack.nova.host"])

    def test_evacuation(self) -> None:
        server = self.boot()
        self.second_host()
        self.computes[HOSTS[0]].stop()
        # The engine would have gone with the host.
        self._remove_containers()
        service = self.api.get_services(binary="nova-compute", host=HOSTS[0])[0]["id"]
        self.api.put_service(service, {"forced_down": True})
        self.api.post_server_action(server["id"], {"evacuate": {}})
        self._wait_for_server_parameter(
            server, {"OS-EXT-SRV-ATTR:host": HOSTS[1], "status": "SHUTOFF"}
        )
        self.act(server, "os-start", None, "ACTIVE")
        self.assertEqual(HOSTS[1], self.host_of(server))
        self.gone(server)

    def test_migration_to_another_host(self) -> None:
        server = self.boot()
        self.sh(server, "touch /kept")
        self.second_host()
        self.act(server, "migrate", None, "VERIFY_RESIZE")
        self.sh(server, "test -e /kept")
        self.assertEqual(HOSTS[1], self.host_of(server))
        self.act(server, "confirmResize", None, "ACTIVE")
        temporary = self.container(server).attrs["Image"]
        self.gone(server)
        self.assertRaises(docker.errors.ImageNotFound, self.engine.images.get, temporary)

    def test_migration_to_another_host_and_back(self) -> None:
        server = self.boot()
        self.sh(server, "touch /kept")
        self.second_host()
        self.act(server, "migrate", None, "VERIFY_RESIZE")
        self.assertEqual(HOSTS[1], self.host_of(server))
        self.act(server, "revertResize", None, "ACTIVE")
        self.assertEqual(HOSTS[0], self.host_of(server))
        self.sh(server, "test -e /kept")
        self.gone(server)

    def test_interfaces(self) -> None:
        server = self.boot(
            networks=[{"port": self.neutron.port_1["id"], "tag": "web"}], config_drive=True
        )
        if not version.version_string().startswith("31."):
            # In Nova 31, the database of these tests loses what its thread for ports has written.
            self.assertIn('"tags": ["web"]', self.sh(server, f"cat {METADATA}"))
        self.assertIn(self.neutron.port_1["fixed_ips"][0]["ip_address"], self.sh(server, "ip addr"))
        self.neutron.create_port({"port": self.neutron.port_2})
        self._attach_interface(server, self.neutron.port_2["id"])
        self.assertIn(self.neutron.port_2["fixed_ips"][0]["ip_address"], self.sh(server, "ip addr"))
        self._detach_interface(server, self.neutron.port_2["id"])
        self.assertNotIn("eth1", self.sh(server, "ip addr"))
        self.gone(server)

    def refused(self, server: dict[str, Any], action: str, event: str, reason: str) -> None:
        """Expect that an action has failed for a reason, and that the server is what it was."""
        failed = self._wait_for_action_fail_completion(server, action, event)
        self.assertIn(reason, failed["details"])
        self._wait_for_server_parameter(server, {"status": "ACTIVE", "OS-EXT-STS:task_state": None})

    def test_what_is_not_done_leaves_the_server_as_it_was_and_says_why(self) -> None:
        server = self.boot()
        self.api.post_server_action(server["id"], {"suspend": None})
        self.refused(server, "suspend", "compute_suspend_instance", "Use pause")
        self.api.post_server_volume(server["id"], {"volumeAttachment": {"volumeId": VOLUME}})
        self.refused(server, "attach_volume", "compute_attach_volume", "take no volumes")
        self.assertEqual([], self.api.get_server_volumes(server["id"]))
        self.second_host()
        self.api.post_server_action(
            server["id"], {"os-migrateLive": {"host": None, "block_migration": "auto"}}
        )
        event = "compute_check_can_live_migrate_destination"
        self.refused(server, "live-migration", event, "cold migration")
        self.gone(server)

    def test_booting_from_a_volume_fails_and_says_why(self) -> None:
        server = self._build_server(
            image_uuid="", flavor_id=self.api.get_flavors()[0]["id"], networks="none"
        )
        server["block_device_mapping_v2"] = [
            {
                "uuid": VOLUME,
                "source_type": "volume",
                "destination_type": "volume",
                "boot_index": 0,
            }
        ]
        server = self._wait_for_state_change(self.api.post_server({"server": server}), "ERROR")
        self.assertIn("take no volumes", server["fault"]["message"])

    def test_only_docker_images_are_started(self) -> None:
        self.glance.images[IMAGE_ID]["container_format"] = "bare"
        flavor = self.api.get_flavors()[0]["id"]
        server = self._build_server(image_uuid=IMAGE_ID, flavor_id=flavor, networks="none")
        server = self._wait_for_state_change(self.api.post_server({"server": server}), "ERROR")
        self.assertIn("takes 'docker' only", server["fault"]["message"])

    def test_images_are_fetched_before_they_are_needed(self) -> None:
        aggregate = self.api.post_aggregate({"aggregate": {"name": "docker"}})
        self.api.add_host_to_aggregate(aggregate["id"], HOSTS[0])
        other = "155d900f-4e14-4e4c-a73d-069cbf4541e6"
        self._archives[other] = busybox.image(cmd=["sleep", "1000"])
        self.api.api_post(f"/os-aggregates/{aggregate['id']}/images", {"cache": [{"id": other}]})
        deadline = time.monotonic() + 10
        while not self.engine.images.list(f"nova-glance/{other}"):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)

    def test_what_placement_knows(self) -> None:
        provider = self._get_provider_uuid_by_host(HOSTS[0])
        self.assertLessEqual(
            {"CUSTOM_HYPERVISOR_DOCKER", "COMPUTE_IMAGE_TYPE_RAW"},
            set(self._get_provider_traits(provider)),
        )
        self.assertEqual(
            {"VCPU", "MEMORY_MB", "DISK_GB"}, set(self._get_provider_inventory(provider))
        )
        hypervisor = self.api.api_get("/os-hypervisors/detail").body["hypervisors"][0]
        self.assertEqual("docker", hypervisor["hypervisor_type"])


def load_tests(loader: Any, tests: Any, pattern: Any) -> Any:
    """Take the tests above only, not those of Nova's that are imported."""
    return loader.loadTestsFromTestCase(CloudTestCase)


if __name__ == "__main__":
    unittest.main(verbosity=2)
