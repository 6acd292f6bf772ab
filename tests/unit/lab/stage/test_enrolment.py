# SPDX-License-Identifier: Apache-2.0
"""The lab's hosts are enrolled by the bundle that is on the controller now."""

from __future__ import annotations

import pathlib
import subprocess
from collections.abc import Sequence
from typing import Any

from lab.hosts.access import Host
from lab.images.wheelhouse import Wheel
from lab.settings import LabSettings
from lab.stage import enrolment

SETTINGS = LabSettings()


class Controller(Host):
    """A controller that keeps what is put on it and the commands that it was given."""

    def __init__(self) -> None:
        super().__init__("controller", SETTINGS)
        self.files: dict[str, str] = {}
        self.enrolled: list[str] = []
        self.keys = 0

    def run(self, argv: Sequence[str], **_: Any) -> subprocess.CompletedProcess[str]:
        if argv[0] == "cat":
            text = self.files.get(argv[1])
            return subprocess.CompletedProcess(argv, 0 if text else 1, text or "", "")
        if argv[0] == "test":
            return subprocess.CompletedProcess(argv, 0 if self.keys else 1, "", "")
        if argv[-1] == "make-key":
            assert not self.enrolled
            self.keys += 1
        elif any(word.endswith("novadocker-enroll") for word in argv):
            self.enrolled += [host.name for host in SETTINGS.hosts if host.name in argv]
        return subprocess.CompletedProcess(argv, 0, "", "")

    def put(self, path: str, data: str | bytes, mode: int = 0o644, owner: Any = None) -> None:
        self.files[path] = str(data)


def wheel(digest: str) -> Wheel:
    return Wheel(pathlib.Path("novadocker_deploy.whl"), digest)


def test_hosts_are_enrolled_once_by_the_same_bundle() -> None:
    controller = Controller()
    assert enrolment.enrol(SETTINGS, controller, wheel("one"))
    assert sorted(controller.enrolled) == sorted(host.name for host in SETTINGS.hosts)
    assert not enrolment.enrol(SETTINGS, controller, wheel("one"))
    assert len(controller.enrolled) == len(SETTINGS.hosts)


def test_another_bundle_enrols_them_again_whatever_of_it_is_another() -> None:
    controller = Controller()
    enrolment.enrol(SETTINGS, controller, wheel("one"))
    controller.enrolled.clear()
    assert enrolment.enrol(SETTINGS, controller, wheel("two"))
    assert sorted(controller.enrolled) == sorted(host.name for host in SETTINGS.hosts)


def test_the_executor_has_a_key_before_any_host_is_enrolled_and_keeps_it() -> None:
    controller = Controller()
    enrolment.enrol(SETTINGS, controller, wheel("one"))
    controller.enrolled.clear()
    enrolment.enrol(SETTINGS, controller, wheel("two"))
    assert controller.keys == 1
