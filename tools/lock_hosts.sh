#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Resolve what hosts may install, each file by its hash, for every Python that they may have:
# driver/hosts.in into heat_templates/library/driver.lock, heat_templates/agent/agent.in into agent.lock.
#
#   tools/lock_hosts.sh [--upgrade]
set -eu
cd "$(dirname "$0")/.."

resolve() {
    uv pip compile --quiet --universal --no-header --no-annotate \
        --no-emit-index-url --no-emit-find-links --generate-hashes "$@"
}

resolve "$@" --python-version 3.11 --no-emit-package pywin32 --constraint lab/openstack.lock \
    --output-file heat_templates/library/driver.lock driver/hosts.in
resolve "$@" --python-version 3.9 --no-emit-package gnureadline --no-emit-package pyreadline3 \
    --output-file heat_templates/agent/agent.lock heat_templates/agent/agent.in
