# SPDX-License-Identifier: Apache-2.0
"""The Docker Engine: its client, containers and events."""
