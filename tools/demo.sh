#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Brings up a real OpenStack on this machine, converts its chosen compute hosts to Docker
# hypervisors and boots two containers on them.
#
#   tools/demo.sh            the lab stays up afterwards; `tools/lab down` removes it
set -euo pipefail
cd "$(dirname "$0")/.."
case ${1:-} in
-h | --help)
    sed -n '3,6s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
esac

# shellcheck source=tools/prepare.sh
. tools/prepare.sh

python -m lab up
exec python -m lab.stage.demo
