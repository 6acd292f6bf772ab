# SPDX-License-Identifier: Apache-2.0
"""Whole commands, over HTTP on this machine."""
