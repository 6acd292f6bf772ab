#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# First program of a container: its configuration is laid out, then it becomes the service.
set -euo pipefail

sudo -E kolla_set_configs
command=$(</run_command)
if [ -d /var/lib/nova ]; then mkdir -p /var/lib/nova/instances; fi
echo "Running command: '$command'"
# Words and no shell, as kolla has it.
# shellcheck disable=SC2086
exec $command
