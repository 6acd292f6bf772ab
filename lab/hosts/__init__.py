# SPDX-License-Identifier: Apache-2.0
"""The hosts of the lab: containers that boot systemd, their networks, SSH."""
