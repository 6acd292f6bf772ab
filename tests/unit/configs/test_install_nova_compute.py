# SPDX-License-Identifier: Apache-2.0
"""install_nova_compute: secrets stay on the host, other compute hosts are left alone."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import install_nova_compute
import pytest
from library import faults, instances

from .conftest import Calls, Make, Programs

FILES = {
    "/etc/nova/nova.conf": {
        "DEFAULT": {"transport_url": "@{transport_url}", "debug": True},
        "placement": {"password": "@{passwords.nova}"},
    }
}


@pytest.fixture
def step(make_step: Make, root: pathlib.Path) -> Any:
    secrets = {"transport_url": "rabbit://u:p@c/", "passwords": {"nova": "a$b"}}
    (root / "etc/secrets.json").write_text(json.dumps(secrets))

    def make(mode: str = "apply", **more: Any) -> Any:
        settings = {
            "environment": "/opt/env",
            "packages": [],
            "files": FILES,
            "secrets_file": "/etc/secrets.json",
            "bridges": {},
            "ovsdb_manager": None,
            **more,
        }
        return make_step("install_nova_compute", mode, **settings)

    return make


def test_secrets_are_filled_in_on_the_host(step: Any) -> None:
    text = install_nova_compute.file_text(step(), FILES["/etc/nova/nova.conf"])
    assert "transport_url = rabbit://u:p@c/\ndebug = true\n" in text
    assert "password = a$$b\n" in text


@pytest.mark.parametrize(
    ("reference", "message"),
    [("@{no.such}", "has no no.such"), ("@{passwords}", "has no passwords")],
)
def test_a_missing_secret_is_named(step: Any, reference: Any, message: Any) -> None:
    with pytest.raises(faults.StepFailed, match=message):
        install_nova_compute.file_text(step(), {"x": {"y": reference}})


def test_a_reference_without_a_file_is_refused(step: Any) -> None:
    with pytest.raises(faults.StepFailed, match="is not set"):
        install_nova_compute.file_text(step(secrets_file=None), {"x": {"y": "@{z}"}})


@pytest.mark.parametrize("text", ["", '{"z": "s3cr3t"'])
def test_secrets_that_cannot_be_read_are_named_and_not_shown(
    step: Any, root: pathlib.Path, text: str
) -> None:
    (root / "etc/secrets.json").write_text(text)
    with pytest.raises(faults.StepFailed, match=r"/etc/secrets.json is not JSON: mend") as caught:
        install_nova_compute.file_text(step(), {"x": {"y": "@{z}"}})
    assert "s3cr3t" not in str(caught.value)


def test_a_secret_can_not_smuggle_options_in(step: Any, root: pathlib.Path) -> None:
    (root / "etc/secrets.json").write_text(json.dumps({"z": "1\n[DEFAULT]\nx=y"}))
    with pytest.raises(faults.StepFailed, match=r"x\.y is more than one line") as caught:
        install_nova_compute.file_text(step(), {"x": {"y": "@{z}"}})
    assert "[DEFAULT]" not in str(caught.value)


@pytest.mark.parametrize("name", ["/etc/passwd", "/etc/novax/a", "nova.conf"])
def test_files_outside_of_nova_and_neutron_are_refused(step: Any, name: str) -> None:
    with pytest.raises(faults.StepFailed, match="neither below"):
        install_nova_compute.converge(step(files={name: {}}))


def test_a_compute_host_of_somebody_else_is_left_alone(step: Any, programs: Programs) -> None:
    programs("systemctl", "printf 'LoadState=loaded\\nActiveState=active\\nMainPID=0\\n'")
    with pytest.raises(faults.StepFailed, match=r"novadocker\.deploy instead"):
        install_nova_compute.converge(step())


def test_the_units_start_the_environments_agents(step: Any) -> None:
    files = install_nova_compute.environment_files(step())
    unit = files["/etc/systemd/system/neutron-openvswitch-agent.service"]
    assert "User=neutron\n" in unit
    assert "ExecStart=/opt/env/bin/neutron-openvswitch-agent --config-file /etc/neutron/" in unit
    assert "/opt/env/bin/privsep-helper *" in files["/etc/sudoers.d/nova"]


def test_bridges_are_made_once_and_on_record(
    step: Any, programs: Programs, calls: Calls, tmp_path: pathlib.Path
) -> None:
    programs("ovs-vsctl", f"case $1 in list-br) cat {tmp_path}/br 2>/dev/null; true;; esac")
    wanted = {"br-data": {"port": "eth1", "datapath_type": "netdev"}}
    run = step(bridges=wanted, ovsdb_manager="ptcp:6640:127.0.0.1")
    assert install_nova_compute.make_bridges(run) is True
    made = "-- add-br br-data -- set Bridge br-data datapath_type=netdev -- add-port br-data eth1"
    assert f"ovs-vsctl {made}" in calls()
    assert "ovs-vsctl set-manager ptcp:6640:127.0.0.1" in calls()
    assert run.record["bridges_before"] == []
    (tmp_path / "br").write_text("br-data\n")
    again = step(bridges=wanted)
    assert install_nova_compute.make_bridges(again) is False


@pytest.mark.parametrize("kind", ["containers", "virtual machines"])
def test_nothing_is_taken_from_under_instances(
    step: Any,
    root: pathlib.Path,
    programs: Programs,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    programs("systemctl", 'echo "$@" >> "$0.calls"')
    made = step()
    made.remember_each("made", ["/var/lib/nova"])
    (root / "var/lib/nova/instances").mkdir(parents=True)
    living = ["nova-1"] if kind == "containers" else []
    monkeypatch.setattr(instances, "instance_containers", lambda _step: living)
    if not living:
        domains = root / "run/libvirt/qemu"
        domains.mkdir(parents=True)
        mark = "http://openstack.org/xmlns/libvirt/nova/1.1"
        (domains / "instance-00000001.xml").write_text(f"<domstatus {mark}/>")
    with pytest.raises(faults.StepFailed, match=kind):
        install_nova_compute.undo(step("undo"))
    assert (root / "var/lib/nova/instances").is_dir()


@pytest.mark.parametrize("files", [{"x]\n[y": {"a": 1}}, {"x": {"a\nb": 1}}, {"x": {"a": "1\r"}}])
def test_no_part_of_an_option_begins_another(step: Any, files: Any) -> None:
    with pytest.raises(faults.StepFailed, match=r"^files"):
        install_nova_compute.file_text(step(), files)
