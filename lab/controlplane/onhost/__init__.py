# SPDX-License-Identifier: Apache-2.0
"""Programs that are put on the hosts and run there with the OpenStack environment's Python."""
