#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# nova-compute is no longer a service of this host: nothing of Nova is on it but what is kolla's.
set -euo pipefail

rm -f /lib/systemd/system/nova-compute.service /etc/sudoers.d/nova
systemctl daemon-reload
sed -i '/^u nova /d' /usr/lib/sysusers.d/openstack.conf
sed -i '/[ /]nova\(\/\| \|$\)/d' /usr/lib/tmpfiles.d/openstack.conf
/opt/openstack/bin/python -m pip --quiet uninstall --yes nova
rm -rf /opt/openstack/site-packages/nova /opt/openstack/etc/nova
rm -rf /etc/nova /var/lib/nova /var/log/nova
userdel nova
