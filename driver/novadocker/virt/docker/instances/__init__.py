# SPDX-License-Identifier: Apache-2.0
"""One instance as a whole: sandbox, ports, workload, and what runs in it."""
