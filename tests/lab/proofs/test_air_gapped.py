# SPDX-License-Identifier: Apache-2.0
"""A whole run on hosts that reach each other and nothing else, from the archive alone.

The tests are the steps of the documentation's page, in their order.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openstack.connection import Connection

from lab.hosts import listing
from lab.hosts.access import Host
from lab.settings import LabSettings
from lab.stage import bundle as lab_bundle
from lab.stage.demo import COMMAND, FLAVOR, NETWORK, address
from novadocker_actions.cmd import bundle
from tests.functional.driver import busybox
from tests.lab.proofs import gap

pytestmark = pytest.mark.proof

HOSTS = ["compute-docker-1", "compute-docker-2"]
POOLS = {
    "controllers": (["--role", "controller", "--role", "glance"], ["controller"]),
    "computes": (["--role", "compute"], [*HOSTS, "compute-3"]),
}
ARCHIVE = "/root/novadocker.tar"
SITE = "/root/site"
WHEELS = f"{SITE}/wheels"
BIN = "/opt/openstack/bin"
KEPT = "/usr/local/lib/novadocker/wheels"
# What enrolment has brought to a host.
BROUGHT = ("/opt/heat-agent", "/usr/local/lib/novadocker", "/etc/os-collect-config.conf")
# Which wheel is altered on which host.
ALTERED = {HOSTS[0]: "docker-*.whl", HOSTS[1]: "nova_docker-*.whl"}
FLIP = """
import pathlib, sys
(path,) = {path.resolve() for path in pathlib.Path(sys.argv[1]).glob("*/" + sys.argv[2])}
data = bytearray(path.read_bytes())
data[len(data) // 2] ^= 1
path.write_bytes(data)
print(path)
"""
IMAGE = "carried"
SERVERS = ("carried-1", "carried-2")

Hosts = dict[str, Host]
figures: dict[str, int] = {}


@pytest.fixture(scope="module")
def index(lab: Hosts, lab_settings: LabSettings) -> Iterator[gap.Index]:
    """An index outside, which every host has been seen to reach."""
    known = gap.Index(lab_settings.gateway)
    with known.served(), gap.configured_index(lab, known.url):
        assert {name: known.reached_from(host) for name, host in lab.items()} == (
            dict.fromkeys(lab, True)
        )
        yield known


@pytest.fixture(scope="module")
def archive(lab_settings: LabSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive, made where there is an index: wheels for the site's Python, and an image."""
    place = tmp_path_factory.mktemp("made")
    image = place / f"{IMAGE}.tar"
    image.write_bytes(busybox.image())
    wheels = str(lab_settings.wheelhouse)
    made = place / "novadocker.tar"
    assert bundle.main(["make", "--wheels", wheels, "--image", str(image), str(made)]) == 0
    figures["bytes"] = made.stat().st_size
    return made


@pytest.fixture(scope="module")
def site(
    index: gap.Index,
    archive: Path,
    lab: Hosts,
    lab_settings: LabSettings,
    docker_hosts: Any,
    run_workflow: Any,
    operator: Any,
) -> Iterator[gap.Index]:
    """A cloud without the bundle and without agents, cut off, whose controller has the archive."""
    undone = run_workflow("undeploy", {"hosts": docker_hosts() or HOSTS})
    assert undone.state == "SUCCESS", undone.message
    operator("novadocker-enroll", "remove", *lab, timeout_s=600)
    names = [project.name for project in lab_bundle.PROJECTS]
    lab["controller"].run([f"{BIN}/pip", "uninstall", "--quiet", "--yes", *names])
    lab["controller"].run(["rm", "-rf", SITE])
    lab["controller"].put(ARCHIVE, archive.read_bytes(), 0o600)
    asked = len(index.asked)
    with gap.cut(lab_settings, lab):
        yield index
    # Whatever was done in between, nobody outside has heard of it.
    assert index.asked[asked:] == []


@pytest.fixture(scope="module")
def before(lab: Hosts) -> dict[str, listing.Listing]:
    """The hosts as they were enrolled."""
    return listing.take_all(lab)


def test_no_host_reaches_the_index_any_more(site: gap.Index, lab: Hosts) -> None:
    assert {name: site.reached_from(host) for name, host in lab.items()} == (
        dict.fromkeys(lab, False)
    )
    for host in lab.values():
        done = host.run([f"{BIN}/pip", "download", "--dest", "/tmp/none", "requests"], check=False)
        assert done.returncode, done.stdout
        there = host.run(["find", *BROUGHT, "-maxdepth", "0"], check=False).stdout.split()
        assert there == []
        assert host.run(["ls", "-A", "/srv/wheelhouse"]).stdout == ""


def test_the_archive_is_unpacked_where_nothing_is_installed(
    site: gap.Index, lab: Hosts, archive: Path
) -> None:
    controller = lab["controller"]
    told = controller.run(["sha256sum", ARCHIVE]).stdout.split()[0]
    assert told == hashlib.sha256(archive.read_bytes()).hexdigest()
    controller.run(["mkdir", SITE])
    controller.run(["tar", "-x", "-f", ARCHIVE, "-C", SITE])
    checked = controller.run(["sh", "-c", f"cd {SITE} && sha256sum -c SHA256SUMS"]).stdout
    assert checked.count(": OK") == len(checked.splitlines())
    figures["files"] = checked.count(": OK")


def test_the_bundle_is_installed_into_mistral_s_environment(
    site: gap.Index, lab: Hosts, lab_settings: LabSettings, cloud: Connection
) -> None:
    controller = lab["controller"]
    command = f"{BIN}/pip install --no-index --find-links {WHEELS} {WHEELS}"
    for name in ("novadocker_deploy", "novadocker_client"):
        controller.run(["sh", "-c", f"{command}/{name}-*.whl"], timeout_s=180)
    controller.run(["systemctl", "restart", *lab_bundle.MISTRAL_UNITS], timeout_s=240)
    lab_bundle.load_workbook(lab_settings, cloud)


def test_an_archive_with_one_byte_changed_is_refused_by_the_file_s_name(
    site: gap.Index, lab: Hosts, archive: Path
) -> None:
    with tarfile.open(archive) as tar:
        (wheel,) = (entry for entry in tar if entry.name.startswith("wheels/docker-"))
    data = bytearray(archive.read_bytes())
    data[wheel.offset_data + wheel.size // 2] ^= 1
    lab["controller"].put("/root/altered.tar", bytes(data), 0o600)
    for verb in (["verify"], ["unpack"]):
        target = ["/root/altered"] if verb == ["unpack"] else []
        command = [f"{BIN}/novadocker-bundle", *verb, "/root/altered.tar", *target]
        done = lab["controller"].run(command, check=False)
        assert done.returncode == 1
        assert f"{wheel.name}: is not what its checksum says, or was altered" in done.stderr
    assert lab["controller"].run(["test", "-e", "/root/altered"], check=False).returncode


def test_hosts_are_enrolled_with_files_of_the_archive(
    site: gap.Index, lab: Hosts, operator: Any
) -> None:
    for pool, (roles, hosts) in POOLS.items():
        operator(
            *("novadocker-enroll", "add", "--pool", pool, *roles),
            *("--polling-interval", "2", "--wheels", WHEELS, *hosts),
            timeout_s=900,
        )
    listed = operator("novadocker-enroll", "list")
    assert [name for name in lab if name not in listed] == []


def test_wheels_with_one_byte_changed_are_refused_by_the_plan(
    site: gap.Index,
    lab: Hosts,
    before: dict[str, listing.Listing],
    run_workflow: Any,
    operator: Any,
) -> None:
    altered = {}
    for name, pattern in ALTERED.items():
        done = lab[name].run(["python3", "-c", FLIP, KEPT, pattern])
        altered[name] = done.stdout.strip()
    try:
        for workflow in ("plan", "deploy"):
            refused = run_workflow(workflow, {"hosts": HOSTS, "images": []})
            assert refused.state == "ERROR"
            assert refused.report.state in ("refused", ""), refused.report
            print(f"{workflow}: {refused.message}")
            for name, path in altered.items():
                assert name in refused.message
                assert f"{Path(path).name} is not the wheel that is meant" in refused.message
            assert "then run `novadocker-enroll update`" in refused.message
        assert listing.touched(before, listing.take_all(lab)) == {}
    finally:
        for name, path in altered.items():
            lab[name].run(["rm", path])
        operator("novadocker-enroll", "update", "--wheels", WHEELS, *HOSTS, timeout_s=300)


def test_the_hosts_are_converted(site: gap.Index, run_workflow: Any, docker_hosts: Any) -> None:
    converted = run_workflow("deploy", {"hosts": HOSTS, "images": []}, 1200)
    assert converted.state == "SUCCESS", converted.message
    assert docker_hosts() == HOSTS


def test_containers_of_the_archive_s_image_ping_each_other(
    site: gap.Index, cloud: Connection, operator: Any, eventually: Any
) -> None:
    operator(
        *("openstack", "image", "create", "--public", "--container-format", "docker"),
        *("--disk-format", "raw", "--property", "img_hv_type=docker"),
        *("--property", "trait:CUSTOM_HYPERVISOR_DOCKER=required"),
        *("--property", f"os_command_line={COMMAND}"),
        *("--file", f"{SITE}/images/{IMAGE}.tar", IMAGE),
    )
    image = cloud.image.find_image(IMAGE, ignore_missing=False)
    network = cloud.network.find_network(NETWORK, ignore_missing=False)
    flavor = cloud.compute.find_flavor(FLAVOR, ignore_missing=False)
    servers: list[Any] = []
    try:
        for name, host in zip(SERVERS, HOSTS, strict=True):
            server = cloud.compute.create_server(
                name=name,
                image_id=image.id,
                flavor_id=flavor.id,
                networks=[{"uuid": network.id}],
                availability_zone=f"nova:{host}",
                metadata={"PEER": address(servers[0])} if servers else {},
            )
            servers.append(server)
            servers[-1] = cloud.compute.wait_for_server(server, interval=0.5, wait=120)
        log = eventually(
            lambda: str(cloud.compute.get_server_console_output(servers[-1])["output"]),
            lambda text: "packets received" in text,
        )
        assert "3 packets received" in log
    finally:
        for server in servers:
            cloud.compute.delete_server(server)
            cloud.compute.wait_for_delete(server, interval=0.5, wait=120)
        cloud.image.delete_image(image)


def test_the_hosts_are_given_back(
    site: gap.Index,
    lab: Hosts,
    before: dict[str, listing.Listing],
    run_workflow: Any,
    docker_hosts: Any,
) -> None:
    undone = run_workflow("undeploy", {"hosts": HOSTS}, 1200)
    assert undone.state == "SUCCESS", undone.message
    assert docker_hosts() == []
    assert listing.differing(before, listing.take_all(lab)) == {}


def test_nobody_outside_was_asked(site: gap.Index, index: gap.Index, lab: Hosts) -> None:
    assert len(index.asked) == len(lab), "each host's try before the cut, and no other"
    print(
        f"figures: {len(lab)} hosts without a way out, {len(index.asked)} tries before the cut and"
        f" none behind it, an archive of {figures['files']} files and"
        f" {figures['bytes'] // 1024} KiB, 2 hosts converted and given back, 2 containers of its"
        f" image, {len(ALTERED)} altered wheels and an altered archive refused"
    )
