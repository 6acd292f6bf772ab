#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Resolve driver/hosts.in into heat_templates/library/driver.lock, for every Python from 3.11 on:
# what hosts may install beside the driver, each file by its hash.
#
#   tools/lock_driver.sh [--upgrade]
set -eu
cd "$(dirname "$0")/.."

lock=heat_templates/library/driver.lock
uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate \
    --no-emit-index-url --no-emit-find-links --no-emit-package pywin32 \
    --constraint lab/openstack.lock --generate-hashes "$@" --output-file "$lock" driver/hosts.in
