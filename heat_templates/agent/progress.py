#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tell Heat how far this host has come with a message: one small word, signed as an outcome is.

A mailbox takes one signal, which ends what is under way. So this goes to a wait condition's handle
beside the hosts' keys, which keeps the last word of each host and ends nothing. What is lost of it
is no harm.
"""

from __future__ import annotations

import http.client
import json
import ssl
import sys
import urllib.parse
from pathlib import Path
from typing import Any

from agent import outcomes

TIMEOUT_S = 10


def main(access_file: Path) -> int:
    """Tell what standard input says; return the exit code."""
    given = json.load(sys.stdin)
    access = json.loads(access_file.read_text())
    try:
        send(access["alarm_url"], word(given), {"X-Auth-Token": token(access)})
    except (OSError, http.client.HTTPException, ValueError) as err:
        # Its address and its password are not for the log.
        print(f"that step {given['number']} begins could not be told: {err}", file=sys.stderr)
        return 1
    return 0


def word(given: dict[str, Any]) -> dict[str, Any]:
    """Return what is told: the form is Heat's, the data is ours."""
    text, number, step = given["text"], given["number"], given["step"]
    host, push_id = outcomes.host_name(), json.loads(text)["push_id"]
    digest = outcomes.text_digest({"group": outcomes.MESSAGES, "config": text})
    covered = ["novadocker-progress", host, push_id, digest, str(number), step]
    data = {"push_id": push_id, "number": number, "step": step}
    data["signature"] = outcomes.signature(covered)
    reason = f"{host} is at step {number} of {given['of']}: {step}"
    return {"id": host, "status": "SUCCESS", "reason": reason, "data": json.dumps(data)}


def token(access: dict[str, Any]) -> str:
    """Return a token of the user that Heat made for this handle, who can do nothing else."""
    user = {"id": access["user_id"], "password": access["password"]}
    identity = {"methods": ["password"], "password": {"user": user}}
    scope = {"project": {"id": access["project_id"]}}
    address = access["auth_url"].rstrip("/")
    address = address if address.endswith("/v3") else f"{address}/v3"
    asked = {"auth": {"identity": identity, "scope": scope}}
    return send(f"{address}/auth/tokens?nocatalog", asked, {}).get("X-Subject-Token") or ""


def send(address: str, body: dict[str, Any], headers: dict[str, str]) -> http.client.HTTPMessage:
    """Post JSON; return the headers of the answer.

    :raises ValueError: with the status of an answer that is no success
    """
    url = urllib.parse.urlsplit(address)
    connection = http.client.HTTPConnection(url.netloc, timeout=TIMEOUT_S)
    if url.scheme == "https":
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(url.netloc, timeout=TIMEOUT_S, context=context)
    path = url.path + (f"?{url.query}" if url.query else "")
    try:
        connection.request(
            "POST", path, json.dumps(body), {"Content-Type": "application/json", **headers}
        )
        answer = connection.getresponse()
        answer.read(2000)
    finally:
        connection.close()
    if answer.status >= 300:
        raise ValueError(f"{url.netloc} answered {answer.status}")
    return answer.headers
