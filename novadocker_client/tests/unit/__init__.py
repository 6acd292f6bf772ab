# SPDX-License-Identifier: Apache-2.0
"""Unit tests: no service, no network."""
