#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Layer "node": a Debian host that boots as a container, before anyone installed a service on it.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive

install -D -m 0755 /mnt/boot /usr/local/lib/novadocker-lab/boot

# Non-namespaced sysctls, kernel modules and consoles belong to the machine.
systemctl mask --quiet systemd-modules-load.service systemd-sysctl.service systemd-udevd.service \
    systemd-udev-trigger.service systemd-firstboot.service getty.target console-getty.service \
    systemd-remount-fs.service sys-kernel-debug.mount sys-kernel-tracing.mount \
    dev-hugepages.mount dev-mqueue.mount sys-fs-fuse-connections.mount \
    systemd-networkd.service systemd-resolved.service systemd-timesyncd.service \
    apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
    dpkg-db-backup.timer
systemctl set-default --quiet multi-user.target
# For those who want them: OVN instead of Neutron's agents, and a container's own /proc.
systemctl disable --quiet ovn-host.service ovn-controller.service lxcfs.service

# ed25519 keys only, made at the first boot: RSA keys double the start of many nodes.
rm -f /etc/ssh/ssh_host_*
cat >/etc/ssh/sshd_config.d/lab.conf <<'END'
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
UseDNS no
END
cat >/etc/systemd/system/ssh-host-key.service <<'END'
[Unit]
Description=Make this host's SSH key
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key
Before=ssh.service

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key

[Install]
WantedBy=multi-user.target
END
systemctl enable --quiet ssh-host-key.service ssh.service
install -d -m 0700 /root/.ssh

mkdir -p /etc/systemd/journald.conf.d
cat >/etc/systemd/journald.conf.d/lab.conf <<'END'
[Journal]
Storage=volatile
RuntimeMaxUse=48M
RateLimitIntervalSec=0
END

cat >/etc/pip.conf <<'END'
[global]
no-index = true
find-links = /srv/wheelhouse
disable-pip-version-check = true
END
mkdir -p /srv/wheelhouse

# A certificate authority of the lab and the one certificate that it ever signs; its key is gone
# with this build.
mkdir -p /usr/local/share/ca-certificates /etc/novadocker-lab
ca=$(mktemp -d)
openssl req -x509 -newkey rsa:3072 -nodes -sha256 -days 3650 -subj "/CN=novadocker lab CA" \
    -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign" \
    -keyout "$ca/ca.key" -out /usr/local/share/ca-certificates/novadocker-lab.crt
openssl req -newkey rsa:2048 -nodes -sha256 -subj "/CN=controller" \
    -keyout /etc/novadocker-lab/controller.key -out "$ca/controller.csr"
printf '%s\n' "subjectAltName=DNS:controller,DNS:localhost" "extendedKeyUsage=serverAuth" \
    "basicConstraints=CA:FALSE" >"$ca/extensions"
openssl x509 -req -in "$ca/controller.csr" -CA /usr/local/share/ca-certificates/novadocker-lab.crt \
    -CAkey "$ca/ca.key" -CAcreateserial -days 3650 -sha256 -extfile "$ca/extensions" \
    -out /etc/novadocker-lab/controller.crt
rm -rf "$ca"
chmod 0600 /etc/novadocker-lab/controller.key
update-ca-certificates

# What is downloaded stays at hand.
rm -f /etc/apt/apt.conf.d/docker-clean
printf 'APT::Install-Recommends "false";\n' >/etc/apt/apt.conf.d/90lab

: >/etc/machine-id
rm -f /var/lib/dbus/machine-id
rm -rf /var/log/* /var/cache/debconf/*-old /tmp/* /var/tmp/*
