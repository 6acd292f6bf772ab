# SPDX-License-Identifier: Apache-2.0
"""Docker containers as Nova instances."""

__version__ = "1.0.0"
