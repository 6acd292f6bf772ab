# SPDX-License-Identifier: Apache-2.0
"""Units, accounts and the data that the programs on the hosts are given."""

from __future__ import annotations

import configparser
import importlib.machinery
import importlib.util
import ipaddress
import json

import pytest

from lab.controlplane import accounts, contents, infrastructure, migrations, units
from lab.controlplane.config import network
from lab.controlplane.site import APIS, DASHBOARD_PORT, DATABASES, Api, new_cloud
from lab.settings import OVN, OVS

CLOUD = new_cloud("controller")
ALL_UNITS = (
    *units.controller_units(OVS),
    *units.compute_units(OVS),
    *(set(units.controller_units(OVN)) - set(units.controller_units(OVS))),
)


def parsed(unit: units.Unit) -> dict[str, str]:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(unit.render())
    return dict(parser["Service"])


def test_units_have_the_names_that_operators_know() -> None:
    names = {unit.name for unit in ALL_UNITS}
    assert names >= {
        *("keystone", "glance-api", "placement-api", "nova-api", "nova-conductor"),
        *("nova-scheduler", "neutron-api", "heat-api", "heat-api-cfn", "heat-engine"),
        *("mistral-api", "mistral-engine", "mistral-executor"),
        *("nova-compute", "neutron-openvswitch-agent"),
    }
    assert len(names) == len(ALL_UNITS)


def test_ovn_has_no_agents_of_neutron_and_nobody_whom_they_could_call() -> None:
    names = {x.name for x in (*units.controller_units(OVN), *units.compute_units(OVN))}
    assert not names & {"neutron-openvswitch-agent", "neutron-rpc-server"}
    assert "neutron-ovn-maintenance-worker" in names


@pytest.mark.parametrize("unit", ALL_UNITS, ids=lambda unit: unit.name)
def test_no_service_runs_as_root_or_without_byte_code(unit: units.Unit) -> None:
    service = parsed(unit)
    assert service["User"] in accounts.USERS
    assert "PYTHONDONTWRITEBYTECODE" not in unit.render()
    assert service["ExecStart"].startswith("/opt/openstack/bin/")


def test_apis_tell_when_they_answer_and_others_are_just_started() -> None:
    for unit in ALL_UNITS:
        assert parsed(unit)["Type"] == ("notify" if unit in units.API_UNITS else "exec")


def test_the_dashboard_has_an_environment_a_user_and_a_port_of_its_own() -> None:
    service = parsed(units.DASHBOARD)
    assert service["ExecStart"].startswith("/opt/horizon/bin/")
    assert service["User"] == "horizon"
    assert DASHBOARD_PORT not in [api.port for api in APIS]
    assert f"--port {DASHBOARD_PORT} " in service["ExecStart"]
    wanted = json.loads(contents.identity(CLOUD))
    assert ["dashboard", "horizon", f"http://controller:{DASHBOARD_PORT}/"] in wanted["endpoints"]


def test_nobody_waits_for_the_dashboard() -> None:
    assert units.DASHBOARD not in ALL_UNITS


def test_the_scheduler_waits_for_the_catalog() -> None:
    scheduler = next(unit for unit in ALL_UNITS if unit.name == "nova-scheduler")
    assert "keystone.service" in scheduler.render()


def test_nothing_waits_for_rabbitmq_which_is_slow() -> None:
    assert not [unit.name for unit in ALL_UNITS if "rabbitmq" in unit.render()]


def test_only_the_deaf_agent_is_killed_and_that_is_no_failure() -> None:
    killed = [unit.name for unit in ALL_UNITS if parsed(unit).get("KillSignal") == "SIGKILL"]
    assert killed == ["neutron-openvswitch-agent"]
    agent = next(unit for unit in ALL_UNITS if unit.name == killed[0])
    assert parsed(agent)["SuccessExitStatus"] == "SIGKILL"
    assert parsed(agent)["LimitNOFILE"] == "65536"


@pytest.mark.parametrize("api", APIS, ids=lambda api: api.unit)
def test_wsgi_modules_are_there_and_ports_are_served_once(api: Api) -> None:
    assert [other.port for other in APIS].count(api.port) == 1
    package = api.module.partition(".")[0]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed here")
    # A module is looked for without being imported: some change threads when they are.
    spec = importlib.util.find_spec(package)
    assert spec is not None
    for part in api.module.split(".")[1:]:
        assert spec is not None
        places = list(spec.submodule_search_locations or [])
        spec = importlib.machinery.PathFinder.find_spec(part, places)
    assert spec is not None


def test_users_and_directories_are_declared_for_systemd() -> None:
    for user in accounts.USERS:
        assert f"u {user} - " in accounts.sysusers()
    lines = accounts.tmpfiles(["nova"]).splitlines()
    assert "d /etc/nova 0750 root nova" in lines
    assert "d /var/lib/nova/instances 0755 nova nova" in lines
    assert not [line for line in lines if "glance" in line]


def test_sudo_allows_privsep_helper_and_nothing_else() -> None:
    rules = [line for line in accounts.sudoers("nova").splitlines() if "NOPASSWD" in line]
    assert rules == ["nova ALL=(root) NOPASSWD: /opt/openstack/bin/privsep-helper *"]


def test_every_database_is_made_for_the_loopback_only() -> None:
    sql = infrastructure.databases_sql(CLOUD)
    for name in DATABASES:
        assert f"CREATE DATABASE IF NOT EXISTS {name};" in sql
    assert "'%'" not in sql
    assert "bind-address = 127.0.0.1" in infrastructure.MARIADB


def test_every_service_has_its_schema_made_by_its_own_user() -> None:
    chains = json.loads(migrations.chains(CLOUD))
    assert set(chains) == set(accounts.USERS)
    for chain in chains.values():
        for command in chain:
            assert command["argv"][0] in migrations.ENTRY_POINTS
            assert 0 in command["accept"]
    last = chains["nova"][-1]
    assert last["argv"][:3] == ["nova-manage", "cell_v2", "create_cell"]
    assert migrations.CELL_EXISTS in last["accept"]


def test_the_catalog_has_every_api_but_no_volumes() -> None:
    wanted = json.loads(contents.identity(CLOUD))
    types = {entry[0] for entry in wanted["endpoints"]}
    assert types == {api.service for api in APIS} - {"identity"} | {"dashboard"}
    assert not [name for name in types if "volume" in name or "block" in name]
    assert "mistral" in wanted["accounts"]


def test_instances_get_addresses_that_no_host_has() -> None:
    wanted = json.loads(contents.cloud_contents("10.89.0.0/24", "10.89.0.1"))
    subnet = wanted["networks"][0]["subnet"]
    pool = subnet["allocation_pools"][0]
    assert ipaddress.ip_address(pool["start"]) > ipaddress.ip_address("10.89.0.50")
    assert ipaddress.ip_address(pool["end"]) in ipaddress.ip_network("10.89.0.0/24")
    assert [row["name"] for row in wanted["networks"]] == ["demo"]


def test_only_what_routes_has_an_external_network() -> None:
    wanted = json.loads(contents.cloud_contents("10.89.0.0/24", "10.89.0.1", OVN))
    public = wanted["networks"][1]
    assert public["is_router_external"]
    # Tenants' networks are VLANs too: its number is none of theirs.
    ranges = network.ml2_conf(CLOUD)["ml2_type_vlan"]["network_vlan_ranges"]
    assert public["provider_segmentation_id"] < int(str(ranges).split(":")[1])
    pool = public["subnet"]["allocation_pools"][0]
    assert pool["start"] > public["subnet"]["gateway_ip"]
