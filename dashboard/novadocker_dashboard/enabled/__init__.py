# SPDX-License-Identifier: Apache-2.0
"""The files that switch the panels on."""
