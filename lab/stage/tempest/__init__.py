# SPDX-License-Identifier: Apache-2.0
"""Tempest on the lab: a tempest.conf that tells the truth, the run, and what came of it."""

from __future__ import annotations

from lab.stage.tempest.results import TestResult
from lab.stage.tempest.runner import TempestError, run

__all__ = ["TempestError", "TestResult", "run"]
