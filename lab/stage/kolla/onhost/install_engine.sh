#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The engine of a host that kolla-ansible has prepared; its settings are there before it starts.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive

apt-get install -y -qq --no-install-recommends docker.io
if apt-cache show docker-cli >/dev/null 2>&1; then
    apt-get install -y -qq --no-install-recommends docker-cli
fi
systemctl enable --now --quiet docker.service
docker info >/dev/null
