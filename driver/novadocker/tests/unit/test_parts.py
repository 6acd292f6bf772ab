# SPDX-License-Identifier: Apache-2.0
"""What the driver is made of."""

from __future__ import annotations

import dataclasses
from typing import Any

from novadocker.virt.docker.parts import Parts


def test_what_is_handed_over_is_taken(
    conf: Any, virtapi: Any, engine: Any, wiring: Any, glance: Any
) -> None:
    parts = Parts.assemble(conf, virtapi, engine=engine, wiring=wiring, glance=glance)
    assert (parts.engine, parts.wiring, parts.glance) == (engine, wiring, glance)


def test_all_parts_are_made_and_share_the_facts_of_the_host(
    conf: Any, virtapi: Any, engine: Any, wiring: Any, glance: Any
) -> None:
    parts = Parts.assemble(conf, virtapi, engine=engine, wiring=wiring, glance=glance)
    missing = {
        field.name for field in dataclasses.fields(parts) if getattr(parts, field.name) is None
    }
    assert missing == {"watcher"}
    parts.facts.name = "renamed"
    parts.workloads.names_by_uuid()
    assert parts.workloads._facts is parts.instances._specification._facts is parts.facts
