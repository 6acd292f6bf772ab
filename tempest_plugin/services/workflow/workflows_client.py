# SPDX-License-Identifier: Apache-2.0
"""Workflow definitions of Mistral's API v2."""

from __future__ import annotations

from oslo_serialization import jsonutils
from tempest.lib.common import rest_client


class WorkflowsClient(rest_client.RestClient):
    """Reads workflow definitions. The catalog's endpoint holds the API version."""

    def list_workflows(self) -> rest_client.ResponseBody:
        """List the workflows that the project sees, without their definitions."""
        resp, body = self.get("workflows?fields=name,tags,namespace,scope")
        self.expected_success(200, resp.status)
        return rest_client.ResponseBody(resp, jsonutils.loads(body))

    def show_workflow(self, name: str) -> rest_client.ResponseBody:
        """Show one workflow.

        :param name: name or ID, such as novadocker.plan
        """
        resp, body = self.get(f"workflows/{name}")
        self.expected_success(200, resp.status)
        return rest_client.ResponseBody(resp, jsonutils.loads(body))
