# SPDX-License-Identifier: Apache-2.0
"""Tests of the pages: Horizon and all client libraries are real, the services are not."""
