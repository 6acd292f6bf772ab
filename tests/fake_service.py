# SPDX-License-Identifier: Apache-2.0
"""A service in memory behind HTTP, for tests with the real clients of OpenStack."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests
from keystoneauth1 import session, token_endpoint
from requests.adapters import BaseAdapter

# What a service answers to a method, a path, a query and a body: status, and JSON or nothing.
Answers = Callable[[str, str, dict[str, str], Any], tuple[int, Any]]
ADDRESS = "http://service.test"


class _Transport(BaseAdapter):
    def __init__(self, answers: Answers) -> None:
        super().__init__()
        self._answers = answers

    def send(self, request: requests.PreparedRequest, **_options: Any) -> requests.Response:
        parts = urlsplit(str(request.url))
        body = json.loads(request.body) if request.body else None
        query = dict(parse_qsl(parts.query))
        response = requests.Response()
        response.status_code, answer = self._answers(str(request.method), parts.path, query, body)
        if answer is None:
            # So Heat tells of what it has only accepted.
            response.headers["Content-Type"], response._content = "text/html", b"<html></html>"
        else:
            response.headers["Content-Type"] = "application/json; charset=UTF-8"
            response._content = json.dumps(answer).encode()
        response.url, response.request = str(request.url), request
        return response

    def close(self) -> None:
        pass


def session_with(answers: Answers) -> session.Session:
    """Return an authenticated session all of whose requests a function answers."""
    inner = requests.Session()
    inner.mount(ADDRESS, _Transport(answers))
    return session.Session(session=inner, auth=token_endpoint.Token(ADDRESS, "token"))
