# SPDX-License-Identifier: Apache-2.0
"""The machine that the lab runs on: its engine, its package sources, its commands."""
