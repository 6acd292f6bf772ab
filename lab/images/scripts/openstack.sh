#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Layer "openstack": the locked OpenStack environment, byte-compiled, used by no service yet.
set -euo pipefail
export UV_CACHE_DIR=/mnt/cache/uv UV_LINK_MODE=copy UV_NO_PROGRESS=1 UV_NO_CONFIG=1
export UV_PYTHON_DOWNLOADS=never

/mnt/uv venv --quiet --python /usr/bin/python3 /opt/openstack
# A name for it that is the same with every Python.
ln -s "$(/opt/openstack/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
    /opt/openstack/site-packages
/mnt/uv pip install --python /opt/openstack/bin/python --no-deps --compile-bytecode \
    --requirement /mnt/openstack.lock
/opt/openstack/bin/python -c "import keystone, glance, nova, neutron, heat, mistral, placement"
rm -rf /opt/openstack/lib/python3*/site-packages/*/tests/unit/__pycache__ /tmp/* /var/tmp/*
