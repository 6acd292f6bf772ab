# SPDX-License-Identifier: Apache-2.0
"""Tempest on the lab: a tempest.conf that tells the truth, the run, and what came of it."""

from lab.tempest.results import TestResult
from lab.tempest.runner import TempestError, run

__all__ = ["TempestError", "TestResult", "run"]
