# SPDX-License-Identifier: Apache-2.0
"""What is believed of what hosts tell on the way, and that it ends nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from heatclient.v1.client import Client

from novadocker_actions.cloud import progress
from novadocker_actions.cloud.host_keys import HostKeys
from novadocker_actions.cloud.services import ServiceAdapter
from novadocker_actions.plan.rows import HostRow, Pending
from tests.fake_service import session_with
from tests.host_keys import public_text, sign

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Heat:
    """The stacks of two pools' keys, with a handle in the first one."""

    def __init__(self) -> None:
        self.words: Any = {}
        self.status = 200
        self.asked: list[str] = []

    def answer(self, _method: str, path: str, query: dict[str, str], _body: Any) -> Any:
        """Answer a request."""
        if path == "/stacks":
            pools = [f"{query['tags']}-{number}" for number in (1, 2)]
            if query["tags"] == "novadocker-keys":
                pools = [f"novadocker-keys-novadocker-hosts-{number}" for number in (1, 2)]
            return 200, {"stacks": [{"stack_name": name, "id": "i"} for name in pools]}
        if path.endswith("/outputs/public_keys"):
            hosts = ("c1", "c2") if "hosts-1" in path else ("c3",)
            return 200, {"output": {"output_value": dict.fromkeys(hosts, public_text(KEY))}}
        self.asked.append(path)
        return (self.status, {"metadata": self.words}) if "hosts-1" in path else (404, {})

    @property
    def client(self) -> Client:
        """Heat's client for it."""
        return Client(session=ServiceAdapter(session_with(self.answer), "orchestration"))


@pytest.fixture
def heat() -> Heat:
    return Heat()


def row(host: str = "c1", *steps: str) -> HostRow:
    """Return a host with a recipe under way."""
    pending = Pending(list(steps or ("a", "b", "c")), "apply", "p1", "config", 9, text_digest="t")
    return HostRow(host, "compute", pending=pending)


def word(number: int = 2, *, host: str = "c1", key: rsa.RSAPrivateKey = KEY, **more: Any) -> Any:
    """Return what a host tells."""
    told = {"push_id": "p1", "number": number, "step": " abc"[number], **more}
    covered = progress.document(host, "p1", "t", number, " abc"[number])
    return {"data": json.dumps({"signature": sign(key, covered), **told}), "status": "SUCCESS"}


def at(heat: Heat, *rows: HostRow) -> list[int]:
    """Return at which steps hosts are seen to be."""
    progress.note(heat.client, rows, HostKeys(heat.client))
    assert all(row.pending and row.ok for row in rows)
    return [row.pending.at for row in rows if row.pending]


def test_one_question_tells_of_all_hosts_of_a_pool(heat: Heat) -> None:
    heat.words = {"c1": word(), "c2": word(3, host="c2")}
    assert at(heat, row("c1"), row("c2")) == [2, 3]
    assert len(heat.asked) == 1
    assert heat.asked[0].endswith(
        "/stacks/novadocker-keys-novadocker-hosts-1/i/resources/progress/metadata"
    )


def test_nobody_is_asked_for_a_recipe_of_one_step_or_for_what_has_ended(heat: Heat) -> None:
    ended = HostRow("c1", "compute")
    progress.note(heat.client, [row("c2", "a"), ended], HostKeys(heat.client))
    assert heat.asked == []


@pytest.mark.parametrize(
    "words",
    [
        {},
        None,
        {"c1": word(key=OTHER)},
        {"c1": word(host="c2")},
        # What is so of the second step does not tell of the third, nor of another push.
        {"c1": {"data": word()["data"].replace(': 2, "step": "b"', ': 3, "step": "c"')}},
        {"c1": word(push_id="p0")},
        {"c1": word(step="c")},
        {"c1": word(signature=None)},
        {"c1": {"data": "[" * 1900}},
        {"c1": {"data": json.dumps([1])}},
        {"c1": {"data": json.dumps({"push_id": "p1", "number": "2", "step": "b"})}},
        {"c1": {"data": json.dumps({"push_id": "p1", "number": -1, "step": "c"})}},
        {"c1": {"data": word()["data"] + " " * 2000}},
        {"c1": {"data": {"number": 2}}},
        {"c1": "b"},
    ],
)
def test_what_is_no_word_of_the_host_is_passed_over(heat: Heat, words: Any) -> None:
    heat.words = words
    assert at(heat, row()) == [0]


def test_a_host_does_not_go_back_by_a_word_that_is_late(heat: Heat) -> None:
    heat.words = {"c1": word(2)}
    later = row()
    assert later.pending
    later.pending.at = 3
    assert at(heat, later) == [3]


@pytest.mark.parametrize("status", [404, 500, 503])
def test_where_heat_does_not_tell_nothing_is_lost_but_that(heat: Heat, status: int) -> None:
    heat.status = status
    assert at(heat, row("c1"), row("c3"), row("unknown")) == [0, 0, 0]
