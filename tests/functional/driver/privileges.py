# SPDX-License-Identifier: Apache-2.0
"""Privileged helpers in processes of their own, without sudo: the tests are root."""

from __future__ import annotations

import sys

from os_brick import privileged as brick_privsep
from oslo_privsep import daemon
from vif_plug_ovs import privsep as ovs_privsep

import novadocker.privsep

# Nova's test classes replace it, so that no test starts a helper by chance.
CHANNEL = daemon.RootwrapClientChannel


def helper_commands() -> dict[str, str]:
    """Say how to start the helper of each section of the configuration."""
    assert novadocker.privsep.ctx
    assert ovs_privsep.vif_plug
    assert brick_privsep.default
    helper = "-c 'from oslo_privsep.daemon import helper_main; helper_main()'"
    path = ":".join(path for path in sys.path if path)
    plain = f"env PYTHONPATH={path} PYTHONWARNINGS=ignore {sys.executable} {helper}"
    # os-vif looks at /sys, which shows the network namespace that it was mounted in.
    own_sys = 'unshare --mount sh -c \'mount -t sysfs sysfs /sys && exec "$0" "$@"\' '
    return {
        "novadocker_privileged": plain,
        "privsep_osbrick": plain,
        "vif_plug_ovs_privileged": own_sys + plain,
    }
