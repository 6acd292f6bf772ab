# SPDX-License-Identifier: Apache-2.0
"""Heat's own engine in process: templates are read and validated as Heat does on a stack create."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import pytest
from heat.common import context, messaging
from heat.engine import environment, resource, resources, stack, template
from heatclient.common import template_utils
from oslo_config import cfg

TEMPLATES = pathlib.Path(__file__).parents[3] / "heat_templates"

Validate = Callable[..., stack.Stack]


@pytest.fixture(scope="session")
def heat_engine() -> None:
    """Load Heat's resource types, with a message bus that leads nowhere."""
    cfg.CONF([], project="heat", default_config_files=[], default_config_dirs=[])
    messaging.setup("fake:///", optional=True)
    resources.initialise()


@pytest.fixture
def validate(heat_engine: None, monkeypatch: pytest.MonkeyPatch) -> Validate:
    """Return a function that validates a template of this bundle and returns the stack."""
    # Whether a cloud has the services is the cloud's business, not the template's.
    monkeypatch.setattr(
        resource.Resource,
        "is_service_available",
        classmethod(lambda cls, ctx: (True, None)),
    )

    def check(
        name: str | dict[str, Any], parameters: dict[str, Any], env: str | None = None
    ) -> stack.Stack:
        files, body = {}, name
        if isinstance(name, str):
            files, body = template_utils.get_template_contents(str(TEMPLATES / name))
        settings: dict[str, Any] = {}
        if env:
            more, settings = template_utils.process_multiple_environments_and_files(
                [str(TEMPLATES / env)]
            )
            files.update(more)
        texts = {key: _text(value) for key, value in files.items()}
        settings["parameters"] = parameters
        parsed = template.Template(body, files=texts, env=environment.Environment(settings))
        ctx = context.RequestContext(
            project_id="p", user_id="u", roles=["member"], auth_token="t", is_admin=False
        )
        made = stack.Stack(ctx, "stack", parsed)
        made.validate()
        return made

    return check


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
