# SPDX-License-Identifier: Apache-2.0
"""Tempest on the lab: a tempest.conf that tells the truth, and the run.

    python -m lab.tempest [--regex REGEX] [--skips FILE] [--results FILE]

Tempest runs on the controller, where the bundle's plug-in is installed beside it. Everything
about the cloud is asked from the cloud's APIs; what the driver can and cannot do is stated here.
"""

from __future__ import annotations

import argparse
import configparser
import dataclasses
import io
import json
import pathlib
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping

import openstack.exceptions
from openstack.connection import Connection

from lab import cloud as lab_cloud
from lab.errors import LabError
from lab.nodes import Node
from lab.settings import LabSettings

PLUGIN_TESTS = r"^tempest_plugin\."
WORKSPACE = "/root/tempest"
BASE_IMAGE = "busybox"
# A container lives as long as its command, and Tempest wants something in the console log.
COMMAND = "sh -c 'trap \"exit 0\" TERM; echo tempest container; while :; do sleep 1; done'"
DEFAULT_TIMEOUT_S = 1800

# What is not in the lab at all.
ABSENT_SERVICES = ("cinder", "swift", "horizon")

# What instances that are containers can do, in Tempest's words.
CONTAINER_FEATURES: Mapping[str, bool] = {
    "attach_encrypted_volume": False,
    "block_migration_for_live_migration": False,
    "change_password": False,
    "cold_migration": False,
    "config_drive": False,
    "console_output": True,
    "enable_instance_password": True,
    "ide_bus": False,
    "interface_attach": True,
    "live_migration": False,
    "metadata_service": False,
    "pause": True,
    "personality": False,
    "rescue": False,
    "resize": False,
    "serial_console": False,
    "shelve": True,
    "snapshot": True,
    "spice_console": False,
    "stable_rescue": False,
    "suspend": False,
    "swap_volume": False,
    "vnc_console": False,
    "volume_multiattach": False,
}

_RESULT = re.compile(
    r"^(?:\{\d+\} )?(?P<test>[\w.]+(?:\[[^\]]*\])?|setUpClass \([\w.]+\)|tearDownClass \([\w.]+\))"
    r"(?: \[[\d.]+s\])? \.\.\. (?P<outcome>ok|FAILED|SKIPPED)(?:: (?P<reason>.*))?$"
)


class TempestError(LabError):
    """Tempest cannot be run, or it ran and tests failed."""


@dataclasses.dataclass(frozen=True)
class CloudFacts:
    """What Tempest has to know of the cloud.

    :param identity_url: Keystone's URL with its version, as the controller sees it
    :param admin: user name, password and project of the admin
    :param image_ids: two images of containers that stay up
    :param flavor_ids: the two smallest flavors
    :param max_microversion: the newest of the compute API
    :param docker_hypervisors: how many hypervisors of type docker there are
    :param network_extensions: aliases of Neutron's extensions
    :param public_network: ID and name of an external network, where there is one
    """

    identity_url: str
    region: str
    admin: tuple[str, str, str]
    image_ids: tuple[str, str]
    flavor_ids: tuple[str, str]
    max_microversion: str
    docker_hypervisors: int
    network_extensions: tuple[str, ...]
    public_network: tuple[str, str] | None


@dataclasses.dataclass(frozen=True)
class TestResult:
    """The outcome of one test.

    :param outcome: ``ok``, ``FAILED`` or ``SKIPPED``
    :param reason: why it was skipped
    """

    test: str
    outcome: str
    reason: str = ""


def find_facts(cloud: Connection, env: Mapping[str, str]) -> CloudFacts:
    """Ask the cloud for what Tempest has to know; make the images that it boots from.

    :param env: the admin's variables, as the controller has them
    """
    flavors = sorted(cloud.compute.flavors(), key=lambda flavor: (flavor.ram, flavor.disk))
    if len(flavors) < 2:
        raise TempestError("Tempest needs two flavors; make another with `openstack flavor create`")
    hypervisors = [
        row for row in cloud.compute.hypervisors(details=True) if row.hypervisor_type == "docker"
    ]
    external = next(iter(cloud.network.networks(is_router_external=True)), None)
    return CloudFacts(
        identity_url=env["OS_AUTH_URL"],
        region=env.get("OS_REGION_NAME", "RegionOne"),
        admin=(env["OS_USERNAME"], env["OS_PASSWORD"], env["OS_PROJECT_NAME"]),
        image_ids=(
            container_image(cloud, "tempest-container"),
            container_image(cloud, "tempest-container-alt"),
        ),
        flavor_ids=(flavors[0].id, flavors[1].id),
        max_microversion=_max_microversion(cloud),
        docker_hypervisors=len(hypervisors),
        network_extensions=tuple(sorted(row.alias for row in cloud.network.extensions())),
        public_network=(external.id, external.name) if external else None,
    )


