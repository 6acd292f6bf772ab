# SPDX-License-Identifier: Apache-2.0
"""The page of what was found in the field: what is seen of which surroundings, and each row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from novadocker_reference import rst

TITLE = "What we found in the field"
STATES = {
    "right": "right",
    "wrong": "**wrong**",
    "open": "**open**",
    "not run": "needs a cloud",
}


def pages(results: Path) -> dict[str, str]:
    """Return the page by its name.

    :param results: the directory of ``support.json`` and of ``cases.json``, which
        ``tools/proofs/field_cases --keep`` writes
    """
    support = json.loads((results / "support.json").read_text())
    cases = json.loads((results / "cases.json").read_text())
    return {"field": page(support, cases)}


def page(support: dict[str, list[dict[str, str]]], cases: list[dict[str, Any]]) -> str:
    """Return the page.

    :param support: of each dimension, what there is of it, how far it is known, and by what
    :param cases: the rows with what came of their tests
    """
    right = sum(case["state"] == "right" for case in cases)
    return rst.page(
        rst.title(TITLE),
        "Clouds differ. This page says in which surroundings this project was really run, where it"
        " is expected to work as the code is the same, and what it refuses, before anything is"
        " changed. Below it is what operators and tenants of such clouds have met, each with the"
        " tests that hold it.\n",
        rst.title("Surroundings", "-"),
        "*Seen*: real runs, by the test or the proof that is named. *Expected*: the code is the"
        " same, and nobody has run it. *Refused*: recognised, and told with what can be done.\n",
        *(_dimension(name, entries) for name, entries in support.items()),
        rst.title("Inputs", "-"),
        f"{right} of {len(cases)} rows are right, by ``tools/proofs/field_cases``.\n",
        *_kinds(cases),
    )


def _dimension(name: str, entries: list[dict[str, str]]) -> str:
    rows = ((entry["what"], entry["state"], rst.prose(entry["by"])) for entry in entries)
    return rst.title(name, "~") + "\n" + rst.table(("What", "State", "By"), rows)


def _kinds(cases: list[dict[str, Any]]) -> list[str]:
    kinds = dict.fromkeys(case["kind"] for case in cases)
    told = []
    for kind in kinds:
        rows = [case for case in cases if case["kind"] == kind]
        table = rst.table(
            ("Row", "State", "Tests"),
            (
                (
                    f"{case['row']} {rst.prose(case['text'])}",
                    STATES[case["state"]],
                    "\n".join(f"| ``{test}``" for test in case["tests"]),
                )
                for case in rows
            ),
        )
        told.append(rst.title(kind, "~") + "\n" + table)
    return told
