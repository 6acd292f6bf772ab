#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Resolve lab/openstack.in, lab/dashboard.in and lab/wheels.in into their locks, for every Python from 3.11 on: hosts
# have the one of the machine's release.
#
#   lab/lock.sh [--upgrade]
set -eu
cd "$(dirname "$0")/.."

resolve() {
    uv pip compile --quiet --universal --python-version 3.11 --no-header --no-emit-index-url \
        --no-emit-find-links "$@"
}

resolve "$@" --output-file lab/openstack.lock lab/openstack.in
resolve "$@" --constraint lab/openstack.lock --output-file lab/dashboard.lock lab/dashboard.in
resolve "$@" --constraint lab/openstack.lock --output-file lab/wheels.lock lab/wheels.in