def container_image(cloud: Connection, name: str) -> str:
    """Return the ID of a public image whose containers stay up; make it where it is missing.

    :raises TempestError: when there is no docker image to make it from
    """
    found = cloud.image.find_image(name)
    if found and found.status == "active":
        return str(found.id)
    content = cloud.image.download_image(_base_image_id(cloud)).content
    made = cloud.image.create_image(
        name,
        data=content,
        container_format="docker",
        disk_format="raw",
        visibility="public",
        img_hv_type="docker",
        os_command_line=COMMAND,
        wait=True,
    )
    return str(made.id)


def tempest_conf(facts: CloudFacts) -> str:
    """Return the text of tempest.conf."""
    user, password, project = facts.admin
    image, image_alt = facts.image_ids
    flavor, flavor_alt = facts.flavor_ids
    sections: dict[str, dict[str, object]] = {
        "DEFAULT": {"log_file": f"{WORKSPACE}/tempest.log", "debug": False},
        "oslo_concurrency": {"lock_path": f"{WORKSPACE}/lock"},
        "auth": {
            "use_dynamic_credentials": True,
            "admin_username": user,
            "admin_password": password,
            "admin_project_name": project,
            "admin_domain_name": "Default",
        },
        "identity": {
            "auth_version": "v3",
            "uri_v3": facts.identity_url,
            "region": facts.region,
            "v3_endpoint_type": "publicURL",
        },
        "identity-feature-enabled": {"api_v2": False, "api_v2_admin": False},
        "service_available": {
            **dict.fromkeys(ABSENT_SERVICES, False),
            "nova": True,
            "neutron": True,
            "glance": True,
            "novadocker": facts.docker_hypervisors > 0,
        },
        "compute": {
            "image_ref": image,
            "image_ref_alt": image_alt,
            "flavor_ref": flavor,
            "flavor_ref_alt": flavor_alt,
            "min_compute_nodes": max(1, facts.docker_hypervisors),
            "hypervisor_type": "docker",
            "min_microversion": "2.1",
            "max_microversion": facts.max_microversion,
            "build_timeout": 120,
            "ready_wait": 0,
        },
        "compute-feature-enabled": dict(CONTAINER_FEATURES),
        "image": {
            "container_formats": "docker,bare,ami,ari,aki,ovf,ova",
            "http_image": "",
        },
        "image-feature-enabled": {"import_image": False},
        "network": {"project_network_cidr": "10.100.0.0/16", "build_timeout": 120},
        "network-feature-enabled": {
            "api_extensions": ",".join(facts.network_extensions),
            "floating_ips": facts.public_network is not None,
            "ipv6": True,
        },
        # A container has no SSH server: what it does is seen in its console log.
        "validation": {"run_validation": False},
        "novadocker": {
            "image_ref": image,
            "min_hypervisors": max(1, facts.docker_hypervisors),
            "build_timeout": 120,
        },
    }
    if facts.public_network:
        sections["network"]["public_network_id"] = facts.public_network[0]
        sections["network"]["floating_network_name"] = facts.public_network[1]
    parser = configparser.RawConfigParser()
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_dict(sections)
    text = io.StringIO()
    parser.write(text)
    return text.getvalue()


def parse_results(lines: Iterable[str]) -> list[TestResult]:
    """Return the outcomes that `tempest run` has printed."""
    return [
        TestResult(match["test"], match["outcome"], match["reason"] or "")
        for match in map(_RESULT.match, lines)
        if match
    ]


