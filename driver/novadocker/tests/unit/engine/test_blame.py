# SPDX-License-Identifier: Apache-2.0
"""Whose fault it is. The messages are those of real engines and runtimes."""

from __future__ import annotations

import pytest

from novadocker.virt.docker.engine import blame

RUNC = (
    "failed to create shim task: OCI runtime create failed: runc create failed: unable to start "
    "container process: "
)
OLD_RUNC = "OCI runtime create failed: container_linux.go:380: starting container process caused: "


@pytest.mark.parametrize(
    ("told", "wrong"),
    [
        (
            f'{RUNC}exec: "nosuch": executable file not found in $PATH: unknown',
            'exec: "nosuch": executable file not found in $PATH',
        ),
        (
            f'{OLD_RUNC}exec: "nosuch": executable file not found in $PATH: unknown',
            'exec: "nosuch": executable file not found in $PATH',
        ),
        (
            f'{RUNC}exec: "/no/such": stat /no/such: no such file or directory: unknown',
            'exec: "/no/such": stat /no/such: no such file or directory',
        ),
        (
            f'{RUNC}exec: "/noexec": permission denied: unknown',
            'exec: "/noexec": permission denied',
        ),
        (
            "OCI runtime create failed: crun: executable file `x` not found in $PATH: No such file",
            "executable file `x` not found in $PATH",
        ),
        (
            "unable to find user nosuch: no matching entries in passwd file",
            "unable to find user nosuch: no matching entries in passwd file",
        ),
        (
            "unable to find group x: no matching entries in group file",
            "unable to find group x: no matching entries in group file",
        ),
        (
            "uids and gids must be in range 0-2147483647",
            "uids and gids must be in range 0-2147483647",
        ),
        (
            "the working directory 'x' is invalid, it needs to be an absolute path",
            "the working directory 'x' is invalid, it needs to be an absolute path",
        ),
        ("Cannot mkdir: /afile is not a directory", "Cannot mkdir: /afile is not a directory"),
        (
            "lstat /var/lib/docker/overlay2/cfd4/merged/afile/x: not a directory",
            "lstat /afile/x: not a directory",
        ),
    ],
)
def test_what_an_image_lacks_is_told_without_the_hosts_paths(told: str, wrong: str) -> None:
    assert blame.of_the_image(told) == wrong


@pytest.mark.parametrize(
    "told",
    [
        "CPU cfs quota can not be less than 1ms (i.e. 1000)",
        "Unknown runtime specified runsc",
        "OCI runtime create failed: unable to retrieve OCI runtime error (open /run/x/log.json: no "
        'such file or directory): exec: "runc": executable file not found in $PATH: unknown',
        'failed to start shim: exec: "containerd-shim-runc-v2": executable file not found in $PATH',
        f"{RUNC}error during container init: error setting rlimits for ready process: error "
        "setting rlimit type 7: operation not permitted: unknown",
        f"{RUNC}unable to apply cgroup configuration: no space left on device: unknown",
        f"{RUNC}can't get final child's PID from pipe: EOF: unknown",
        "error while mounting /var/lib/lxcfs/proc/uptime: transport endpoint is not connected",
    ],
)
def test_all_else_is_the_hosts(told: str) -> None:
    assert blame.of_the_image(told) is None
