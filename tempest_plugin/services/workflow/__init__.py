# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from tempest_plugin.services.workflow.executions_client import ExecutionsClient
from tempest_plugin.services.workflow.workflows_client import WorkflowsClient

__all__ = ["ExecutionsClient", "WorkflowsClient"]
