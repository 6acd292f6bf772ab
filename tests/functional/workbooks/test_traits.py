# SPDX-License-Identifier: Apache-2.0
"""Placement shows as a Docker hypervisor what is one, and nothing else."""

from __future__ import annotations

import pytest

from tests.functional.workbooks.fake_cloud import DRIVERS_TRAITS, FakeCloud
from tests.functional.workbooks.in_process import Mistral

OTHERS = {"HW_CPU_X86_AVX", "CUSTOM_OF_THE_OPERATOR"}


@pytest.mark.field_case("K7.3")
def test_the_driver_s_traits_go_with_it(mistral: Mistral, cloud: FakeCloud) -> None:
    host = cloud.hosts["compute-docker-1"]
    mistral.run("novadocker.deploy", {"images": []})
    assert host.traits == OTHERS | DRIVERS_TRAITS

    run = mistral.run("novadocker.undeploy")

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert host.traits == OTHERS
    assert host.status == "enabled"


def test_what_libvirt_says_of_its_host_as_well_stays(mistral: Mistral, cloud: FakeCloud) -> None:
    host = cloud.hosts["compute-docker-1"]
    host.hypervisor_type = "QEMU"
    host.traits |= {"HW_ARCH_X86_64"}
    mistral.run("novadocker.deploy", {"images": []})

    run = mistral.run("novadocker.undeploy")

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert host.traits == OTHERS | {"HW_ARCH_X86_64"}


@pytest.mark.field_case("K7.3")
def test_a_host_that_is_put_back_keeps_none_of_them(mistral: Mistral, cloud: FakeCloud) -> None:
    host = cloud.hosts["compute-docker-1"]
    host.faults["verify_host", "apply"] = "fail"

    mistral.run("novadocker.deploy", {"images": [], "max_failed": 1})

    assert not host.configured
    assert host.traits == OTHERS
    assert cloud.hosts["compute-docker-2"].traits >= DRIVERS_TRAITS
