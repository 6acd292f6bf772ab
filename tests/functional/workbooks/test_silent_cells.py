# SPDX-License-Identifier: Apache-2.0
"""A cell of Nova that does not answer: of its hosts Nova tells no more than their names."""

from __future__ import annotations

from typing import Any

import pytest

from tests.functional.workbooks.fake_cloud import FakeCloud, FakeHost
from tests.functional.workbooks.in_process import Mistral
from tests.functional.workbooks.results import CONVERTED

FIRST = "compute-docker-1"


def test_a_converted_host_is_put_into_service_when_its_cell_answers_again(
    mistral: Mistral, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, silent = cloud._services, list[str]()

    def services(query: dict[str, str], body: Any) -> Any:
        # As Nova does since microversion 2.69.
        status, answer = real(query, body)
        told = [item for item in answer["services"] if item["host"] not in silent]
        names = [{"binary": "nova-compute", "host": name, "status": "UNKNOWN"} for name in silent]
        silent.clear()
        return status, {"services": [*told, *names]}

    def after_step(host: FakeHost, *at: str) -> None:
        if host.name == FIRST and at == ("verify_host", "apply"):
            silent.append(host.name)

    monkeypatch.setattr(cloud, "_services", services)
    cloud.after_step = after_step

    run = mistral.run("novadocker.deploy", {"hosts": [FIRST]})

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    host = cloud.hosts[FIRST]
    assert (host.state, host.status) == (CONVERTED, "enabled")
