# SPDX-License-Identifier: Apache-2.0
"""Virtualisation drivers, in the layout of the retired community driver."""
