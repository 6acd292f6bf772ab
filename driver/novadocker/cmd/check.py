# SPDX-License-Identifier: Apache-2.0
"""``novadocker-check``: report what is missing on this host, and the remedy.

Run it as the user of nova-compute, with nova-compute's ``--config-file`` and ``--config-dir``
arguments.
"""

from __future__ import annotations

import dataclasses
import getpass
import logging
import os
import shlex
import shutil
import socket
import sys
import warnings
from collections.abc import Callable
from typing import Any

from novadocker import _alias

MIN_API = (1, 41)


@dataclasses.dataclass(frozen=True)
class Finding:
    """Result of one check.

    :param what: what was checked
    :param state: ``ok``, ``warning`` or ``error``
    :param message: what the check has found
    :param remedy: what to do about it
    """

    what: str
    state: str
    message: str
    remedy: str = ""


def loading() -> Finding:
    """Check whether Nova can find the driver under the name in its configuration."""
    if _alias.installed():
        return Finding(
            "loading", "ok", "novadocker.pth makes the driver known to every interpreter"
        )
    return Finding(
        "loading",
        "warning",
        "novadocker.pth is not effective: nova-compute cannot load the driver",
        "start nova-compute-docker in the place of nova-compute, or reinstall nova-docker into the "
        "environment of nova-compute",
    )


def importing() -> Finding:
    """Check whether the driver can be imported as Nova does it."""
    _alias.install()
    try:
        import nova.version
        from nova.virt import driver as base

        module = __import__("nova.virt.novadocker.virt.docker", fromlist=["DockerDriver"])
    except ImportError as err:
        return Finding(
            "import", "error", str(err), "install nova-docker into the environment of nova-compute"
        )
    if not issubclass(module.DockerDriver, base.ComputeDriver):
        return Finding("import", "error", "DockerDriver is no driver", "reinstall nova-docker")
    return Finding("import", "ok", f"imported under Nova {nova.version.version_string()}")


def configuration(conf: Any) -> list[Finding]:
    """Check whether the configuration chooses the driver."""
    wanted = "novadocker.virt.docker.DockerDriver"
    if conf.compute_driver == wanted:
        return [Finding("configuration", "ok", f"compute_driver = {wanted}")]
    return [
        Finding(
            "configuration",
            "warning",
            f"compute_driver is {conf.compute_driver}",
            f"set [DEFAULT]compute_driver = {wanted}; give this command nova-compute's arguments",
        )
    ]


def engine(conf: Any) -> list[Finding]:
    """Check whether Docker answers, and is set up as Neutron needs it."""
    from novadocker import exceptions
    from novadocker.virt.docker.engine import client

    try:
        connection = client.Engine.from_conf(conf)
    except exceptions.DriverError as err:
        return [Finding("docker", "error", str(err), "set [docker]host_url")]
    try:
        version = connection.call("version")
        info = connection.call("info")
    except exceptions.EngineError as err:
        return [
            Finding(
                "docker",
                "error",
                str(err),
                f"start docker; add {getpass.getuser()} to the group docker and log in anew; or "
                "set [docker]host_url",
            )
        ]
    api = tuple(int(part) for part in version["ApiVersion"].split("."))
    findings = [
        Finding("docker", "ok", f"Docker Engine {version['Version']}, API {version['ApiVersion']}")
        if api >= MIN_API
        else Finding(
            "docker", "error", f"API {version['ApiVersion']}", "install Docker 20.10 or later"
        )
    ]
    if not info.get("LiveRestoreEnabled"):
        findings.append(
            Finding(
                "live-restore",
                "warning",
                "a restart of Docker stops all instances",
                'set "live-restore": true in /etc/docker/daemon.json',
            )
        )
    if os.path.exists("/sys/class/net/docker0"):
        findings.append(
            Finding(
                "bridge",
                "warning",
                "Docker has a bridge of its own, and rules in the packet filter",
                'set "bridge": "none", "iptables": false and "ip6tables": false in '
                "/etc/docker/daemon.json: they disturb Neutron",
            )
        )
    findings += _system_calls(conf, version, info)
    return [*findings, *abilities(conf, info), *_processors(conf, info), *_devices(conf, info)]


