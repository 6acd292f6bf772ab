# SPDX-License-Identifier: Apache-2.0
"""Tests of the client, against a cloud that answers over HTTP."""
