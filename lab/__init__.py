# SPDX-License-Identifier: Apache-2.0
"""A real OpenStack on one machine: hosts are systemd containers, services are the real ones."""
