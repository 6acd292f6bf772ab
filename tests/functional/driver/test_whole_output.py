# SPDX-License-Identifier: Apache-2.0
"""What a command in a container prints is read, however late."""

from __future__ import annotations

import http.client
import time
from typing import Any

import docker
import pytest

from novadocker.tests.archives import Parts
from tests.functional.driver import busybox, own_engine

pytestmark = pytest.mark.docker


def test_what_is_printed_before_the_answer_was_read_is_not_lost(
    engine: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = http.client.HTTPResponse.begin

    def late(response: http.client.HTTPResponse, *arguments: Any) -> None:
        # The engine has answered, and the command has ended, before a line of the answer is read.
        time.sleep(0.5)
        begin(response, *arguments)

    with own_engine.loaded(engine, Parts(layers=[busybox.root_layer()])) as image:
        box = engine.containers.run(image, ["sleep", "60"], network_mode="none", detach=True)
        with monkeypatch.context() as patched:
            patched.setattr(http.client.HTTPResponse, "begin", late)
            assert box.exec_run(["echo", "x"]).output == b"x\n"
            parts = box.exec_run(["sh", "-c", "echo x; sleep 1; echo y"], stream=True).output
            assert b"".join(parts) == b"x\ny\n"
