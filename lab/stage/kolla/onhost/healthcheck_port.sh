#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Whether a process has a connection to a port: healthcheck_port PROCESS PORT
set -euo pipefail

connections=$(ss -Htnp state established "dport = :$2")
for pid in $(pgrep -f "$1"); do
    if [[ $connections == *"pid=$pid,"* ]]; then exit 0; fi
done
echo "no $1 has a connection to port $2"
exit 1
