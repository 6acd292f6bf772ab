# SPDX-License-Identifier: Apache-2.0
"""Cinder's volumes in an instance."""
