#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The images of kolla's containers on this host, from its own root file system, without a network:
#   build_images.sh NOVA_COMPUTE CRON
set -euo pipefail
cd "$(dirname "$0")"

base=${1%/*}/openstack-base:${1##*:}
# What is the host's alone stays outside.
outside=(
    './etc/nova/*' ./etc/neutron './etc/sudoers.d/*' ./etc/kolla ./opt/heat-agent ./root ./srv
    './usr/local/*' './var/cache/*' ./var/lib/apt ./var/lib/containerd './var/lib/docker/*'
    ./var/lib/heat-config ./var/lib/lxcfs './var/lib/nova/*' ./var/lib/novadocker
    ./var/lib/os-collect-config
)
tar --create --one-file-system --directory / "${outside[@]/#/--exclude=}" \
    --transform 'flags=rh;s|^\./opt/openstack|./var/lib/kolla/venv|' . |
    docker import - "$base"
docker build --quiet --network none --build-arg "BASE=$base" --tag "$1" .
docker build --quiet --network none --tag "$2" - <<END
FROM $1
USER root
END
docker image rm "$base" >/dev/null
