#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Layer "registry": an image registry with the demo image, and the packages of Docker.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive

bash /mnt/docker_packages.sh

printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 0755 /usr/sbin/policy-rc.d
apt-get -o Dir::Cache::archives=/mnt/cache/apt install -y --no-install-recommends docker-registry
rm /usr/sbin/policy-rc.d

registry=/var/lib/docker-registry
cat >/etc/docker/registry/config.yml <<END
version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: $registry}
  delete: {enabled: true}
http:
  addr: 127.0.0.1:5000
END
docker-registry serve /etc/docker/registry/config.yml &
server=$!
python3 /mnt/demo_image.py http://127.0.0.1:5000 library/busybox latest
kill "$server"
wait "$server" || true

chown -R docker-registry:docker-registry "$registry"
install -o docker-registry -g docker-registry -m 0600 /etc/novadocker-lab/controller.key \
    /etc/docker/registry/registry.key
install -m 0644 /etc/novadocker-lab/controller.crt /etc/docker/registry/registry.crt
cat >/etc/docker/registry/config.yml <<END
version: 0.1
log: {level: info}
storage:
  filesystem: {rootdirectory: $registry}
  delete: {enabled: true}
http:
  addr: :5443
  tls:
    certificate: /etc/docker/registry/registry.crt
    key: /etc/docker/registry/registry.key
END
# The operator's own engine settings: whoever installs Docker here has to keep them.
printf '{"registry-mirrors": ["https://controller:5443"]}\n' >/etc/docker/daemon.json
systemctl enable --quiet docker-registry.service
rm -rf /tmp/* /var/tmp/*
