# SPDX-License-Identifier: Apache-2.0
"""What ends a step: each fault says what failed, where, and what to do next."""

from __future__ import annotations

import logging

LOG = logging.getLogger("novadocker")


class StepFailed(Exception):
    """The step cannot be done; the text says what failed, where, and what to do next."""


class SettingsError(StepFailed):
    """The settings do not fit the step's schema."""
