# SPDX-License-Identifier: Apache-2.0
"""Walks of an instance through Nova's actions: the hosts, the instance, the actions."""
