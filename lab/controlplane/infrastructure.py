# SPDX-License-Identifier: Apache-2.0
"""Configuration of the parts that come from Debian: MariaDB and RabbitMQ."""

from __future__ import annotations

from lab.controlplane.site import DATABASES, Cloud

MARIADB = """\
[mysqld]
bind-address = 127.0.0.1
skip-name-resolve
max_connections = 600
character-set-server = utf8mb3
collation-server = utf8mb3_general_ci
innodb_buffer_pool_size = 128M
innodb_log_file_size = 48M
# A lab may lose its last second when the machine loses its power.
innodb_flush_log_at_trx_commit = 2
innodb_flush_method = O_DIRECT_NO_FSYNC
performance_schema = off
"""

# The runtime's own schedulers do not spin while they wait, and its ports are the lab's only.
RABBITMQ_ENV = """\
NODENAME=rabbit@localhost
RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none"
ERL_EPMD_ADDRESS=127.0.0.1
"""


def rabbitmq_conf(cloud: Cloud) -> str:
    """Return /etc/rabbitmq/rabbitmq.conf; the user is made at the first start."""
    return (
        "listeners.tcp.default = 5672\n"
        "default_user = openstack\n"
        f"default_pass = {cloud.passwords['rabbit']}\n"
        "vm_memory_high_watermark.absolute = 512MB\n"
        "disk_free_limit.absolute = 100MB\n"
        "log.console.level = warning\n"
    )


# At boot it competes with twenty other services, and all of them wait for it in the end.
RABBITMQ_PRIORITY = """\
[Service]
Nice=-5
"""

RABBITMQ_ADVANCED = "[{kernel, [{inet_dist_use_interface, {127,0,0,1}}]}].\n"


def databases_sql(cloud: Cloud) -> str:
    """Return the statements that make the databases and the services' account."""
    password = cloud.passwords["database"]
    lines = [f"CREATE DATABASE IF NOT EXISTS {name};" for name in DATABASES]
    for host in ("127.0.0.1", "localhost"):
        lines += [
            f"CREATE USER IF NOT EXISTS 'openstack'@'{host}' IDENTIFIED BY '{password}';",
            f"GRANT ALL PRIVILEGES ON *.* TO 'openstack'@'{host}';",
        ]
    return "\n".join(lines) + "\n"
