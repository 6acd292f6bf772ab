# SPDX-License-Identifier: Apache-2.0
"""SSH as an operator has it: from the controller, and from the machine, to root on every host."""

from __future__ import annotations

from collections.abc import Mapping

from lab.hosts.access import Host, HostFile
from lab.machine import parallel
from lab.settings import LabSettings

PRIVATE_KEY = "/root/.ssh/id_ed25519"
HOST_KEY = "/etc/ssh/ssh_host_ed25519_key.pub"
CONTROLLER_CONFIG = "Host *\n    User root\n    BatchMode yes\n"


def set_up(settings: LabSettings, hosts: Mapping[str, Host]) -> None:
    """Let the controller and the machine reach every host as root, with known host keys."""
    controller = hosts[settings.controller.name]
    private, public = _key_pair(controller)
    host_keys = parallel.each(hosts.values(), lambda host: _accept(host, public))
    known = known_hosts(
        {
            host.name: (host.address, key)
            for host, key in zip(hosts.values(), host_keys, strict=True)
        }
    )
    controller.put_files(
        [
            HostFile("/root/.ssh/known_hosts", known, 0o600),
            HostFile("/root/.ssh/config", CONTROLLER_CONFIG, 0o600),
        ]
    )
    folder = settings.ssh_dir
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    key_path, known_path = folder / "id_ed25519", folder / "known_hosts"
    key_path.unlink(missing_ok=True)
    key_path.touch(mode=0o600)
    key_path.write_text(private)
    known_path.write_text(known)
    addresses = {host.name: host.address for host in hosts.values()}
    settings.ssh_config.write_text(ssh_config(addresses, str(key_path), str(known_path)))


def forward_command(settings: LabSettings, name: str, port: int, remote_port: int) -> list[str]:
    """Return the command that leads from a port of the machine's loopback to one of a host's.

    :param name: of the host
    :param port: on the machine
    :param remote_port: on the host
    """
    return [
        *("ssh", "-F", str(settings.ssh_config), "-N", "-o", "ExitOnForwardFailure=yes"),
        *("-L", f"127.0.0.1:{port}:127.0.0.1:{remote_port}", name),
    ]


def ssh_config(addresses: Mapping[str, str], key: str, known: str) -> str:
    """Return an ssh configuration with an alias for each host.

    :param addresses: by host name
    :param key: path of the private key
    :param known: path of the known host keys
    """
    return "".join(
        f"Host {name}\n    HostName {address}\n    HostKeyAlias {name}\n    User root\n"
        f"    IdentityFile {key}\n    IdentitiesOnly yes\n    UserKnownHostsFile {known}\n"
        for name, address in addresses.items()
    )


def known_hosts(hosts: Mapping[str, tuple[str, str]]) -> str:
    """Return the lines of a known_hosts file.

    :param hosts: address and public host key by host name
    """
    return "".join(
        f"{name},{address} {' '.join(key.split()[:2])}\n"
        for name, (address, key) in sorted(hosts.items())
    )


def _key_pair(controller: Host) -> tuple[str, str]:
    make = f'ssh-keygen -q -t ed25519 -N "" -C novadocker-lab -f {PRIVATE_KEY}'
    script = f"[ -f {PRIVATE_KEY} ] || {make}"
    controller.run(["sh", "-c", script])
    return controller.read(PRIVATE_KEY), controller.read(f"{PRIVATE_KEY}.pub")


def _accept(host: Host, public: str) -> str:
    """Let the key in on a host and return the host's own host key."""
    script = (
        "umask 077; touch /root/.ssh/authorized_keys;"
        ' read -r key; grep -qxF "$key" /root/.ssh/authorized_keys ||'
        f" printf '%s\\n' \"$key\" >>/root/.ssh/authorized_keys; cat {HOST_KEY}"
    )
    return host.run(["sh", "-c", script], input=public).stdout
