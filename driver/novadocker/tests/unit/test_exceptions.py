# SPDX-License-Identifier: Apache-2.0
"""Faults of the driver."""

from __future__ import annotations

import inspect

from novadocker import exceptions


def test_the_tree_is_the_one_that_is_documented() -> None:
    def tree(kind: type[Exception], depth: int = 1) -> list[str]:
        below = [tree(child, depth + 1) for child in kind.__subclasses__()]
        return ["  " * depth + kind.__name__, *(line for lines in below for line in lines)]

    documented = (inspect.getdoc(exceptions) or "").splitlines()
    start = documented.index("   DriverError")
    depths = [line[1:] for line in documented[start : documented.index("", start)]]
    assert sorted(depths) == sorted(tree(exceptions.DriverError))