def abilities(conf: Any, info: dict[str, Any]) -> list[Finding]:
    """Check which of the driver's options the engine supports."""
    from novadocker import exceptions
    from novadocker.virt.docker.engine import readiness, seccomp

    options = info.get("SecurityOptions") or []
    remapped = any("userns" in option for option in options)
    status = dict(info.get("DriverStatus") or [])
    backing = status.get("Backing Filesystem") or status.get("driver-type") or ""
    storage = f"{info.get('Driver', '?')} on {backing}" if backing else info.get("Driver", "?")
    limited = storage in ("overlay2 on xfs", "btrfs", "zfs")
    results = [
        Finding("cgroups", "ok", f"version {info.get('CgroupVersion', '1')}"),
        Finding("user namespace", "ok", "root in an instance is another user on the host")
        if remapped
        else Finding(
            "user namespace",
            "warning",
            "root in an instance is root on the host, with the capabilities that are left, and "
            "shares the host's limits of root"
            + (
                "; it writes into the host's audit log"
                if conf.docker.seccomp_profile != seccomp.OWN
                and "AUDIT_WRITE" in conf.docker.default_capabilities
                else ""
            ),
            'set "userns-remap": "default" in /etc/docker/daemon.json before there are instances: '
            "the engine then begins with an empty data directory",
        ),
    ]
    if limited or conf.docker.disk_quota != "require":
        told = "can be limited, on XFS with the mount option pquota" if limited else "have no limit"
        results.append(
            Finding(
                "disk quota",
                # Only the driver tries it out.
                "ok" if conf.docker.disk_quota == "off" else "warning",
                f"root disks {told}: {storage}",
                "see in nova-compute's log whether root disks are limited"
                if limited
                else "put Docker's data directory on XFS mounted with pquota, or set "
                "[docker]disk_quota = off",
            )
        )
    else:
        results.append(
            Finding(
                "disk quota",
                "error",
                f"[docker]disk_quota is 'require', and root disks have no limit: {storage}",
                "put Docker's data directory on XFS mounted with pquota",
            )
        )
    try:
        readiness.require_runtime(info, conf.docker.runtime)
    except exceptions.NotReady as err:
        results.append(
            Finding("runtime", "error", str(err), "configure it in /etc/docker/daemon.json")
        )
    return results


def _system_calls(conf: Any, version: dict[str, Any], info: dict[str, Any]) -> list[Finding]:
    from novadocker.virt.docker.engine import system_calls

    lacks = system_calls.lacks(version, info, conf.docker.seccomp_profile)
    return [Finding("seccomp", "warning", lack.told, lack.remedy) for lack in lacks] or [
        Finding("seccomp", "ok", f"[docker]seccomp_profile is {conf.docker.seccomp_profile}")
    ]


def _processors(conf: Any, info: dict[str, Any]) -> list[Finding]:
    from novadocker import exceptions
    from novadocker.virt.docker.host import cpu_sets, cpus

    try:
        divided = cpu_sets.of_host(conf, bool(info.get("CPUSet")))
    except exceptions.NotReady as err:
        return [Finding("processors", "error", str(err), "correct [compute] in nova.conf")]
    if not divided.are_divided:
        return []
    told = f"dedicated: {cpus.text(divided.dedicated) or 'none'}, shared: " + (
        cpus.text(divided.for_others) or "none"
    )
    return [Finding("processors", "ok", told)]


def _devices(conf: Any, info: dict[str, Any]) -> list[Finding]:
    from novadocker import exceptions
    from novadocker.virt.docker.host import devices

    kinds = conf.docker.cdi_kinds
    if not kinds:
        return []
    of_host = devices.Devices(conf.docker.cdi_spec_dirs, kinds)
    try:
        of_host.check(info.get("CDISpecDirs") or ())
    except exceptions.NotReady as err:
        return [Finding("devices", "error", str(err), "correct it in nova.conf")]
    offered, refused, _ = of_host.examined(bool(info.get("CDISpecDirs")))
    return [
        Finding("devices", "ok", ", ".join(sorted(offered)))
        if offered
        else Finding(
            "devices",
            "warning",
            f"there is none of {', '.join(kinds)}",
            f"have a specification in {' or '.join(conf.docker.cdi_spec_dirs)}",
        ),
        *(
            Finding("devices", "warning", f"{what} is not offered: {reason}")
            for what, reason in sorted(refused.items())
        ),
    ]


def shared_limits(conf: Any) -> list[Finding]:
    """Check the limits of the kernel that instances share with each other and with the host."""
    from novadocker.virt.docker.host import shared_limits as limits_of

    low = limits_of.too_low()
    if not low:
        return [Finding("shared limits", "ok", "the host's limits are for many instances")]
    return [
        Finding(
            "shared limits",
            "warning",
            limit.told(value, conf.docker.pids_limit),
            f"set {limit.sysctl} = {limit.remedy} in /etc/sysctl.d",
        )
        for limit, value in low
    ]


def ovsdb(conf: Any) -> list[Finding]:
    """Check whether Open vSwitch's database listens where os-vif expects it."""
    import os_vif

    os_vif.initialize()
    connection = conf.os_vif_ovs.ovsdb_connection
    kind, _, where = connection.partition(":")
    try:
        if kind == "unix":
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(where)
        else:
            host, _, port = where.rpartition(":")
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, ValueError) as err:
        return [
            Finding(
                "ovsdb",
                "error",
                f"{connection}: {err}",
                "start Open vSwitch and Neutron's agent, 'ovs-vsctl set-manager "
                "ptcp:6640:127.0.0.1', or set [os_vif_ovs]ovsdb_connection",
            )
        ]
    return [Finding("ovsdb", "ok", connection)]


