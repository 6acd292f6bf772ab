#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Resolve lab/openstack.in into lab/openstack.lock for the nodes' Python.
#
#   lab/lock.sh [--upgrade]
set -eu
cd "$(dirname "$0")"
exec uv pip compile --quiet --python-version 3.11 --no-header --no-emit-index-url \
    --no-emit-find-links "$@" --output-file openstack.lock openstack.in
