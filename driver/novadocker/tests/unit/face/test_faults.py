# SPDX-License-Identifier: Apache-2.0
"""Whose exception Nova sees."""

from __future__ import annotations

from typing import Any

import pytest
from nova import exception

from novadocker import exceptions
from novadocker.tests import make
from novadocker.virt.docker.face import faults

NO = exceptions.VolumeBusy("no")
NO_USER = "unable to find user nosuch: no matching entries in passwd file"


@pytest.mark.parametrize(
    ("table", "ours", "novas"),
    [
        (faults.EXISTING, exceptions.NotFound("no"), exception.InstanceNotFound),
        (faults.EXISTING, exceptions.NetworkError("no"), exception.VirtualInterfacePlugException),
        (faults.EXISTING, exceptions.FlavorRefused("no"), exception.InvalidInput),
        (faults.EXISTING, exceptions.VolumeRefused("no"), faults.VolumeUnacceptable),
        (faults.EXISTING, NO, exception.InvalidVolume),
        (faults.EXISTING, exceptions.PasswordNotSet("no"), exception.SetAdminPasswdNotSupported),
        (faults.BUILDING, exceptions.NetworkError("no"), exception.VirtualInterfaceCreateException),
        (faults.BUILDING, exceptions.EngineError(NO_USER, 500), exception.ImageUnacceptable),
        (faults.FETCHING, exceptions.HostFull("no"), exception.ComputeResourcesUnavailable),
        (faults.BUILDING, exceptions.HostFull("no"), exception.ComputeResourcesUnavailable),
        (faults.FETCHING, exceptions.FlavorTooSmall(1, 2), exception.FlavorDiskSmallerThanImage),
        (faults.LEAVING, exceptions.FlavorRefused("no"), exception.InstanceFaultRollback),
        (faults.LEAVING, exceptions.NotMoved("no"), exception.InstanceFaultRollback),
        (faults.LEAVING, exceptions.NotFound("no"), exception.InstanceNotFound),
        (faults.PLUGGING, exceptions.EngineError("no"), exception.VirtualInterfacePlugException),
        (faults.UNPLUGGING, NO, exception.VirtualInterfaceUnplugException),
        (faults.DETACHING_PORT, NO, exception.InterfaceDetachFailed),
        (faults.DETACHING, NO, exception.DeviceDetachFailed),
        (faults.detaching("/dev/vdb"), NO, exception.DeviceDetachFailed),
        (faults.starting("host"), exceptions.NotReady("no"), exception.InvalidConfiguration),
        (
            faults.starting("host"),
            exceptions.EngineUnreachable(""),
            exception.HypervisorUnavailable,
        ),
    ],
)
def test_the_most_special_row_counts(table: Any, ours: Exception, novas: type) -> None:
    with pytest.raises(novas) as raised, faults.translated(make.instance(), table):
        raise ours
    assert type(raised.value) is novas
    assert raised.value.__cause__ is ours


@pytest.mark.parametrize(
    ("table", "ours"),
    [
        # For Nova, the instance would have been deleted while it was built.
        (faults.BUILDING, exceptions.NotFound("no")),
        (faults.BUILDING, exceptions.EngineError("no", 500)),
        # A fault of the host: Nova tries another one.
        (faults.BUILDING, exceptions.EngineError("OCI runtime create failed: no", 400)),
        (faults.EXISTING, exceptions.EngineError("no", 400)),
        (faults.EXISTING, exceptions.NotReady("no")),
        (faults.DETACHING, exceptions.NotFound("no")),
        # It is not the image's command that could not be started: there is no container yet.
        (faults.FETCHING, exceptions.EngineError("no", 400)),
        (faults.EXISTING, OSError("no")),
    ],
)
def test_what_is_in_no_table_stays_what_it_is(table: Any, ours: Exception) -> None:
    with pytest.raises(type(ours)) as raised, faults.translated(make.instance(), table):
        raise ours
    assert raised.value is ours


@pytest.mark.parametrize(
    ("known", "told"), [(None, make.IMAGE_ID), ("another", "another"), ("", "")]
)
def test_a_refused_image_is_named(known: str | None, told: str) -> None:
    with pytest.raises(exception.ImageUnacceptable) as raised, faults.translated(make.instance()):
        raise exceptions.ImageRefused("no", known)
    assert raised.value.kwargs["image_id"] == told


def test_without_an_instance_a_refused_image_has_the_name_that_is_known() -> None:
    with (
        pytest.raises(exception.ImageUnacceptable) as raised,
        faults.translated(None, faults.FETCHING),
    ):
        raise exceptions.ImageRefused("no", "another")
    assert raised.value.kwargs["image_id"] == "another"
