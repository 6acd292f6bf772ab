# SPDX-License-Identifier: Apache-2.0
"""The dashboard's pages in a real Horizon and a real browser, with a double for the services."""
