# SPDX-License-Identifier: Apache-2.0
"""What a tenant runs in a container, with nothing but Python's standard library."""
