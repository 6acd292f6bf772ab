#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Layer "dashboard": Horizon with its settings, its user and its static files, served by nobody yet.
set -euo pipefail
export UV_CACHE_DIR=/mnt/cache/uv UV_LINK_MODE=copy UV_NO_PROGRESS=1 UV_NO_CONFIG=1
export UV_PYTHON_DOWNLOADS=never

/mnt/uv venv --quiet --python /usr/bin/python3 /opt/horizon
# A name for it that is the same with every Python.
ln -s "$(/opt/horizon/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
    /opt/horizon/site-packages
/mnt/uv pip install --python /opt/horizon/bin/python --no-deps --requirement /mnt/dashboard.lock
install -m 0644 /mnt/local_settings.py /opt/horizon/site-packages/openstack_dashboard/local/

printf 'u horizon - "OpenStack Horizon" /var/lib/horizon\n' >/usr/lib/sysusers.d/horizon.conf
systemd-sysusers horizon.conf
mkdir -p /var/lib/horizon
# What this imports is byte-compiled by it, and nothing else of the environment is ever imported.
export DJANGO_SETTINGS_MODULE=openstack_dashboard.settings
/opt/horizon/bin/python -m django collectstatic --noinput --verbosity 0
/opt/horizon/bin/python -m django compress --force --verbosity 0
/opt/horizon/bin/python -c "import openstack_dashboard.wsgi, whitenoise, cheroot.wsgi, pip._internal.cli.main"
# Each lab makes a key of its own.
rm -f /var/lib/horizon/.secret_key_store /var/lib/horizon/*.lock
chown -R horizon:horizon /var/lib/horizon
rm -rf /tmp/* /var/tmp/*
