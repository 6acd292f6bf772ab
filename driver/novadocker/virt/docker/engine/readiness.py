# SPDX-License-Identifier: Apache-2.0
"""Checks of the engine when nova-compute starts: it answers, and can do what options ask for."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from oslo_log import log as logging

from novadocker import exceptions
from novadocker.virt.docker.engine import client, lxcfs, sandbox

LOG = logging.getLogger(__name__)

ENGINE_WAIT_S = 60


def await_engine(engine: client.Engine) -> None:
    """Wait until the engine answers.

    :raises EngineUnreachable: the engine does not answer in time
    """
    deadline = time.monotonic() + ENGINE_WAIT_S
    while True:
        try:
            version: dict[str, Any] = engine.call("version")
        except exceptions.EngineUnreachable as err:
            if time.monotonic() > deadline:
                LOG.error(
                    "Giving up on the Docker Engine; is it started, and is the user of "
                    "nova-compute allowed to use it? 'novadocker-check' tells more. %s",
                    err,
                )
                raise
            time.sleep(1)
        else:
            LOG.info(
                "Docker Engine %(version)s, API %(api)s, at %(url)s",
                {"version": version["Version"], "api": version["ApiVersion"], "url": engine.url},
            )
            return


def require_lxcfs(path: str | None) -> None:
    """Verify that lxcfs is mounted, if instances are to get its files.

    :param path: the option lxcfs_path
    :raises NotReady: lxcfs is not mounted, or does not answer
    """
    fault = lxcfs.fault(path) if path else None
    if fault:
        raise exceptions.NotReady(
            f"[docker]lxcfs_path: {fault}; install and start lxcfs, or unset the option"
        )


def require_runtime(info: Mapping[str, Any], wanted: str | None) -> None:
    """Verify that the engine has the runtime that instances are to be started with.

    :param info: the engine's answer to ``info``
    :param wanted: the option runtime
    :raises NotReady: the engine does not have it
    """
    known = info.get("Runtimes") or {}
    # A full name of a containerd runtime, or a path, need not be configured in the engine.
    if wanted and wanted not in known and not wanted.startswith(("io.containerd.", "/")):
        raise exceptions.NotReady(
            f"[docker]runtime is {wanted!r}, which Docker does not have: it has "
            f"{', '.join(sorted(known))}"
        )


def disk_quota(sandboxes: sandbox.Sandboxes, wanted: str) -> bool:
    """Return whether root disks are limited to the flavor's size.

    :param wanted: the option disk_quota
    :raises NotReady: the option requires it, and the engine cannot do it
    """
    if wanted == "off":
        return False
    try:
        able = sandboxes.limits_file_systems()
    except exceptions.EngineUnreachable:
        raise
    except exceptions.EngineError as err:
        if wanted == "require":
            raise exceptions.NotReady(
                "[docker]disk_quota is 'require', and Docker failed to tell whether it can limit "
                f"file systems: {err}"
            ) from err
        LOG.warning("Docker failed to tell whether it can limit file systems: %s", err)
        able = False
    if not able and wanted == "require":
        raise exceptions.NotReady(
            "[docker]disk_quota is 'require', and Docker cannot limit file systems here: that "
            "takes overlay2 on XFS mounted with pquota (or btrfs, zfs)"
        )
    LOG.info("Root disks are %s to the flavor's size", "limited" if able else "not limited")
    return able