def prepare(settings: LabSettings) -> Node:
    """Make Tempest's workspace on the controller and write its configuration.

    :return: the controller
    """
    controller = Node(settings.controller.name, settings)
    env = lab_cloud.parse_openrc(controller.read(lab_cloud.OPENRC))
    facts = find_facts(lab_cloud.connect(settings), env)
    tempest = f"{settings.openstack_venv}/bin/tempest"
    if controller.run(["test", "-d", f"{WORKSPACE}/.stestr"], check=False).returncode:
        controller.run(["rm", "-rf", WORKSPACE])
        controller.run([tempest, "init", WORKSPACE])
    controller.put(f"{WORKSPACE}/etc/tempest.conf", tempest_conf(facts), mode=0o600)
    return controller


def run(
    settings: LabSettings,
    regex: str = PLUGIN_TESTS,
    *,
    skips: pathlib.Path | None = None,
    concurrency: int = 1,
    timeout_s: int = DEFAULT_TIMEOUT_S,
) -> list[TestResult]:
    """Run tests and show what Tempest prints as it goes.

    :param regex: which tests
    :param skips: a file of further regular expressions of tests to leave out
    :param concurrency: tests at the same time
    :param timeout_s: seconds after which Tempest is killed
    :return: the outcome of each test
    :raises TempestError: when Tempest did not run any test, or not to its end
    """
    controller = prepare(settings)
    argv = [f"{settings.openstack_venv}/bin/tempest", "run", "--regex", regex]
    argv += ["--concurrency", str(concurrency)]
    if skips:
        controller.put(f"{WORKSPACE}/skips", skips.read_text())
        argv += ["--exclude-list", f"{WORKSPACE}/skips"]
    command = ["docker", "exec", "--workdir", WORKSPACE, controller.container]
    command += ["timeout", "--kill-after=10", str(timeout_s), *argv]
    lines = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            lines.append(line.rstrip("\n"))
    if process.returncode in (124, 137):
        raise TempestError(f"Tempest did not end within {timeout_s} s")
    results = parse_results(lines)
    if not results:
        raise TempestError(f"Tempest ran no test (exit code {process.returncode})")
    if process.returncode and not any(result.outcome == "FAILED" for result in results):
        raise TempestError(f"Tempest ended with exit code {process.returncode}")
    return results


def _max_microversion(cloud: Connection) -> str:
    data = cloud.compute.get_endpoint_data()
    if data is None or data.max_microversion is None:
        raise TempestError("the compute API does not tell its versions")
    major, minor = data.max_microversion
    return f"{major}.{minor}"


def _base_image_id(cloud: Connection) -> str:
    for image in cloud.image.images(container_format="docker", status="active"):
        if image.name.partition(":")[0].rpartition("/")[2] == BASE_IMAGE:
            return str(image.id)
    raise TempestError(
        f"Glance has no docker image named {BASE_IMAGE}: run novadocker.deploy or"
        " novadocker.preload_images first"
    )


def main() -> None:
    """Run Tempest on the lab; exit with 1 when a test failed."""
    parser = argparse.ArgumentParser(prog="python -m lab.tempest", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--regex", default=PLUGIN_TESTS, help="which tests (the plug-in's)")
    parser.add_argument("--skips", type=pathlib.Path, help="file of regexes of tests left out")
    parser.add_argument("--results", type=pathlib.Path, help="write the outcomes here, as JSON")
    parser.add_argument("--concurrency", type=int, default=1, help="tests at once (1)")
    parser.add_argument("--timeout", type=int, default=DEFAULT_TIMEOUT_S, help="seconds")
    parser.add_argument("--prepare", action="store_true", help="write tempest.conf and stop")
    args = parser.parse_args()
    settings = LabSettings()
    began = time.monotonic()
    try:
        if args.prepare:
            prepare(settings)
            return
        results = run(
            settings,
            args.regex,
            skips=args.skips,
            concurrency=args.concurrency,
            timeout_s=args.timeout,
        )
    except (LabError, openstack.exceptions.SDKException) as exc:
        sys.exit(f"FAILED: {exc}")
    counts = {
        outcome: sum(result.outcome == outcome for result in results)
        for outcome in ("ok", "FAILED", "SKIPPED")
    }
    if args.results:
        record = {"counts": counts, "tests": [dataclasses.asdict(result) for result in results]}
        args.results.write_text(json.dumps(record, indent=1) + "\n")
    print(
        f"{counts['ok']} passed, {counts['FAILED']} failed, {counts['SKIPPED']} skipped"
        f" in {time.monotonic() - began:.0f} s"
    )
    sys.exit(1 if counts["FAILED"] else 0)


if __name__ == "__main__":
    main()
