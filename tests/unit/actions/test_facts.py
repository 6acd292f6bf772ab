# SPDX-License-Identifier: Apache-2.0
"""What is taken over of what a host says, and how much of it."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from novadocker_actions.plan import facts, identity, rows
from novadocker_actions.plan.rows import HostRow, Pending

DEBIAN = {
    "hostname": "compute-1",
    "os": {"id": "debian", "version": "13", "name": "Debian GNU/Linux 13 (trixie)"},
    "nova": {
        "unit": "nova-compute.service",
        "version": "34.0.0",
        "compute_driver": "libvirt.LibvirtDriver",
        "host": "compute-1",
        "compute_id": None,
        "python": "/usr/bin/python3",
    },
    "docker": {"installed": False, "version": None},
    "novadocker": {"driver_version": None},
    "notes": ["\N{REPLACEMENT CHARACTER} is no letter"] * 20,
}


def test_only_what_is_judged_is_kept_of_a_description() -> None:
    assert facts.judged("describe_host", DEBIAN) == {
        "hostname": "compute-1",
        "nova": {
            "unit": "nova-compute.service",
            "version": "34.0.0",
            "compute_driver": "libvirt.LibvirtDriver",
            "host": "compute-1",
        },
        "docker": {"installed": False},
        "novadocker": {},
    }


def test_a_host_whose_nova_cannot_be_asked_is_not_taken_for_one_without_nova() -> None:
    told = {"hostname": "compute-1", "nova": {"unit": "nova-compute.service", "host": None}}

    fault = identity.fault_of("compute-1", facts.judged("describe_host", told))

    assert "nova-compute.service of the host that answers as compute-1 cannot be asked" in fault


def test_answers_on_images_are_kept_one_by_one() -> None:
    answers = {"app:1": {"ok": True, "digest": "sha256:1", "size": 3}, "notes": ["slow"]}

    assert facts.judged("check_images", answers) == {"app:1": {"ok": True, "digest": "sha256:1"}}


@pytest.mark.parametrize(
    ("step", "told", "fault"),
    [
        ("describe_host", ["a"], "its facts are of type list"),
        ("describe_host", {"nova": "34"}, "nova of its facts is of type str"),
        ("describe_host", {"nova": {"version": 34}}, "nova.version of its facts is of type int"),
        ("describe_host", {"truncated": True}, "its facts were too long to be sent"),
        ("check_images", {"app:1": True}, "app:1 of its facts is of type bool"),
        ("export_image", {"sha512": {}}, "sha512 of its facts is of type dict"),
    ],
)
def test_what_is_not_of_its_type_is_told(step: str, told: Any, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        facts.judged(step, told)


def test_nobody_s_facts_take_room() -> None:
    assert facts.judged("verify_host", {"a": 1}) == {"a": 1}
    assert facts.judged("verify_host", {"a": "x" * 2000}) == {}
    assert len(facts.judged("describe_host", {"hostname": "x" * 10_000})["hostname"]) == 400


def test_three_thousand_described_hosts_stay_within_a_field_of_mistral() -> None:
    told = []
    for number in range(3000):
        run = HostRow(f"rack-{number:04}-docker.region-one.cloud.test", "compute", "s" * 36)
        run.pending = Pending(["describe_host"], "check", "p" * 32, "c" * 36, 1)
        step = {"step": "describe_host", "ok": True, "facts": DEBIAN, "log": "/var/log/é"}
        rows.judge(run, {"deploy_result": "ok"}, {"steps": [step]})
        told.append(run)

    # So Mistral measures (mistral.db.v2.sqlalchemy.models.validate_long_type_length).
    assert sys.getsizeof(str({"rows": rows.write(told)})) < 1024 * 1024


FOREIGN = "\N{GRINNING FACE}\N{HORIZONTAL ELLIPSIS}\ud800"


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("describe_host", {"hostname": FOREIGN, "nova": {"version": "34" + FOREIGN * 200}}),
        ("check_images", {FOREIGN: {"ok": False, "reason": FOREIGN}}),
        ("verify_host", {"engine": {FOREIGN: [FOREIGN, 3, None]}}),
    ],
)
def test_a_foreign_character_of_a_fact_does_not_widen_the_field_that_it_is_in(
    step: str, told: dict[str, Any]
) -> None:
    kept = facts.judged(step, told)

    assert kept
    assert str(kept).isascii()
    assert sys.getsizeof(str(kept)) < 2000
