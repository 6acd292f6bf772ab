# SPDX-License-Identifier: Apache-2.0
"""What containers of tests run that are to show whether the network is there."""

from __future__ import annotations

# Asks its peer for ever, and says what came of it.
ASK = (
    'sh -c "trap exit TERM; while :; do'
    ' test -n \\"$PEER\\" && ping -c 1 -W 1 $PEER >/dev/null && echo answered || echo silent;'
    ' sleep 1; done"'
)
