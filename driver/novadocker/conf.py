# SPDX-License-Identifier: Apache-2.0
"""Options of the section ``[docker]`` in nova.conf.

Options that the retired community driver had keep their names.
"""

from __future__ import annotations

from typing import Any

from oslo_config import cfg, types

GROUP = cfg.OptGroup("docker", title="Docker containers as instances")

# Docker's own default set, spelt out so that an operator can shorten it. Without AUDIT_WRITE
# the sshd of most images ends sessions that have a terminal.
DEFAULT_CAPABILITIES = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
]

# Those that the engine knows.
ULIMITS = (
    *("core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc"),
    *("rss", "rtprio", "rttime", "sigpending", "stack"),
)

OPTS: list[cfg.Opt] = [
    # the engine
    cfg.StrOpt(
        "host_url",
        default="unix:///var/run/docker.sock",
        help="Where the Docker Engine listens: unix:// or tcp://HOST:PORT, which is always TLS. "
        "Nothing else is accepted.",
    ),
    cfg.IntOpt(
        "api_timeout", default=60, min=1, help="Seconds to wait for an answer of the engine."
    ),
    cfg.IntOpt(
        "load_timeout",
        default=1800,
        min=1,
        help="Seconds that the engine may be silent while an image is loaded, saved or committed.",
    ),
    cfg.BoolOpt(
        "tls_verify",
        default=True,
        help="Verify the engine's certificate. Off is for experiments only.",
    ),
    cfg.StrOpt(
        "ca_file",
        help="CA certificate which the engine's certificate is verified against. Default: those "
        "that the host trusts.",
    ),
    cfg.StrOpt("cert_file", help="Client certificate shown to the engine."),
    cfg.StrOpt("key_file", help="Private key of the client certificate."),
    cfg.StrOpt(
        "node_name",
        help="Name of this hypervisor. Default: [DEFAULT]host. A host that had another driver "
        "keeps the name that Nova knows it by (openstack hypervisor list), or nova-compute does "
        "not start.",
    ),
    cfg.StrOpt(
        "root_directory", help="Docker's data directory. Default: as the engine reports it."
    ),
    # isolation
    cfg.ListOpt(
        "default_capabilities",
        default=DEFAULT_CAPABILITIES,
        help="All the capabilities of a container; every other one is dropped.",
    ),
    cfg.BoolOpt(
        "allow_privileged",
        default=False,
        help="Start instances privileged whose flavor has the extra spec docker:privileged=true.",
    ),
    cfg.BoolOpt(
        "no_new_privileges",
        default=True,
        help="Set no_new_privs: set-uid programs and file capabilities give nothing.",
    ),
    cfg.IntOpt(
        "pids_limit",
        default=4096,
        min=0,
        help="Most processes and threads of an instance; 0 is no limit. The flavor's extra spec "
        "docker:pids_limit can only lower it.",
    ),
    cfg.ListOpt(
        "ulimits",
        default=["core=0", "nofile=16384", "sigpending=4096", "msgqueue=409600"],
        item_type=types.String(regex=f"^({'|'.join(ULIMITS)})=[0-9]+(:[0-9]+)?$"),
        help="Limits of each process of an instance, as NAME=SOFT or NAME=SOFT:HARD, in the place "
        "of the engine's. Cores are off, as the host's core_pattern may pipe them into a program "
        "that runs as the host's root; some programs close as many files as they may have; signals "
        "that wait and queues of messages (in bytes) are counted for a user, who may be the same "
        "one in all instances. An engine without CAP_SYS_RESOURCE sets none above its own.",
    ),
    cfg.IntOpt(
        "shm_size_mb",
        default=64,
        min=1,
        help="Size of /dev/shm in MiB, which counts as the instance's memory. The flavor's extra "
        "spec docker:shm_size_mb asks for another.",
    ),
    cfg.StrOpt(
        "runtime", help="OCI runtime to start instances with (runsc, kata); default: the engine's."
    ),
    cfg.Opt(
        "seccomp_profile",
        type=types.String(regex="^(own|engine|/.+)$"),
        default="own",
        help="Which system calls instances may make. own: by the driver's filter, whatever the age "
        "of Docker: without io_uring, and with sockets of the families unix, inet, inet6, netlink "
        "and packet alone, none of them of the host's audit log. 32-bit programs of x86 that make "
        "sockets by socketcall, as those of glibc, make none. engine: by Docker's filter, which is "
        "as old as Docker is. Otherwise the path of a file with a seccomp profile. Instances that "
        "there are get another filter by a hard reboot.",
    ),
    cfg.StrOpt(
        "lxcfs_path",
        help="Where lxcfs is mounted (/var/lib/lxcfs). Instances then get its files in the place "
        "of those below /proc that tell of the whole host: memory, processors, load, uptime. "
        "Default: they see the host's.",
    ),
    # devices
    cfg.ListOpt(
        "cdi_kinds",
        default=[],
        item_type=types.String(
            regex=r"^[A-Za-z][A-Za-z0-9_.-]*[A-Za-z0-9]/[A-Za-z][A-Za-z0-9_-]*$"
        ),
        help="Kinds of devices (vendor.com/class) that instances may have, of those that the "
        "host's specifications by the Container Device Interface (CDI) tell of. Placement has them "
        "as CUSTOM_CDI_VENDOR_COM_CLASS: a resource class, which flavors ask for, and a trait of "
        "the host. Each device is one instance's alone. Who has a device talks to the host's "
        "kernel driver for it. Default: none.",
    ),
    cfg.ListOpt(
        "cdi_spec_dirs",
        default=["/etc/cdi", "/var/run/cdi"],
        help="Directories of CDI specifications; of two that tell of one device, that in the later "
        "directory counts. What others than root may write is not read. Where Docker knows CDI "
        "itself, its own option of this name has to be the same.",
    ),
    # the workload
    cfg.BoolOpt(
        "tty",
        default=False,
        help="Give every workload a terminal, of which the host has some thousands for all. The "
        "flavor's extra spec docker:tty=true asks for one where the option is off. Their input is "
        "kept open in any case, so that a shell does not end.",
    ),
    cfg.BoolOpt(
        "init",
        default=False,
        help="Run the workload below a small init (Docker's) that reaps orphaned processes.",
    ),
    cfg.IntOpt(
        "stop_timeout_cap",
        default=10,
        min=0,
        help="Most seconds that a stop waits for a workload to end by itself; Nova's own "
        "shutdown_timeout is meant for virtual machines.",
    ),
    cfg.IntOpt(
        "health_check_interval",
        default=30,
        min=0,
        help="Least seconds between two health checks of an instance, which its image asks for "
        "(HEALTHCHECK), also while it starts; 0 runs none. Instances keep what they were made "
        "with. Each takes the engine some time of the host's, besides what "
        "the flavor limits.",
    ),
    cfg.IntOpt(
        "console_lines",
        default=5000,
        min=1,
        help="Most lines of a console log that are read from the engine.",
    ),
    cfg.ListOpt(
        "console_proxies",
        default=[],
        item_type=types.String(),
        help="Addresses, or networks as ADDRESS/BITS, that nova-serialproxy connects from to the "
        "consoles of instances, at [serial_console]proxyclient_address. Others are not let in. "
        "Default: anybody who reaches that address, within 30 seconds of each question of Nova's, "
        "once.",
    ),
    cfg.StrOpt(
        "log_max_size",
        default="10m",
        regex="^[1-9][0-9]*[kmg]?$",
        help="Largest file of what an instance writes to its console log, in bytes or with one of "
        "k, m, g. When it is full another one is begun. They take space of Docker's data "
        "directory besides the instance's disk.",
    ),
    cfg.IntOpt(
        "log_max_files",
        default=3,
        min=1,
        help="Most files of an instance's console log; the oldest one is deleted for a new one.",
    ),
    cfg.BoolOpt(
        "inject_key",
        default=True,
        help="Write the key pair's public key to /root/.ssh/authorized_keys.",
    ),
    cfg.BoolOpt(
        "inject_password",
        default=False,
        help="Set root's password at boot (needs chpasswd in the image).",
    ),
    cfg.BoolOpt(
        "metadata_environment",
        default=True,
        help="Give the server's metadata to the workload as environment variables.",
    ),
    # images
    cfg.IntOpt(
        "max_image_size_gb",
        default=20,
        min=1,
        help="Largest image, packed or unpacked, that is accepted. Should be the same on all "
        "hosts: an instance that has grown above it makes no snapshot, is not shelved and does not "
        "move to another host.",
    ),
    cfg.StrOpt(
        "image_spool_dir",
        help="Directory for images on their way from Glance to the engine and back, perhaps a "
        "shared one: what is in novadocker-HOST below it is nova-compute's own and is deleted when "
        "it starts, all else is left alone. 512 MiB of its file system stay free, and of Docker's. "
        "Default: the directory novadocker/spool in state_path.",
    ),
    cfg.StrOpt(
        "shared_directory",
        help="Directory of image archives named by their Glance id, tried before Glance. They "
        "are checked as if they had come from Glance, and have to have its checksum.",
    ),
    cfg.IntOpt(
        "snapshot_flatten_layers",
        default=64,
        min=1,
        help="A snapshot of an image with at least this many layers is stored as one layer.",
    ),
    cfg.BoolOpt(
        "snapshot_freeze",
        default=True,
        help="Freeze a running instance while the engine measures and commits what it has "
        "written: some seconds a gigabyte, and the snapshot is of one moment. Off, it goes on: "
        "files that it writes meanwhile may be cut in the snapshot, and what it writes after it "
        "was measured takes space of the engine's, past max_image_size_gb.",
    ),
    cfg.StrOpt(
        "disk_quota",
        default="auto",
        choices=["auto", "require", "off"],
        help="Limit the root disk to the flavor's size: where the engine can (auto), or "
        "nova-compute does not start where it cannot (require), or never (off).",
    ),
    # volumes
    cfg.ListOpt(
        "volume_file_systems",
        default=[],
        item_type=types.String(choices=("ext4", "xfs")),
        help="File systems that volumes of instances may have; the first one is made on blank "
        "volumes. With none, instances get no volumes. The host's kernel mounts what is on a "
        "volume, and a tenant may have written it byte by byte on a virtual machine: a fault in "
        "the kernel's code for these file systems is then a way into the host.",
    ),
    # shares
    cfg.ListOpt(
        "share_protocols",
        default=[],
        item_type=types.String(choices=("NFS",)),
        help="Protocols of Manila's shares that instances may have, at /shares/<tag>. With none, "
        "they get no shares. The host's kernel talks to the share's server, and needs mount.nfs; "
        "more options of the mounts are in [libvirt]nfs_mount_options.",
    ),
    # the network
    cfg.StrOpt(
        "tx_checksum",
        default="auto",
        choices=["auto", "on", "off"],
        help="Transmit checksum offload of instances' interfaces. Auto is off on Open vSwitch's "
        "user-space datapath, which would drop what it is not offered complete, and on elsewhere.",
    ),
]


def register(conf: cfg.ConfigOpts) -> None:
    """Register the section in a configuration. Idempotent."""
    conf.register_group(GROUP)
    conf.register_opts(OPTS, group=GROUP)


def list_opts() -> list[tuple[str, list[cfg.Opt]]]:
    """Return the options, for oslo.config's sample generator."""
    return [(GROUP.name, OPTS)]


def load() -> Any:
    """Register the section in Nova's configuration.

    :return: Nova's ``CONF``
    """
    import nova.conf

    register(nova.conf.CONF)
    return nova.conf.CONF
