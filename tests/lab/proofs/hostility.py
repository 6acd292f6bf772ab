# SPDX-License-Identifier: Apache-2.0
"""Who wishes the cloud ill: a reader of the stacks' project, and root on a host that was taken."""

from __future__ import annotations

import base64
import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import heatclient.client
import heatclient.exc
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from keystoneauth1 import session
from keystoneauth1.exceptions import ClientException
from keystoneauth1.identity import v3
from openstack.connection import Connection

from novadocker_actions.cloud import host_keys, messages
from novadocker_client import hosts as novadocker_hosts
from novadocker_client.connection import Cloud

READER, PASSWORD = "reader", "reads-all-and-no-more"
# Heat takes bodies of up to 1 MiB.
HUGE = 1_000_000
LOOK_S = 0.3
_IN_PROGRESS = "IN_PROGRESS"


def reader_of(admin: Connection) -> Connection:
    """Return a connection of a user who may but read in the project that has the stacks."""
    identity = admin.identity
    user = identity.find_user(READER) or identity.create_user(name=READER, password=PASSWORD)
    role = identity.find_role("reader", ignore_missing=False)
    identity.assign_project_role_to_user(admin.current_project_id, user, role)
    return admin.connect_as(username=READER, password=PASSWORD, project_id=admin.current_project_id)


def agents_heat(inputs: Mapping[str, str]) -> Any:
    """Return Heat's client with the credentials that a host's agent has.

    :param inputs: those of a config that the host was given
    """
    auth = v3.Password(
        auth_url=inputs["deploy_auth_url"],
        user_id=inputs["deploy_user_id"],
        password=inputs["deploy_password"],
        project_id=inputs["deploy_project_id"],
    )
    return heatclient.client.Client("1", session=session.Session(auth=auth))


def inputs_of(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the inputs of a config of Heat by name."""
    return {item["name"]: item.get("value") or "" for item in config.get("inputs") or ()}


class Mailbox:
    """A host's mailbox as somebody sees it.

    :param cloud: that somebody's
    :param host: the host
    :param admin: who is asked where it is, which Heat tells every reader
    """

    def __init__(self, cloud: Cloud, host: str, admin: Cloud | None = None) -> None:
        self.heat, self.host = cloud.heat, host
        enrolment = novadocker_hosts.get(admin or cloud, host).enrolment
        assert enrolment, host
        self.deployment_id = enrolment.deployment_id

    def deployment(self) -> dict[str, Any]:
        """Return the deployment as it is now."""
        return dict(self.heat.software_deployments.get(self.deployment_id).to_dict())

    def config(self, config_id: str) -> dict[str, Any]:
        """Return a config."""
        return dict(self.heat.software_configs.get(config_id).to_dict())


class Attack:
    """Forged outcomes of hosts' steps, one for each message, each time of another kind.

    What is read meanwhile is kept: nobody's token is to be in it.

    :param targets: mailboxes that are attacked, as the attacker sees them
    :param signals: Heat's clients of those who signal, one after the other
    """

    def __init__(self, targets: list[Mailbox], signals: list[Any]) -> None:
        self._mailboxes = targets
        self._signals = signals
        self._stop = threading.Event()
        self._attacked: set[str] = set()
        # The last outcome that each host signed, for a replay.
        self._signed: dict[str, dict[str, Any]] = {}
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=3072)
        self.tried: Counter[str] = Counter()
        self.turned_away: Counter[str] = Counter()
        self.read: dict[str, str] = {}

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """A context in which the attack goes on."""
        with ThreadPoolExecutor(1) as pool:
            work = pool.submit(self._attack)
            try:
                yield
            finally:
                self._stop.set()
            work.result()

    def _attack(self) -> None:
        while not self._stop.wait(LOOK_S):
            for mailbox in self._mailboxes:
                self._look(mailbox)

    def _look(self, mailbox: Mailbox) -> None:
        try:
            deployment = mailbox.deployment()
            outputs = deployment.get("output_values") or {}
            self.read[f"outputs {mailbox.host} {outputs.get('push_id')}"] = json.dumps(outputs)
            if outputs.get("signature") and deployment["status"] != _IN_PROGRESS:
                self._signed.setdefault(mailbox.host, outputs)
            config_id = deployment["config_id"]
            if deployment["status"] != _IN_PROGRESS or config_id in self._attacked:
                return
            config = mailbox.config(config_id)
        except (ClientException, heatclient.exc.BaseException):
            # Replaced at this moment, or Heat is busy.
            return
        self.read[f"config {config_id}"] = json.dumps(config)
        message = json.loads(config["config"]) if config["group"] == "novadocker" else {}
        self._attacked.add(config_id)
        # One that is pushed anew, as an outcome was refused, is let alone.
        if message.get("push_id") in self._attacked:
            return
        self._attacked.add(str(message.get("push_id")))
        self._send(mailbox, config, message)

    def _send(self, mailbox: Mailbox, config: dict[str, Any], message: dict[str, Any]) -> None:
        forged = dict(self._forgeries(mailbox.host, message, str(config["config"])))
        kind = min(forged, key=lambda name: (self.tried[name], list(forged).index(name)))
        inputs = inputs_of(config)
        heat = self._signals[sum(self.tried.values()) % len(self._signals)]
        self.tried[kind] += 1
        stack = inputs["deploy_stack_id"]
        try:
            heat.resources.signal(stack, inputs["deploy_resource_name"], data=forged[kind])
        except (ClientException, heatclient.exc.BaseException) as refusal:
            self.turned_away[f"{kind}: {type(refusal).__name__}"] += 1

    def _forgeries(
        self, host: str, message: dict[str, Any], wanted: str
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        steps = [step["name"] for step in message.get("steps", ())]
        facts = {"disturbs": False, "digest": f"sha256:{'0' * 64}", "sha512": "0" * 128}
        facts["public_key"] = self.public_key
        told = [{"step": name, "ok": True, "changed": False, "facts": facts} for name in steps]
        report = json.dumps({"steps": told, "reason": "", "log": "/var/log/forged"})
        ok = {"deploy_result": "ok", "changed": "false", "report": report}
        push_id = str(message.get("push_id"))
        yield "forged, unsigned", {**ok, "deploy_status_code": 0}
        yield "forged, of this push", {**ok, "push_id": push_id, "deploy_status_code": 0}
        text = host_keys.document(host, push_id, messages.digest(wanted), ok)
        signed = {**ok, "push_id": push_id, "signature": self._sign(text)}
        yield "forged, with a key of its own", {**signed, "public_key": self.public_key}
        yield "huge", {**signed, "report": "A" * HUGE}
        if host in self._signed:
            yield "replayed, late", self._signed[host]
            yield "replayed for this push", {**self._signed[host], "push_id": push_id}
        for other, outputs in self._signed.items():
            if other != host:
                yield "another host's", {**outputs, "push_id": push_id}

    @property
    def public_key(self) -> str:
        """The attacker's own key."""
        der = self._key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return base64.b64encode(der).decode()

    def _sign(self, text: bytes) -> str:
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
        return base64.b64encode(self._key.sign(text, pss, hashes.SHA256())).decode()

    def opens(self, sealed: str) -> bool:
        """Tell whether the attacker's key opens what was sealed for a host."""
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
        try:
            self._key.decrypt(base64.b64decode(sealed.split(".")[0]), oaep)
        except ValueError:
            return False
        return True
