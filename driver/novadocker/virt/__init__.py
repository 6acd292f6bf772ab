# SPDX-License-Identifier: Apache-2.0
"""Virtualisation drivers, laid out as the retired community driver had it."""
