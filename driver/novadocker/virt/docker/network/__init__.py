# SPDX-License-Identifier: Apache-2.0
"""Neutron's ports in an instance."""
