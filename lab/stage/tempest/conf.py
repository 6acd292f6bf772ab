# SPDX-License-Identifier: Apache-2.0
"""tempest.conf: what the cloud says of itself, and what containers can and cannot do."""

from __future__ import annotations

import configparser
import dataclasses
import io
from collections.abc import Mapping

from lab.controlplane.config.compute import SCHEDULER_FILTERS

WORKSPACE = "/root/tempest"
BUILD_TIMEOUT_S = 120
# A ping of busybox that gets no answer takes 10 s, whatever it is told.
PING_TIMEOUT_S = 90
SSH_TIMEOUT_S = 120

# What is not in the lab at all.
ABSENT_SERVICES = ("cinder", "swift", "horizon")

# What instances that are containers can do, in Tempest's words ...
CAN = (
    "change_password",
    "cold_migration",
    "config_drive",
    "console_output",
    "disk_config",
    "enable_instance_password",
    "hostname_fqdn_sanitization",
    "interface_attach",
    "pause",
    "personality",
    "rescue",
    "resize",
    "shelve",
    "shelve_migrate",
    "snapshot",
)
# ... and what they cannot, with the reason. What Tempest finds off it skips.
CANNOT: Mapping[str, str] = {
    "attach_encrypted_volume": "the driver refuses volumes that are encrypted",
    "block_migration_for_live_migration": "no live migration",
    "can_migrate_between_any_hosts": "not to a host with another hypervisor",
    "ide_bus": "a container has no buses",
    "live_migration": "Docker cannot move a running process to another host",
    "live_migrate_back_and_forth": "no live migration",
    "metadata_service": "the lab has no metadata agent",
    "serial_console": "the console is a log and takes no input",
    "spice_console": "a container has no screen",
    "stable_rescue": "the rescue image runs in the instance's place, no device is attached to it",
    "suspend": "Docker's checkpoints are an experiment; the driver refuses",
    "swap_volume": "a mounted file system stays where it is; the lab has no Cinder besides",
    "unified_limits": "the lab keeps Nova's own quotas",
    "vnc_console": "a container has no screen",
    "volume_backed_live_migration": "no live migration",
    "volume_multiattach": "a file system is mounted by one host; the driver refuses",
    "vtpm_live_migration": "a container has no TPM",
}
# What else Tempest takes from an option that is left empty, with the reason: its tests are skipped.
UNSET: Mapping[str, str] = {
    "[compute] certified_image_ref": "the lab has no key manager, which signed images need",
    "[network-feature-enabled] qos_min_bw_and_pps": "OVN knows no guaranteed rate of packets",
    "[network-feature-enabled] qos_placement_physnet": "the lab's Neutron has no QoS, and reports"
    " no bandwidth to Placement",
    "[scenario] dhcp_client": "the driver sets the addresses, a container asks no DHCP server",
}


@dataclasses.dataclass(frozen=True)
class CloudFacts:
    """What Tempest has to know of the cloud.

    :param identity_url: Keystone's URL with its version, as the controller sees it
    :param admin: user name, password and project of the admin
    :param image_ids: two images of containers that stay up
    :param flavor_ids: a small flavor, and a larger one that an instance can be resized to
    :param max_microversion: the newest of the compute API
    :param docker_hosts: compute hosts whose hypervisor is of type docker
    :param other_hosts: compute hosts that have another hypervisor
    :param network_extensions: aliases of Neutron's extensions
    :param public_network: ID and name of an external network, where there is one
    :param shared_network: name of a network of all projects, where there is one
    :param own_networks: whether Tempest is to make a network for each project; it gives those of
        its own tests a router, the plug-in does without
    """

    identity_url: str
    region: str
    admin: tuple[str, str, str]
    image_ids: tuple[str, str]
    flavor_ids: tuple[str, str]
    max_microversion: str
    docker_hosts: tuple[str, ...]
    other_hosts: tuple[str, ...]
    network_extensions: tuple[str, ...]
    public_network: tuple[str, str] | None
    shared_network: str | None
    own_networks: bool


