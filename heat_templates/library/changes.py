# SPDX-License-Identifier: Apache-2.0
"""Files that a step changes, and puts back."""

from __future__ import annotations

import base64
import copy
import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

from library.faults import StepFailed
from library.files import (
    file_state,
    refuse_unwritable,
    replace_file,
    sha256,
    sync_directory,
    utc_stamp,
)
from library.records import Recorded

LINKS = 40


class FileChanges(Recorded):
    """The ways to change files, on record before each change."""

    def followed(self, name: str) -> Path:
        """Return where a file really is: a link to it, as configuration tools make, stays one.

        Only links that nobody but root can lay are followed: a service's user must not choose what
        root writes. Where another one stands for the file itself, it is that which is replaced.

        :raises StepFailed: when links lead nowhere, or one for a directory is not root's
        """
        place, rest, links = self.root, name.strip("/").split("/"), 0
        while rest:
            part = rest.pop(0)
            if part in ("", ".", ".."):
                place = place.parent if part == ".." and place != self.root else place
                continue
            here = place / part
            if not here.is_symlink():
                place = here
                continue
            if not self._laid_by_root(here):
                if rest:
                    raise StepFailed(
                        f"{name}: {here} is a link that others than root can change: make it a "
                        "directory, or the link and the directories above it root's, then repeat"
                    )
                return here
            links += 1
            if links > LINKS:
                raise StepFailed(f"{name} is a link that leads in circles: mend it, then repeat")
            target = os.readlink(here)
            place = self.root if target.startswith("/") else place
            rest = [*target.split("/"), *rest]
        return place

    def _laid_by_root(self, link: Path) -> bool:
        """Return whether only root (or who runs this) can have laid a link, or can move it."""
        trusted = {0, os.geteuid()}
        above = [place for place in link.parents if place.is_relative_to(self.root)]
        states = [place.stat() for place in above]
        return link.lstat().st_uid in trusted and all(
            state.st_uid in trusted and not state.st_mode & 0o022 for state in states
        )

    def write_file(
        self, name: str, text: str, mode: int | None = None, shared: bool = False
    ) -> bool:
        """Make a file have this text; return whether that was (or would be) a change.

        :param mode: permission bits; None keeps those of a file that is there, else 0644
        :param shared: whether the text has what others have written there since; else a copy of
            what they wrote is kept
        """
        path, data = self.followed(name), text.encode()
        now = file_state(path)
        if now and base64.b64decode(now["content"]) == data and mode in (None, now["mode"]):
            return False
        refuse_unwritable(path)
        if path.is_symlink():
            self.note(f"{name} is a link that others than root can change: a file takes its place")
        if now and not shared:
            self._keep_what_others_wrote(name, now)
        if self.will(f"write {name}"):
            self._remember_file(name, now, hashlib.sha256(data).hexdigest())
            self._make_directories(path.parent)
            state = now or {"mode": 0o644}
            bits = state["mode"] if mode is None else mode
            replace_file(path, data, bits, state.get("uid"), state.get("gid"))
        return True

    def _keep_what_others_wrote(self, name: str, now: dict[str, Any]) -> None:
        """Keep a copy of a file of ours that somebody else has changed since, and tell of it."""
        written = self.record.get("files", {}).get(name, {}).get("sha256")
        if written in (None, sha256(now)):
            return
        kept = self.record_path.parent / f"{Path(name).name}.{utc_stamp()}"
        self.note(f"{name} was changed by someone else since: a copy is kept in {kept}")
        if self.mode != "check":
            replace_file(kept, base64.b64decode(now["content"]), 0o600)

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

    def adopt_files(self, names: tuple[str, ...], header: str) -> None:
        """Take files that begin as ours do as ours, where the record cannot be read."""
        if not self.record_fault:
            return
        self.note(self.record_fault)
        for name in names:
            state = file_state(self.followed(name))
            if state and base64.b64decode(state["content"]).startswith(header.encode()):
                entry = {"before": None, "sha256": sha256(state)}
                self.record.setdefault("files", {})[name] = entry
        aside = self.record_path.with_name(f"{self.record_path.name}.unreadable-{utc_stamp()}")
        replace_file(aside, self.record_path.read_bytes(), 0o600)
        self.record_fault = ""
        self.save_record()

    def take_anew(self, name: str) -> None:
        """Have undo go back to a file as it is now, as another tool has written it since."""
        for level in (self.record, self.journal):
            level.get("files", {}).pop(name, None)

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
            # The file is again what this run found, and the record says of it what it said then.
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
