# SPDX-License-Identifier: Apache-2.0
"""Mistral actions that turn compute hosts into Docker hypervisors, and their plain logic."""