def tempest_conf(facts: CloudFacts) -> str:
    """Return the text of tempest.conf."""
    sections: dict[str, dict[str, object]] = {
        "DEFAULT": {"log_file": f"{WORKSPACE}/tempest.log", "debug": False},
        "oslo_concurrency": {"lock_path": f"{WORKSPACE}/lock"},
        **_access(facts),
        "compute": _compute(facts),
        "placement": {"min_microversion": "1.0", "max_microversion": "latest"},
        "compute-feature-enabled": {
            **dict.fromkeys(CAN, True),
            **dict.fromkeys(CANNOT, False),
            "scheduler_enabled_filters": ",".join(SCHEDULER_FILTERS),
        },
        "image": {"container_formats": "docker,bare,ami,ari,aki,ovf,ova", "http_image": ""},
        "image-feature-enabled": {"import_image": False},
        **_network(facts),
        "validation": _validation(facts),
        # The driver sets the addresses.
        "scenario": {"dhcp_client": ""},
        "novadocker": {
            "image_ref": facts.image_ids[0],
            "min_hypervisors": max(1, len(facts.docker_hosts)),
            "build_timeout": BUILD_TIMEOUT_S,
        },
    }
    parser = configparser.RawConfigParser()
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_dict(sections)
    text = io.StringIO()
    parser.write(text)
    return text.getvalue()


def _access(facts: CloudFacts) -> dict[str, dict[str, object]]:
    user, password, project = facts.admin
    return {
        "auth": {
            "use_dynamic_credentials": True,
            "create_isolated_networks": facts.own_networks,
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
            "novadocker": bool(facts.docker_hosts),
        },
    }


def _compute(facts: CloudFacts) -> dict[str, object]:
    image, image_alt = facts.image_ids
    flavor, flavor_alt = facts.flavor_ids
    options: dict[str, object] = {
        "image_ref": image,
        "image_ref_alt": image_alt,
        "flavor_ref": flavor,
        "flavor_ref_alt": flavor_alt,
        "min_compute_nodes": max(1, len(facts.docker_hosts)),
        "hypervisor_type": "docker",
        "min_microversion": "2.1",
        "max_microversion": facts.max_microversion,
        "build_timeout": BUILD_TIMEOUT_S,
        "ready_wait": 0,
    }
    if not facts.own_networks and facts.shared_network:
        options["fixed_network_name"] = facts.shared_network
    if len(facts.docker_hosts) > 1:
        options["migration_source_host"], options["migration_dest_host"] = facts.docker_hosts[:2]
    if facts.other_hosts:
        # A part of a name, and only one: more kinds of hypervisors Tempest does not know.
        options["target_hosts_to_avoid"] = facts.other_hosts[0]
    return options


def _network(facts: CloudFacts) -> dict[str, dict[str, object]]:
    network: dict[str, object] = {
        "project_network_cidr": "10.100.0.0/16",
        "build_timeout": BUILD_TIMEOUT_S,
        "project_networks_reachable": False,
    }
    if facts.public_network:
        network["public_network_id"], network["floating_network_name"] = facts.public_network
    return {
        "network": network,
        "network-feature-enabled": {
            "api_extensions": ",".join(facts.network_extensions),
            "floating_ips": facts.public_network is not None,
            "ipv6": True,
            "ipv6_subnet_attributes": True,
            "port_security": "port-security" in facts.network_extensions,
        },
    }


def _validation(facts: CloudFacts) -> dict[str, object]:
    if not facts.public_network:
        # Instances are out of reach: what they do is seen in their console logs.
        return {"run_validation": False, "connect_method": "fixed"}
    return {
        "run_validation": True,
        "connect_method": "floating",
        "auth_method": "keypair",
        "image_ssh_user": "root",
        "image_alt_ssh_user": "root",
        "ssh_key_type": "ecdsa",
        "ping_timeout": PING_TIMEOUT_S,
        "ssh_timeout": SSH_TIMEOUT_S,
        "connect_timeout": 30,
    }
