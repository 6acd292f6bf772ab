# SPDX-License-Identifier: Apache-2.0
"""How figures are written down."""

from __future__ import annotations

import argparse
import json
import pathlib
from collections.abc import Mapping
from typing import Any

RESULTS = pathlib.Path(__file__).parent / "results"


def options_of(name: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser of the options of a benchmark, which has the one of where figures go.

    :param name: of its module
    :param description: of the benchmark, as it is printed
    """
    options = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument(
        "--results",
        type=pathlib.Path,
        default=RESULTS / f"{name}.json",
        help="where the figures are written",
    )
    return options


def write(record: Mapping[str, Any], path: pathlib.Path) -> None:
    """Write a record of figures."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rounded(record), indent=1) + "\n")


def rounded(value: Any) -> Any:
    """Return a record with its floating point numbers rounded to a thousandth."""
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return value
