# SPDX-License-Identifier: Apache-2.0
"""The lab's tempest.conf says what the cloud said."""

from __future__ import annotations

import configparser
import dataclasses

from oslo_config import cfg

from lab.controlplane.config import compute
from lab.stage.tempest import conf as tempest

FACTS = tempest.CloudFacts(
    identity_url="http://controller:5000/v3",
    region="RegionOne",
    admin=("admin", "se%cret", "admin"),
    image_ids=("image-1", "image-2"),
    flavor_ids=("flavor-1", "flavor-2"),
    max_microversion="2.101",
    docker_hosts=("compute-docker-1", "compute-docker-2"),
    other_hosts=("compute-3",),
    network_extensions=("port-security", "security-group"),
    public_network=None,
    shared_network="demo",
    own_networks=False,
)


def parsed(facts: tempest.CloudFacts) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser()
    parser.read_string(tempest.tempest_conf(facts))
    return parser


def test_conf_takes_images_flavors_and_versions_from_the_cloud() -> None:
    conf = parsed(FACTS)
    assert conf["compute"]["image_ref"] == "image-1"
    assert conf["compute"]["flavor_ref_alt"] == "flavor-2"
    assert conf["compute"]["max_microversion"] == "2.101"
    assert conf["network-feature-enabled"]["api_extensions"] == "port-security,security-group"
    assert conf["novadocker"]["min_hypervisors"] == "2"
    assert conf["auth"]["admin_password"] == "se%cret"


def test_floating_ips_are_on_only_with_an_external_network() -> None:
    assert parsed(FACTS)["network-feature-enabled"]["floating_ips"] == "False"
    assert "public_network_id" not in parsed(FACTS)["network"]
    with_external = dataclasses.replace(FACTS, public_network=("net-1", "public"))
    conf = parsed(with_external)
    assert conf["network-feature-enabled"]["floating_ips"] == "True"
    assert conf["network"]["public_network_id"] == "net-1"


def test_instances_are_logged_in_to_where_an_external_network_leads_to_them() -> None:
    assert parsed(FACTS)["validation"]["run_validation"] == "False"
    conf = parsed(dataclasses.replace(FACTS, public_network=("net-1", "public")))
    assert conf["validation"]["run_validation"] == "True"
    assert conf["validation"]["connect_method"] == "floating"
    assert conf["network"]["floating_network_name"] == "public"
    assert conf["network"]["project_networks_reachable"] == "False"


def test_port_security_is_what_the_cloud_says() -> None:
    assert parsed(FACTS)["network-feature-enabled"]["port_security"] == "True"
    without = parsed(dataclasses.replace(FACTS, network_extensions=("router",)))
    assert without["network-feature-enabled"]["port_security"] == "False"


def test_filters_are_those_of_the_labs_scheduler_which_has_all_that_nova_chooses() -> None:
    from tempest import config  # its import reads the configuration of this process

    given = parsed(FACTS)["compute-feature-enabled"]["scheduler_enabled_filters"].split(",")
    assert given == list(compute.SCHEDULER_FILTERS)
    (option,) = (
        row for row in config.ComputeFeaturesGroup if row.dest == "scheduler_enabled_filters"
    )
    assert set(option.default) < set(given)


def test_servers_are_moved_between_hosts_of_docker() -> None:
    options = parsed(FACTS)["compute"]
    assert options["migration_source_host"] == "compute-docker-1"
    assert options["migration_dest_host"] == "compute-docker-2"
    alone = parsed(dataclasses.replace(FACTS, docker_hosts=("compute-docker-1",)))
    assert "migration_source_host" not in alone["compute"]
    assert alone["compute"]["min_compute_nodes"] == "1"


def test_a_cloud_without_docker_hosts_skips_the_plugin() -> None:
    conf = parsed(dataclasses.replace(FACTS, docker_hosts=()))
    assert conf["service_available"]["novadocker"] == "False"


def test_projects_share_a_network_where_they_have_none_of_their_own() -> None:
    conf = parsed(FACTS)
    assert conf["auth"]["create_isolated_networks"] == "False"
    assert conf["compute"]["fixed_network_name"] == "demo"
    conf = parsed(dataclasses.replace(FACTS, own_networks=True))
    assert conf["auth"]["create_isolated_networks"] == "True"
    assert "fixed_network_name" not in conf["compute"]


def test_hosts_with_another_hypervisor_are_avoided() -> None:
    assert parsed(FACTS)["compute"]["target_hosts_to_avoid"] == "compute-3"
    alone = parsed(dataclasses.replace(FACTS, other_hosts=()))
    assert "target_hosts_to_avoid" not in alone["compute"]


def test_each_feature_that_tempest_knows_is_decided() -> None:
    from tempest import config  # its import reads the configuration of this process

    switches = {
        option.dest for option in config.ComputeFeaturesGroup if isinstance(option, cfg.BoolOpt)
    }
    assert set(tempest.CAN) | set(tempest.CANNOT) == switches
    assert not set(tempest.CAN) & set(tempest.CANNOT)


def test_each_option_that_is_left_empty_is_one_that_tempest_knows() -> None:
    from tempest import config  # its import reads the configuration of this process

    empty = {
        f"[{group.name}] {option.dest}"
        for group, options in config._opts
        for option in options
        if group and not option.default
    }
    assert set(tempest.UNSET) - {"[scenario] dhcp_client"} <= empty
    assert parsed(FACTS)["scenario"]["dhcp_client"] == ""


def test_each_option_is_one_that_tempest_knows() -> None:
    from tempest import config  # its import reads the configuration of this process

    from tempest_plugin import config as plugin_config

    known = {
        (group.name if group else "DEFAULT", option.dest)
        for group, options in config._opts
        for option in options
    }
    known |= {("service_available", plugin_config.service_option.dest)}
    known |= {("novadocker", option.dest) for option in plugin_config.NovadockerGroup}
    known |= {("DEFAULT", "log_file"), ("DEFAULT", "debug"), ("oslo_concurrency", "lock_path")}
    conf = parsed(dataclasses.replace(FACTS, public_network=("net-1", "public")))
    given = {(section, option) for section in conf.sections() for option in conf[section]}
    given = {pair for pair in given if pair[1] not in conf.defaults()}
    assert given - known == set()
