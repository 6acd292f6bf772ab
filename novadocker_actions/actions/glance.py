# SPDX-License-Identifier: Apache-2.0
"""Actions that publish Docker images to Glance, and see that Glance takes them."""

from __future__ import annotations

import logging
import time
from typing import Any

from novadocker_actions.actions.base import ChangingAction, NovadockerAction, action
from novadocker_actions.actions.steps import push_to_all
from novadocker_actions.cloud import glance, host_keys, nova, runs
from novadocker_actions.cloud.clients import Cloud
from novadocker_actions.cloud.host_keys import HostKeys
from novadocker_actions.errors import CloudError, NovadockerError, Refused
from novadocker_actions.plan import report, rows

LOG = logging.getLogger(__name__)

# How long Glance may take to answer with its new configuration.
GLANCE_WAIT_S = 60
_POLL_S = 1.0
# How many answers in a row have to agree: there may be nodes that are not enrolled.
LEAST_ANSWERS = 12


@action
class VerifyGlance(ChangingAction):
    """See that Glance's API answers and, when all its nodes are done, that it takes docker images.

    Nodes stand behind one address, perhaps more of them than are enrolled: so that it takes them is
    to be seen many times in a row, each time over a connection of its own.

    :param rows: controllers; those with the role glance fail when it does not
    :param settings: the workflow's
    :param docker: whether it is to take docker images by now
    """

    rows: Any
    settings: dict[str, Any]
    docker: bool = True

    task = "verify_glance"

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return the controllers."""
        host_rows = rows.read(self.rows)
        nodes = [row for row in host_rows if row.ok and "glance" in row.role.split(",")]
        until = time.monotonic() + GLANCE_WAIT_S
        wanted = max(2 * len(nodes) - 1, LEAST_ANSWERS) if nodes else 0
        seen, reason = 0, ""
        while seen < wanted:
            reason = _why_not(cloud, self.docker)
            seen = 0 if reason else seen + 1
            if reason and time.monotonic() + _POLL_S > until:
                break
            if reason:
                time.sleep(_POLL_S)
        for row in nodes:
            if reason:
                row.fail("verify_glance", reason)
        return rows.batch(host_rows)


def _why_not(cloud: Cloud, docker: bool) -> str:
    try:
        accepts = glance.accepts_docker(cloud.image)
    except CloudError as err:
        if err.status < 500:
            raise
        return f"Glance does not answer: {err}"
    if accepts or not docker:
        return ""
    return (
        "the schema of Glance's API has no container format docker: a node behind its address has "
        "not been restarted, or is not enrolled (`novadocker-enroll add --role glance`)"
    )


@action
class FindImages(NovadockerAction):
    """Find which images are in Glance already, by the digest that their registry gives.

    :param images: reference and digest of each
    :param settings: the workflow's
    """

    images: list[dict[str, str]]
    settings: dict[str, Any]

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return ``ready`` and ``missing`` images."""
        ready, missing = [], []
        for wanted in self.images:
            image = glance.published(
                cloud.image, cloud.project_id, wanted["reference"], wanted["digest"]
            )
            if image:
                ready.append({**wanted, "id": image["id"], "ok": True, "changed": False})
            else:
                missing.append(wanted)
        return {"ready": ready, "missing": missing}


