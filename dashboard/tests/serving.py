# SPDX-License-Identifier: Apache-2.0
"""Horizon with the pages on a port of this machine, for browsers; the services are a double.

    NOVADOCKER_STATIC=FOLDER python -m django test --settings=tests.styled tests.serving

It prints the address and, by what they show, the paths of pages as a line of JSON; its user is an
administrator who is logged in already. It ends when its standard input does.
"""

from __future__ import annotations

import json
import sys
import uuid

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.test.testcases import LiveServerThread
from django.urls import reverse

from tests import large
from tests.cases import CONTAINERS, HOSTS, MARKUP, AdminPageTests

FAILED = {
    "state": "partial",
    "rows": [
        {"host": "vm-1", "role": "compute", "state": "ok", "step": "finish_in_service"},
        {
            "host": "vm-2",
            "state": "failed",
            "step": "switch",
            "reason": MARKUP,
            "log": "/var/x.log",
        },
        {"host": "vm-3", "state": "skipped", "reason": "it has instances"},
    ],
    "errors": [{"task": "switch", "error": MARKUP}],
    "images": [{"reference": "busybox:1", "digest": "sha256:0", "id": "i1"}],
    "notes": ["One is left."],
}


class Serving(AdminPageTests):
    """A server of pages."""

    def test_pages_are_served_until_nobody_wants_them(self) -> None:
        """As a browser asks for them, with their files."""
        paths = self._paths()
        # Styles take longer to compile than a browser waits.
        self.client.get(next(iter(paths.values())))
        server = LiveServerThread("127.0.0.1", StaticFilesHandler)
        server.daemon = True
        server.start()
        server.is_ready.wait()
        if server.error:
            raise server.error
        told = {"url": f"http://{server.host}:{server.port}", "pages": paths}
        sys.stdout.write(f"{json.dumps(told)}\n")
        sys.stdout.flush()
        sys.stdin.read()
        server.terminate()

    def _paths(self) -> dict[str, str]:
        panels = {HOSTS: "docker hosts", CONTAINERS: "containers"}
        paths = {}
        for name, *args in self.all_pages():
            panel, _, page = name.rpartition(":")
            paths[f"{panels[f'{panel}:']}: {page}"] = reverse(name, args=args)
        self.fake.add_host("vm-2", hypervisor_type="docker", state="down", status="disabled")
        self.fake.enrol("rack-1", "vm-1", "vm-2")
        self.fake.add_image("web")
        self.fake.add_server("web-2", status="ERROR", fault={"message": MARKUP})
        failed = self.fake.add_run("deploy", "ERROR", output={"report": FAILED, "message": MARKUP})
        runs = {
            "a run that has failed": failed,
            "a run over 1000 hosts": large.add_run(self.fake, 1000),
            "what is not there": str(uuid.uuid4()),
        }
        shown = {what: reverse(f"{HOSTS}run", args=[run]) for what, run in runs.items()}
        return {**paths, **shown}
