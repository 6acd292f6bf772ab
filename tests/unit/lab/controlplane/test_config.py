# SPDX-License-Identifier: Apache-2.0
"""What the services' configuration files hold, and where secrets are not."""

from __future__ import annotations

import configparser
import json
import pathlib
import subprocess
import urllib.parse
from collections.abc import Sequence
from typing import Any

import pytest
from oslo_config import cfg

from lab.controlplane import contents, inifile, provision, roles, site
from lab.controlplane.config import compute, identity, image, network, orchestration, workflow
from lab.hosts import networks as docker_network
from lab.hosts.access import Host, HostFile
from lab.settings import LabSettings

CLOUD = site.new_cloud("controller")


def by_path(files: list[HostFile]) -> dict[str, HostFile]:
    return {file.path: file for file in files}


def parsed(file: HostFile) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    assert isinstance(file.data, str)
    parser.read_string(file.data)
    return parser


def test_options_are_written_as_oslo_config_reads_them(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x.conf"
    sections: inifile.Sections = {
        "DEFAULT": {"url": "http://a/?b=c", "flag": True},
        "empty": {},
        "s": {"names": ("a", "b"), "count": 3},
    }
    path.write_text(inifile.render(sections))
    conf = cfg.ConfigOpts()
    conf.register_opts([cfg.StrOpt("url"), cfg.BoolOpt("flag")])
    conf.register_opts([cfg.ListOpt("names"), cfg.IntOpt("count")], group="s")
    conf([], default_config_files=[str(path)])
    assert (conf.url, conf.flag, conf.s.names, conf.s.count) == (
        "http://a/?b=c",
        True,
        ["a", "b"],
        3,
    )
    assert "[empty]" not in path.read_text()


@pytest.mark.parametrize("prog", ["nova-compute", "glance-api"])
def test_a_drop_in_wins_over_the_files_of_a_service_that_names_none(
    prog: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = prog.partition("-")[0]
    home = tmp_path / f".{project}"
    (home / f"{prog}.conf.d").mkdir(parents=True)
    (home / f"{project}.conf").write_text("[DEFAULT]\nwho = project\n")
    (home / f"{prog}.conf").write_text("[DEFAULT]\nwho = program\n")
    (home / f"{prog}.conf.d" / "90-x.conf").write_text("[DEFAULT]\nwho = drop-in\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    conf = cfg.ConfigOpts()
    conf.register_opt(cfg.StrOpt("who"))
    conf([], project=project, prog=prog)
    assert conf.who == "drop-in"


def test_the_compute_unit_names_no_file_so_that_drop_ins_win() -> None:
    unit = by_path(roles.compute_files(CLOUD))["/lib/systemd/system/nova-compute.service"]
    assert "--config" not in str(unit.data)


def test_a_compute_host_has_no_database() -> None:
    # By Nova's own rule; what it knows comes from the conductor.
    for file in roles.compute_files(CLOUD):
        assert "mysql" not in str(file.data), file.path
        assert CLOUD.passwords["admin"] not in str(file.data), file.path
        assert CLOUD.passwords["database"] not in str(file.data), file.path


def test_neutron_knows_how_much_a_frame_may_carry() -> None:
    narrow = site.new_cloud("controller", mtu=1400)
    assert network.controller_neutron_conf(narrow)["DEFAULT"]["global_physnet_mtu"] == 1400


def test_a_compute_host_starts_with_the_stand_in_driver() -> None:
    files = by_path(roles.compute_files(CLOUD))
    conf = parsed(files["/etc/nova/nova-compute.conf"])
    module, _, name = conf["DEFAULT"]["compute_driver"].partition(".")
    driver = next(file for path, file in files.items() if path.endswith(f"nova/virt/{module}.py"))
    assert f"class {name}(" in str(driver.data)


def test_glance_takes_all_stock_formats_but_docker() -> None:
    formats = image.glance_api_conf(CLOUD)["image_format"]["container_formats"]
    assert "docker" not in str(formats)
    assert {"bare", "ova", "compressed"} <= set(image.CONTAINER_FORMATS)


def test_every_service_takes_expired_tokens_with_a_service_token() -> None:
    for conf in (
        compute.controller_nova_conf(CLOUD),
        image.glance_api_conf(CLOUD),
        orchestration.heat_conf(CLOUD),
        workflow.mistral_conf(CLOUD),
        network.controller_neutron_conf(CLOUD),
    ):
        section = conf["keystone_authtoken"]
        assert section["service_token_roles"] == "service"
        assert section["service_token_roles_required"] is True
    assert "token_expiration" not in identity.keystone_conf(CLOUD)["token"]


def test_the_executor_can_log_in_for_a_service_token() -> None:
    section = workflow.mistral_conf(CLOUD)["keystone_authtoken"]
    assert {"auth_url", "username", "password", "project_name", "user_domain_name"} <= set(section)


def test_heat_has_a_domain_for_its_users_and_a_key_of_32_characters() -> None:
    conf = orchestration.heat_conf(CLOUD)
    assert conf["DEFAULT"]["stack_user_domain_name"] == "heat"
    assert len(str(conf["DEFAULT"]["auth_encryption_key"])) == 32
    assert conf["ec2authtoken"]["endpoint_override"] == "http://controller:5000"


def test_the_trustee_of_heat_has_no_project_of_its_own() -> None:
    trustee = orchestration.heat_conf(CLOUD)["trustee"]
    assert not [name for name in trustee if "project" in name]
    assert trustee["username"] == "heat"


def test_open_vswitch_is_reached_without_being_root() -> None:
    assert compute.compute_nova_conf(CLOUD)["vif_plug_ovs"]["ovsdb_connection"] == compute.OVSDB
    assert network.openvswitch_agent_ini()["ovs"]["ovsdb_connection"] == compute.OVSDB
    assert network.openvswitch_agent_ini()["ovs"]["datapath_type"] == "netdev"


def test_files_with_secrets_are_for_root_and_their_service_only() -> None:
    secrets = [*CLOUD.passwords.values(), CLOUD.heat_key]
    for file in (*roles.controller_files(CLOUD), *roles.compute_files(CLOUD)):
        if any(secret in str(file.data) for secret in secrets):
            assert file.mode & 0o007 == 0, file.path


def test_no_file_is_there_twice() -> None:
    for files in (roles.controller_files(CLOUD), roles.compute_files(CLOUD)):
        assert len(by_path(files)) == len(files)


def test_the_cloud_is_kept_as_json_and_found_again() -> None:
    assert site.cloud_from_json(CLOUD.to_json()) == CLOUD
    assert json.loads(CLOUD.to_json())["transport_url"] == CLOUD.transport_url


def test_two_clouds_share_no_secret() -> None:
    other = site.new_cloud("controller")
    assert not set(other.passwords.values()) & set(CLOUD.passwords.values())


def test_the_openrc_can_name_an_address() -> None:
    assert "OS_AUTH_URL=http://10.0.0.1:5000/v3\n" in site.openrc(site.new_cloud("10.0.0.1"))


class BareController(Host):
    """A controller that nothing was put on yet."""

    def run(self, argv: Sequence[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(argv, 1, "", "no such file")


def test_what_the_machine_reads_has_addresses_as_it_cannot_resolve_the_labs_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(docker_network, "uplink_mtu", lambda: 1500)
    made = provision.controller_cloud(BareController("controller", LabSettings()))
    endpoints = json.loads(contents.identity(made))["endpoints"]
    urls = [url for _service, _name, url in endpoints]
    # Keystone has its own there already, and the dashboard is none of the APIs.
    assert len(urls) == len(site.APIS) - 1 + 1
    address = LabSettings().controller.address
    assert {urllib.parse.urlsplit(url).hostname for url in [*urls, made.url("identity")]} == {
        address
    }
    assert f"OS_AUTH_URL=http://{address}:5000/v3\n" in site.openrc(made)