@action
class ExportImage(NovadockerAction):
    """Push export_image to a controller: pull the image and save it to a file.

    :param rows: the controller
    :param image: reference, and the digest that the registry gives for it
    :param settings: the workflow's
    """

    rows: Any
    image: dict[str, str]
    settings: dict[str, Any]

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return the controller with what is pending."""
        host_rows = rows.read(self.rows)
        settings = {"image": self.image["reference"], "digest": self.image["digest"]}
        jobs = [(row, [("export_image", settings)]) for row in host_rows]
        timeout_s, run_id = self.settings["step_timeout_s"], self.settings["run_id"]
        push_to_all(cloud, jobs, mode="apply", timeout_s=timeout_s, run_id=run_id)
        return rows.batch(host_rows)


@action
class UploadImage(NovadockerAction):
    """Make the record in Glance, and push upload_image to the controller that holds the archive.

    A token goes there sealed to the key that was pinned when the host was enrolled, with this image
    and Glance's address. No key that an outcome brings is used for it. It has the one role that may
    upload, and ends with the run; only a caller who may not delegate that has his own sent.

    :param rows: the controller, with the facts of its export
    :param image: reference, and the digest that the registry gives for it
    :param settings: the workflow's
    """

    rows: Any
    image: dict[str, str]
    settings: dict[str, Any]

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return the row with what is pending, the Glance image and what it has to be."""
        host_rows = rows.read(self.rows)
        row = host_rows[0]
        if not row.ok:
            return {**rows.batch(host_rows), "image_id": "", "sha512": ""}
        key = HostKeys(cloud.orchestration).of(row.host)
        if not key:
            raise Refused("hosts", f"no key of {row.host} is pinned.", "Enrol it again.")
        exported = row.facts
        reference = self.image["reference"]
        digest = self.image["digest"] or str(exported["digest"])
        record = glance.record_for(cloud.image, cloud.project_id, cloud.task_id, reference, digest)
        result = {"image_id": record["id"], "sha512": exported["sha512"]}
        if record["status"] == "active":
            # Another run, or a lost executor's push, has uploaded it: its own hash holds.
            return {**rows.batch(host_rows), **result, "sha512": record.get("os_hash_value") or ""}
        goal = {"image_id": record["id"], "glance_url": glance.address(cloud.image)}
        sealed = host_keys.seal({"token": self._token(cloud), **goal}, key)
        settings = {**goal, "digest": exported["digest"], "sealed_token": sealed}
        settings["glance_authority"] = cloud.authority
        jobs = [(row, [("upload_image", settings)])]
        timeout_s, run_id = self.settings["step_timeout_s"], self.settings["run_id"]
        push_to_all(cloud, jobs, mode="apply", timeout_s=timeout_s, run_id=run_id)
        return {**rows.batch(host_rows), **result}

    def _token(self, cloud: Cloud) -> str:
        trust_id = self.settings.get("upload_trust_id")
        if trust_id:
            return cloud.token_of(trust_id)
        LOG.warning("The caller could not delegate the upload: their own token goes to the host")
        return cloud.token


@action
class VerifyImage(NovadockerAction):
    """See that an uploaded image is active and is what the host exported; remove it if not.

    :param rows: the controller
    :param image: reference and digest
    :param upload: what upload_image gave: ``image_id``, "" when it came to none, and ``sha512``
    :param settings: the workflow's
    """

    rows: Any
    image: dict[str, str]
    upload: dict[str, Any]
    settings: dict[str, Any]

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return the image as the report shows it, and whether the run is to stop after it."""
        several = len(self.settings["images"]) > 1
        stop = several and runs.is_asked_to_stop(cloud.workflow, self.settings["run_id"])
        return {"image": self._verified(cloud), "stop": stop}

    def _verified(self, cloud: Cloud) -> dict[str, Any]:
        row = rows.read(self.rows)[0]
        image_id, reference = self.upload["image_id"], self.image["reference"]
        image: dict[str, Any] = {"reference": reference, "id": image_id, "ok": False}
        reason = f"{row.step} on {row.host}: {row.reason}" if not row.ok else ""
        if image_id:
            record = cloud.image.get(f"/v2/images/{image_id}")
            fault = glance.fault_of(record, self.upload["sha512"])
            if not fault:
                digest = record.get("docker_digest", "")
                return {**image, "ok": True, "changed": True, "digest": digest}
            if glance.is_own(record, cloud.project_id):
                cloud.image.delete(f"/v2/images/{image_id}")
            reason = reason or fault
        return {**image, "id": "", "reason": rows.shorten(reason)}


@action
class RemoveImages(NovadockerAction):
    """Delete the images that this bundle published to Glance, once no Docker hypervisor is left.

    :param settings: the workflow's
    """

    settings: dict[str, Any]

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return which images were removed, and remarks for the report.

        :raises NovadockerError: naming the images that could not be removed
        """
        left = nova.docker_hosts(cloud.compute)
        if left:
            note = f"images were kept: {report.names(left)} are Docker hypervisors"
            return {"removed": [], "notes": [note]}
        removed, kept = [], []
        # All pages first: a page that begins after an image that is gone is refused.
        for record in list(glance.own(cloud.image, cloud.project_id)):
            name = str(record.get("docker_reference") or record["id"])
            try:
                cloud.image.delete(f"/v2/images/{record['id']}")
                removed.append(name)
            except CloudError as err:
                if err.status not in (403, 409):
                    raise
                kept.append(f"{name}: {err}")
        if kept:
            raise NovadockerError("Images could not be removed: " + "; ".join(kept))
        return {"removed": removed, "notes": []}
