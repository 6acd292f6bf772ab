# SPDX-License-Identifier: Apache-2.0
"""What a command in a container prints is read, however late."""

from __future__ import annotations

import http.client
import time
from typing import Any

import pytest

from novadocker.tests.archives import Parts
from tests.functional.driver import busybox, own_engine

pytestmark = pytest.mark.docker


def test_what_is_printed_before_the_answer_was_read_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = own_engine.given()
    (image,) = engine.images.load(Parts(layers=[busybox.root_layer()]).docker())
    box = engine.containers.run(image.id, ["sleep", "60"], network_mode="none", detach=True)
    begin = http.client.HTTPResponse.begin

    def late(response: http.client.HTTPResponse, *arguments: Any) -> None:
        # The engine has answered, and the command has ended, before a line of the answer is read.
        time.sleep(0.5)
        begin(response, *arguments)

    monkeypatch.setattr(http.client.HTTPResponse, "begin", late)
    try:
        assert box.exec_run(["echo", "x"]).output == b"x\n"
        parts = box.exec_run(["sh", "-c", "echo x; sleep 1; echo y"], stream=True).output
        assert b"".join(parts) == b"x\ny\n"
    finally:
        monkeypatch.undo()
        box.remove(force=True)
        engine.images.remove(image.id, force=True)
