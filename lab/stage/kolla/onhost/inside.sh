#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Inside the image that is being built: users as kolla has them, and an environment that has moved.
set -euo pipefail

venv=/var/lib/kolla/venv
groupadd --gid 42400 kolla
# Of the host's package: an image of kolla's has no such group.
groupdel docker
groupmod --gid 42436 nova
usermod --uid 42436 --append --groups kolla --shell /usr/sbin/nologin nova

grep -lI '^#!/opt/openstack/bin/' "$venv"/bin/* |
    xargs sed -i "1s|^#!/opt/openstack/bin/|#!$venv/bin/|"
ln -sfn "$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
    "$venv/site-packages"

install -d -o root -g root -m 0755 /etc/nova
cp -r "$venv"/etc/nova/* /etc/nova/
sed -i "s|^exec_dirs=|exec_dirs=$venv/bin,|" /etc/nova/rootwrap.conf
rm -rf /var/lib/nova
install -d -o nova -g nova /var/lib/nova
install -d -g kolla -m 2775 /var/log/kolla
chmod 0755 /usr/local/bin/{kolla_set_configs,kolla_start,healthcheck_port}
chmod 0440 /etc/sudoers.d/kolla