def privileges(conf: Any) -> list[Finding]:  # noqa: ARG001 - all checks are called alike
    """Check whether the privileged helper can be started."""
    from novadocker import exceptions
    from novadocker.virt.docker.network import wiring

    try:
        wiring.Wiring().prepare()
    except exceptions.NetworkError as err:
        return [
            Finding(
                "privileges",
                "error",
                str(err),
                "allow privsep-helper by sudo and set [novadocker_privileged]helper_command = sudo "
                "privsep-helper --config-file /etc/nova/nova.conf, or install "
                "rootwrap's docker.filters",
            )
        ]
    return [Finding("privileges", "ok", "the privileged helper runs")]


def lxcfs(conf: Any) -> list[Finding]:
    """Check whether lxcfs is mounted, if instances are to get its files."""
    from novadocker.virt.docker.engine import lxcfs

    path = conf.docker.lxcfs_path
    if not path:
        return []
    fault = lxcfs.fault(path)
    if fault is None:
        return [Finding("lxcfs", "ok", path)]
    remedy = "install and start lxcfs, or unset [docker]lxcfs_path"
    return [Finding("lxcfs", "error", fault, remedy)]


def volumes(conf: Any) -> list[Finding]:
    """Check whether volumes can be mounted, where instances may have any."""
    from oslo_privsep.daemon import FailedToDropPrivileges

    from novadocker import exceptions
    from novadocker.privsep import mounts
    from novadocker.virt.docker.volumes import mounted as volumes_of

    allowed = conf.docker.volume_file_systems
    if not allowed:
        return []
    wanted = {program for file_system in allowed for program in mounts.programs(file_system)}
    missing = [
        program
        for program in sorted(wanted)
        if shutil.which(program, path=mounts.search_path()) is None
    ]
    results = [
        Finding(
            "volumes",
            "error",
            f"no program {', '.join(missing)} in {mounts.search_path()}",
            "install util-linux, e2fsprogs and xfsprogs, or shorten [docker]volume_file_systems",
        )
        if missing
        else Finding("volumes", "ok", f"{', '.join(allowed)} can be made and mounted")
    ]
    try:
        base = volumes_of.base(conf.state_path)
        os.makedirs(base, exist_ok=True)
        mounts.share(base)
        shared = mounts.holding(base, mounts.table()).shared
    except (exceptions.VolumeError, OSError, FailedToDropPrivileges) as err:
        shared, why = False, str(err)
    else:
        why = f"what is mounted below {base} is not seen elsewhere"
    if not shared:
        results.append(
            Finding(
                "propagation",
                "error",
                why,
                "run nova-compute and its privileged helper in the Docker Engine's mount "
                "namespace (no PrivateMounts, PrivateTmp or ProtectSystem in its unit)",
            )
        )
    return results


def shares(conf: Any) -> list[Finding]:
    """Check whether shares can be mounted, where instances may have any."""
    from novadocker.privsep import mounts

    if not conf.docker.share_protocols:
        return []
    remedy = "" if mounts.nfs_program() else "install nfs-common or nfs-utils, for its mount.nfs"
    return [Finding("shares", "error" if remedy else "ok", "mounted by mount.nfs", remedy)]


# In the order in which their findings are printed.
CHECKS: tuple[Callable[[Any], list[Finding]], ...] = (
    configuration,
    engine,
    shared_limits,
    ovsdb,
    privileges,
    lxcfs,
    volumes,
    shares,
)


def findings(arguments: list[str]) -> list[Finding]:
    """Return the findings of all checks that can be made.

    :param arguments: command line arguments of nova-compute
    """
    begun = [loading(), importing()]
    if begun[-1].state == "error":
        return begun
    from nova import utils
    from oslo_log import log
    from oslo_privsep import priv_context

    from novadocker import conf

    options = conf.load()
    log.register_options(options)
    # Under nova-compute's name its configuration files are read.
    options(
        arguments,
        project="nova",
        prog="nova-compute",
        usage="novadocker-check [--config-file PATH] [--config-dir DIR] [OPTION ...]",
        description="Report what nova-compute is missing on this host, and the remedy.",
        epilog="The options are those of nova-compute; run it as the user of nova-compute.",
    )
    priv_context.init(root_helper=shlex.split(utils.get_root_helper()))
    return [*begun, *(finding for check in CHECKS for finding in check(options))]


def main() -> None:
    """Print the findings; exit with 1 when there is an error among them."""
    # Deprecation warnings of Nova's libraries are of no use here.
    warnings.simplefilter("ignore")
    logging.getLogger("oslo.privsep").setLevel(logging.ERROR)
    results = findings(sys.argv[1:])
    for finding in results:
        print(f"{finding.state.upper():8}{finding.what:14}{finding.message}")
        if finding.remedy:
            print(f"{'':8}{'':14}-> {finding.remedy}")
    sys.exit(1 if any(finding.state == "error" for finding in results) else 0)
