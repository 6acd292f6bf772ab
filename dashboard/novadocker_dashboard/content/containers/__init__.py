# SPDX-License-Identifier: Apache-2.0
"""Project > Compute > Containers: a tenant's containers, and how one is booted."""
