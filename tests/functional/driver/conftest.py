# SPDX-License-Identifier: Apache-2.0
"""What the driver's tests run on: engines of their own.

No test uses the machine's Docker Engine, of which others have containers and images at any time,
nor one that another test uses at the same time. They run one after another nevertheless: a mount
of a volume lives on in each mount namespace that another test makes meanwhile, and the volume is
"in use elsewhere" for as long.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import docker
import pytest

from tests.functional.driver import own_engine


@pytest.fixture(scope="session")
def _process_engine() -> Iterator[own_engine.OwnEngine]:
    """Run an engine for all tests of this process, which run one after another."""
    with own_engine.running() as engine, pytest.MonkeyPatch.context() as patched:
        patched.setitem(os.environ, "DOCKER_HOST", engine.url)
        yield engine


@pytest.fixture(scope="module", autouse=True)
def _given_engine(request: pytest.FixtureRequest) -> None:
    """Give an engine to modules all of whose tests need one."""
    if any(mark.name == "docker" for mark in request.node.iter_markers()):
        request.getfixturevalue("_process_engine")


@pytest.fixture
def engine() -> Iterator[docker.DockerClient]:
    """Connect to the given engine."""
    client = own_engine.given()
    yield client
    client.close()
