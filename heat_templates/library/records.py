# SPDX-License-Identifier: Apache-2.0
"""What a step changed on the host: the record of all runs, and the journal of this one."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from library.faults import LOG, StepFailed
from library.files import replace_file, sync_directory

STATE_DIRECTORY = "/var/lib/novadocker"
EXPORTS = "/var/lib/novadocker/exports"
RUNS_KEPT = 20


@dataclass
class Recorded:
    """A run of a step with what it found and changed.

    Every change goes through :meth:`will`, which names it in the report and says whether to really
    do it; so ``check`` walks the same path as ``apply``. What a change replaces is recorded before
    it is made, in ``/var/lib/novadocker/<step>.json``, at two levels: the *record*, of the host as
    it was before the first run, which ``undo`` goes back to, and the *journal*, of the host as this
    run found it, which ``roll_back`` goes back to.

    :param run_id: of the workflow's run; a step that is pushed once more in one run, after a crash,
        goes on with the journal that it began
    """

    name: str
    mode: str = "apply"
    settings: dict[str, Any] = field(default_factory=dict)
    root: Path = Path("/")
    actions: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    run_id: str = ""

    def __post_init__(self) -> None:
        self.record_path = self.path(f"{STATE_DIRECTORY}/{self.name}.json")
        self.read_record()

    def path(self, name: str) -> Path:
        """Return where an absolute path of the host is (under another root in tests)."""
        return self.root / name.lstrip("/")

    def will(self, action: str) -> bool:
        """Note a change and return whether to make it: not in check mode."""
        self.actions.append(action)
        LOG.info("%s%s", "would " if self.mode == "check" else "", action)
        return self.mode != "check"

    def note(self, remark: str) -> None:
        """Tell the operator something that is not a change, once."""
        if remark in self.facts.get("notes", []):
            return
        self.facts.setdefault("notes", []).append(remark)
        LOG.info("note: %s", remark)

    def disturb(self, what: str) -> None:
        """Tell that the change interrupts what the host does, so that it has to be taken out first.

        Steps that may do that tell ``disturbs: false`` where they do not.
        """
        self.facts["disturbs"] = True
        self.facts.setdefault("disturbed", []).append(what[:200])

    def read_record(self) -> None:
        """Read the record, and the journal if it is of this run.

        :raises StepFailed: when the file cannot be read, but in mode ``undo``: there
            :meth:`require_record` raises it, for those who cannot do without
        """
        self.record: dict[str, Any] = {}
        self.journal: dict[str, Any] = {}
        self.found: dict[str, Any] = {}
        self.replaced: list[str] = []
        self.record_fault = ""
        if self.record_path.exists():
            try:
                self.record, begun, self.replaced = parse_record(self.record_path.read_bytes())
            except ValueError as err:
                self.record_fault = (
                    f"{self.record_path} cannot be read ({err}), and it says how to take back "
                    f"what {self.name} did: put it back from a backup, or take that back by hand "
                    "and remove the file; then repeat"
                )
                if self.mode != "undo":
                    raise StepFailed(self.record_fault) from err
                return
            if self.run_id and begun.get("id") == self.run_id:
                self.journal, self.found = begun["changes"], begun["found"]
                return
            if begun.get("id") and any(begun["changes"].values()):
                # Its journal goes with the first thing that is saved.
                others = [run for run in self.replaced if run != begun["id"]]
                self.replaced = [*others, begun["id"]][-RUNS_KEPT:]
        self.found = copy.deepcopy(self.record)

    def begin(self) -> None:
        """Read the record as it is now, and drop the journal of a run before this one."""
        self.read_record()
        if self.mode == "apply" and not self.journal:
            self.save_record()

    def require_journal(self) -> None:
        """Refuse to roll back a run whose journal gave way to that of another one.

        :raises StepFailed: when another run has begun since this one changed something
        """
        if self.run_id in self.replaced:
            raise StepFailed(
                f"another run of {self.name} has begun on this host since, so what this run did "
                "cannot be taken back by itself: deploy again, or undeploy the host"
            )

    def require_record(self) -> None:
        """Refuse to undo what cannot be told.

        :raises StepFailed: when the record cannot be read
        """
        if self.record_fault:
            raise StepFailed(self.record_fault)

    @property
    def to_undo(self) -> dict[str, Any]:
        """Return the state that this mode goes back to: of before the first run, or this one."""
        return self.record if self.mode == "undo" else self.journal

    def remember(self, name: str, value: Any) -> None:
        """Record how something was before, unless it is on record already."""
        for level in (self.record, self.journal):
            level.setdefault(name, copy.deepcopy(value))
        self.save_record()

    def remember_each(self, name: str, values: list[str]) -> None:
        """Record things that this step adds to the host."""
        for level in (self.record, self.journal):
            known = level.setdefault(name, [])
            known.extend(value for value in values if value not in known)
        self.save_record()

    def remember_unit(self, unit: str, active: bool) -> None:
        """Note whether a unit was active when this run found it; saved with the first change."""
        self.journal.setdefault("units", {}).setdefault(unit, active)

    def ran_before(self, unit: str) -> bool:
        """Return whether a unit was active when this run found it, as far as that was noted."""
        return bool(self.mode == "undo" or self.journal.get("units", {}).get(unit, True))

    def owe(self, what: str) -> bool:
        """Note that something is due until all is taken back; return whether it was before this.

        A file that is as it was again does no more tell that its service has not taken it up, or
        what came with it.

        :param what: such as ``restart``
        """
        owed = self.owes(what)
        for level in (self.record, self.to_undo):
            level[f"{what}_due"] = True
        self.save_record()
        return owed

    def owes(self, what: str) -> bool:
        """Return whether something is due since this was begun to be taken back."""
        return bool(self.to_undo.get(f"{what}_due"))

    def forget(self) -> None:
        """Note that all was taken back: the record is what it was then."""
        self.record = {} if self.mode == "undo" else copy.deepcopy(self.found)
        self.journal = {}
        self.save_record()

    def settle(self, name: str) -> None:
        """Note that one thing was taken back of what this run did."""
        self.journal.pop(name, None)
        self.record.pop(name, None)
        if name in self.found:
            self.record[name] = copy.deepcopy(self.found[name])
        self.save_record()

    def save_record(self) -> None:
        """Write record and journal, root-only; an empty record goes away."""
        if not any(self.record.values()):
            if self.record_path.exists():
                self.record_path.unlink()
                sync_directory(self.record_path.parent)
            return
        self.record_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        run = {"id": self.run_id, "found": self.found, "changes": self.journal}
        data = {
            "baseline": self.record,
            **({"replaced": self.replaced} if self.replaced else {}),
            **({"run": run} if self.journal else {}),
        }
        replace_file(self.record_path, json.dumps(data, indent=1).encode(), 0o600)


def parse_record(data: bytes) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """Return the record, the run that was journalled last, and those whose journals it replaced.

    The run is {} when none was journalled. A version before this one wrote the record alone.

    :raises ValueError: when it is not a record
    """
    content = json.loads(data)
    if not isinstance(content, dict):
        raise ValueError("it does not hold an object")
    if "baseline" not in content:
        return content, {}, []
    record, run = content["baseline"], content.get("run") or {}
    replaced = content.get("replaced") or []
    if not isinstance(record, dict) or not isinstance(run, dict) or not isinstance(replaced, list):
        raise ValueError("it does not hold a record")
    if run and not all(isinstance(run.get(name), dict) for name in ("found", "changes")):
        raise ValueError("it does not hold a journal")
    return record, run, [str(item) for item in replaced]
