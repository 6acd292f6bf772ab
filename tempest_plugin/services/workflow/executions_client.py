# SPDX-License-Identifier: Apache-2.0
"""Workflow executions of Mistral's API v2."""

from __future__ import annotations

import time
from typing import Any

from oslo_serialization import jsonutils
from tempest.lib import exceptions as lib_exc
from tempest.lib.common import rest_client

ENDED = frozenset({"SUCCESS", "ERROR", "CANCELLED"})


class ExecutionsClient(rest_client.RestClient):
    """Starts workflows and follows them."""

    def create_execution(self, workflow: str, inputs: dict[str, Any]) -> rest_client.ResponseBody:
        """Start a workflow.

        :param workflow: its name, such as novadocker.plan
        :param inputs: its inputs by name
        """
        request = jsonutils.dumps({"workflow_name": workflow, "input": inputs})
        resp, body = self.post("executions", request)
        self.expected_success(201, resp.status)
        return rest_client.ResponseBody(resp, decoded(jsonutils.loads(body)))

    def show_execution(self, execution_id: str) -> rest_client.ResponseBody:
        """Show an execution with its output.

        :param execution_id: its ID
        """
        resp, body = self.get(f"executions/{execution_id}")
        self.expected_success(200, resp.status)
        return rest_client.ResponseBody(resp, decoded(jsonutils.loads(body)))

    def delete_execution(self, execution_id: str) -> rest_client.ResponseBody:
        """Delete an execution, also one that still runs.

        :param execution_id: its ID
        """
        resp, body = self.delete(f"executions/{execution_id}?force=true")
        self.expected_success(204, resp.status)
        return rest_client.ResponseBody(resp, body)

    def wait_for_execution(self, execution_id: str) -> rest_client.ResponseBody:
        """Wait until an execution has ended, well or badly.

        :param execution_id: its ID
        :raises TimeoutException: when it still runs after [novadocker] build_timeout
        """
        deadline = time.monotonic() + self.build_timeout
        while True:
            execution = self.show_execution(execution_id)
            if execution["state"] in ENDED:
                return execution
            if time.monotonic() > deadline:
                raise lib_exc.TimeoutException(
                    f"Execution {execution_id} of {execution['workflow_name']} is still "
                    f"{execution['state']} after {self.build_timeout} s"
                )
            time.sleep(self.build_interval)


def decoded(execution: dict[str, Any]) -> dict[str, Any]:
    """Decode the fields of an execution that Mistral gives as JSON text.

    :param execution: an execution as the API gives it
    :return: the same with input, output and params as objects
    """
    fields = {
        name: jsonutils.loads(execution[name])
        for name in ("input", "output", "params")
        if isinstance(execution.get(name), str)
    }
    return {**execution, **fields}
