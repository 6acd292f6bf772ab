# SPDX-License-Identifier: Apache-2.0
"""The privileged half of the driver: network devices, namespaces, hosts files and mounts."""

from __future__ import annotations

from oslo_privsep import capabilities, priv_context

# CAP_SYS_ADMIN to enter a network namespace, to mount, and to make a device read-only.
# CAP_DAC_OVERRIDE as the engine gives files of an instance to the root of its user namespace.
# CAP_SYS_PTRACE is not needed, as the namespace is taken from Docker's SandboxKey and not from
# /proc/PID.
# Both contexts have the same: of two in one section, what the later one says is both's.
_CAPABILITIES = [
    capabilities.CAP_NET_ADMIN,
    capabilities.CAP_SYS_ADMIN,
    capabilities.CAP_DAC_OVERRIDE,
]
ctx = priv_context.PrivContext(
    "novadocker",
    cfg_section="novadocker_privileged",
    pypath=__name__ + ".ctx",
    capabilities=_CAPABILITIES,
)
# A helper of its own, started in the same way: a device that does not answer keeps all threads of
# this one busy, and no port waits for them.
volumes_ctx = priv_context.PrivContext(
    "novadocker",
    cfg_section="novadocker_privileged",
    pypath=__name__ + ".volumes_ctx",
    capabilities=_CAPABILITIES,
)
