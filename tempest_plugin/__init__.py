# SPDX-License-Identifier: Apache-2.0
"""Tempest plug-in: proves that a cloud's compute hosts run containers as Nova instances."""
