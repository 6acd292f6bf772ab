# SPDX-License-Identifier: Apache-2.0
"""``python -m lab``: the lab with this bundle's stage on it."""

from __future__ import annotations

import sys

from lab.cli import main
from lab.stage import BundleStage

sys.exit(main(stage=BundleStage()))
