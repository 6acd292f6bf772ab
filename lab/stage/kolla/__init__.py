# SPDX-License-Identifier: Apache-2.0
"""A compute host whose nova-compute runs in a container, as kolla-ansible deploys it."""
