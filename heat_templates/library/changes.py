# SPDX-License-Identifier: Apache-2.0
"""Files that a step changes, and puts back."""

import base64
import copy
import hashlib
import shutil
from pathlib import Path
from typing import Any

from library.files import file_state, replace_file, sha256, sync_directory, utc_stamp
from library.records import Recorded


class FileChanges(Recorded):
    """The ways to change files, on record before each change."""

    def write_file(self, name: str, text: str, mode: int | None = None) -> bool:
        """Make a file have this text; return whether that was (or would be) a change.

        :param mode: permission bits; None keeps those of a file that is there, else 0644
        """
        path, data = self.followed(name), text.encode()
        now = file_state(path)
        if now and path.read_bytes() == data and mode in (None, now["mode"]):
            return False
        if self.will(f"write {name}"):
            self._remember_file(name, now, hashlib.sha256(data).hexdigest())
            self._make_directories(path.parent)
            state = now or {"mode": 0o644}
            bits = state["mode"] if mode is None else mode
            replace_file(path, data, bits, state.get("uid"), state.get("gid"))
        return True

    def _remember_file(self, name: str, now: dict[str, Any] | None, written: str) -> None:
        for level in (self.record, self.journal):
            entry = level.setdefault("files", {}).setdefault(name, {"before": now})
            entry["sha256"] = written
        self.save_record()

    def _make_directories(self, place: Path) -> None:
        missing = [part for part in (place, *place.parents) if not part.exists()]
        self.remember_each("directories", [f"/{part.relative_to(self.root)}" for part in missing])
        for part in reversed(missing):
            part.mkdir()
            sync_directory(part.parent)

    def content_before(self, name: str) -> bytes:
        """Return what a recorded file held before, empty when it was not there."""
        return base64.b64decode((self.to_undo["files"][name]["before"] or {}).get("content", ""))

    def restore_file(self, name: str, force: bool = False) -> bool:
        """Put a file back as it was before; return whether it changed.

        :param force: also when its text is not the one that this step wrote
        """
        entry = self.to_undo.get("files", {}).get(name)
        if entry is None:
            return False
        path, before = self.followed(name), entry["before"]
        now = file_state(path)
        ours = force or (now is not None and sha256(now) == entry["sha256"])
        if before is not None and not ours and now != before:
            self.note(f"{name} was changed by someone else since: left as it is")
        elif now != before and self.will(f"{'restore' if before else 'remove'} {name}"):
            if before:
                content = self.content_before(name)
                replace_file(path, content, before["mode"], before["uid"], before["gid"])
            else:
                if not ours:
                    kept = self.record_path.parent / f"{path.name}.{utc_stamp()}"
                    shutil.copy2(path, kept)
                    self.note(f"{name} was changed by someone else since: a copy is in {kept}")
                path.unlink(missing_ok=True)
                sync_directory(path.parent)
        if self.mode != "check":
            self._forget_file(name)
        return now != before and (ours or before is None)

    def _forget_file(self, name: str) -> None:
        del self.to_undo["files"][name]
        if self.mode != "undo":
            # It is again what this run found, and the record says of it what it said then.
            files = self.record.setdefault("files", {})
            files.pop(name, None)
            if name in self.found.get("files", {}):
                files[name] = copy.deepcopy(self.found["files"][name])
        self.save_record()

    def restore_files(self, force: bool = False) -> bool:
        """Put all recorded files back, then remove the directories made for them."""
        changed = [self.restore_file(name, force) for name in list(self.to_undo.get("files", {}))]
        if self.mode != "check":
            for name in sorted(self.to_undo.get("directories", []), key=len, reverse=True):
                if self.path(name).is_dir() and not any(self.path(name).iterdir()):
                    self.path(name).rmdir()
            if self.mode == "undo":
                self.record.pop("directories", None)
                self.save_record()
            else:
                self.settle("directories")
        return any(changed)
