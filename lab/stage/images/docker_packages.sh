#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Layer "docker_packages": Docker is not installed, but its packages are at hand as on a site with a
# warm package cache.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive

apt-get install -y --no-install-recommends --download-only docker.io iptables
if apt-cache show docker-cli >/dev/null 2>&1; then
    apt-get install -y --no-install-recommends --download-only docker-cli
fi
rm -rf /tmp/* /var/tmp/*
