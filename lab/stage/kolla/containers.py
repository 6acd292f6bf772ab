# SPDX-License-Identifier: Apache-2.0
"""The containers of a host that kolla-ansible has deployed: their parameters, files and units."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

# What all of its containers have (docker_common_options and the defaults of their services).
ENVIRONMENT = {"KOLLA_CONFIG_STRATEGY": "COPY_ALWAYS", "TZ": "UTC"}
COMMON = ("--network", "host", "--ulimit", "nofile=1048576:1048576")
HEALTH = (
    *("--health-interval", "30s", "--health-retries", "3"),
    *("--health-start-period", "5s", "--health-timeout", "30s"),
)
RABBITMQ_PORT = 5672
GRACEFUL_TIMEOUT_S = 60
CONFIG_FILES = "/var/lib/kolla/config_files"
LOGS = "kolla_logs:/var/log/kolla/"

UNIT = """\
[Unit]
Description=docker {unit}
After=docker.service
Wants=docker.service
PartOf=kolla.target
StartLimitInterval=120
StartLimitBurst=10

[Service]
ExecStart=/usr/bin/docker start -a {name}
ExecStop=/usr/bin/docker stop {name} -t {graceful}
Restart=always
RestartSec=11
SuccessExitStatus=143

[Install]
WantedBy=multi-user.target
"""


@dataclasses.dataclass(frozen=True)
class Container:
    """One container, and the unit that starts it.

    :param name: of the container
    :param image: its image
    :param config: its config.json
    :param volumes: beside the folder of its configuration, as ``docker create`` takes them
    :param environment: beside what all have
    :param options: further ones of ``docker create``
    """

    name: str
    image: str
    config: Mapping[str, Any]
    volumes: Sequence[str] = ()
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    options: Sequence[str] = ()

    @property
    def service(self) -> str:
        """Return its name as a service of kolla's."""
        return self.name.replace("_", "-")

    @property
    def folder(self) -> str:
        """Return where the host has its configuration."""
        return f"/etc/kolla/{self.service}"

    @property
    def unit(self) -> str:
        """Return the name of its unit."""
        return f"kolla-{self.name}-container.service"

    def unit_file(self) -> str:
        """Return the text of its unit."""
        return UNIT.format(unit=self.unit, name=self.name, graceful=GRACEFUL_TIMEOUT_S)

    def config_json(self) -> str:
        """Return the text of its config.json."""
        return json.dumps(self.config, indent=4) + "\n"

    def create_command(self) -> list[str]:
        """Return the command that creates it."""
        environment = {**ENVIRONMENT, "KOLLA_SERVICE_NAME": self.service, **self.environment}
        volumes = (f"{self.folder}/:{CONFIG_FILES}/:ro", *self.volumes)
        return [
            *("docker", "create", "--name", self.name, *COMMON, *self.options),
            *(part for name, value in environment.items() for part in ("--env", f"{name}={value}")),
            *(part for volume in volumes for part in ("--volume", volume)),
            self.image,
        ]


def _config_file(name: str, dest: str) -> dict[str, str]:
    source = f"{CONFIG_FILES}/{name}"
    return {"source": source, "dest": dest, "owner": "nova", "perm": "0600"}


NOVA_COMPUTE = Container(
    "nova_compute",
    "kolla/nova-compute:2026.2",
    {
        "command": "nova-compute",
        "config_files": [
            _config_file("nova.conf", "/etc/nova/nova.conf"),
            _config_file("compute_id", "/var/lib/nova/compute_id"),
        ],
        "directories": [
            {"path": "/var/log/kolla", "owner": "root:kolla", "perm": "2775"},
            {"path": "/var/log/kolla/nova", "owner": "nova:kolla", "perm": "2775"},
        ],
        "permissions": [
            {"path": "/var/log/kolla/nova/*.log", "owner": "nova:kolla", "perm": "0664"},
            {"path": "/var/lib/nova", "owner": "nova:nova", "recurse": True},
        ],
    },
    volumes=(
        *("/lib/modules:/lib/modules:ro", "/run:/run:shared", "/dev:/dev", LOGS),
        *("libvirtd:/var/lib/libvirt", "nova_compute:/var/lib/nova/"),
    ),
    environment={"LIBGUESTFS_BACKEND": "direct"},
    options=(
        *("--privileged", "--ipc", "host"),
        *("--health-cmd", f"healthcheck_port nova-compute {RABBITMQ_PORT}", *HEALTH),
    ),
)
# It has nothing to do: who converts a host must not touch it.
CRON = Container(
    "cron",
    "kolla/cron:2026.2",
    {"command": "sleep infinity", "config_files": []},
    volumes=(LOGS,),
)
CONTAINERS = (NOVA_COMPUTE, CRON)
