#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Layer "controller": database, message queue, cache and OVN's databases.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive

printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 0755 /usr/sbin/policy-rc.d
apt-get -o Dir::Cache::archives=/mnt/cache/apt install -y --no-install-recommends \
    mariadb-server rabbitmq-server memcached ovn-central dropbear-bin
rm /usr/sbin/policy-rc.d

systemctl disable --quiet ovn-central.service ovn-northd.service ovn-ovsdb-server-nb.service \
    ovn-ovsdb-server-sb.service
rm -rf /var/log/mysql /tmp/* /var/tmp/*
