# SPDX-License-Identifier: Apache-2.0
"""Admin > Compute > Docker hosts: hosts, and the runs that convert them."""
