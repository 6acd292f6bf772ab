# SPDX-License-Identifier: Apache-2.0
"""A real Mistral engine, scheduler and executor in this process, on a database in memory."""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import threading
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import jsonschema
import oslo_messaging
from mistral import config as mistral_config  # noqa: F401 - registers the options
from mistral import context as mistral_context
from mistral.db.v2 import api as db_api
from mistral.db.v2.sqlalchemy import models
from mistral.engine import engine_server
from mistral.engine import workflows as engine_workflows
from mistral.executors import base as executors
from mistral.lang import parser
from mistral.rpc import base as rpc_base
from mistral.rpc import clients as rpc_clients
from mistral.services import action_heartbeat_checker, action_heartbeat_sender, workbooks
from mistral.services import actions as action_service
from mistral.utils import filter_utils
from oslo_config import cfg
from oslo_messaging._drivers import impl_fake
from sqlalchemy import orm

from tests.functional.workbooks import fake_cloud

TOP = Path(__file__).resolve().parents[3]
ENDED = ("SUCCESS", "ERROR", "CANCELLED")
# A run is looked at when the engine ends it, and now and then, in case it is gone.
LOOKED_AT_S = 5
# Python looks for garbage after so many new objects: Mistral makes many, and keeps most.
GARBAGE = (100_000, 50, 100)
# Mistral asks for each of these with a statement of its own, in most transactions: a quarter of all
# statements. Its API reads params and input anyway, and has no field for the others.
READ_WITH_THEIR_ROW = {
    models.WorkflowExecution: ("params", "input", "context"),
    models.TaskExecution: ("spec",),
}


def caller() -> mistral_context.MistralContext:
    """Return the context of an operator with a token and a catalog."""
    return mistral_context.MistralContext.from_dict(
        {
            "user_name": "operator",
            "user": "u1",
            "tenant": "p1",
            "project_id": "p1",
            "project_name": "admin",
            "is_admin": True,
            "auth_token": fake_cloud.TOKEN,
            "auth_uri": "http://cloud.test/keystone",
            "region_name": "RegionOne",
            "service_catalog": {**fake_cloud.CALLER, "catalog": fake_cloud.CATALOG},
        }
    )


def actions() -> dict[str, type]:
    """Return the actions that pyproject.toml declares."""
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    actions = {}
    for name, target in project["entry-points"]["mistral.actions"].items():
        module, attribute = target.split(":")
        actions[name] = getattr(importlib.import_module(module), attribute)
    return actions


def read_columns_with_their_row() -> None:
    """Have columns that are needed anyway come with their row, before a model is first used."""
    for model, names in READ_WITH_THEIR_ROW.items():
        # Changes within a column are noticed by what is set up with the model's mapper.
        assert not orm.class_mapper(model, configure=False).configured
        for name in names:
            setattr(model, name, orm.column_property(model.__table__.c[name]))


class _QuickClock:
    """What the transport in memory has of the module ``time``, with short pauses."""

    time = time.time

    @staticmethod
    def sleep(pause_s: float) -> None:
        """Pause for a tenth of what was asked for."""
        time.sleep(pause_s / 10)


class _Ends:
    """Which executions the engine has ended: so nobody has to look all the time."""

    def __init__(self) -> None:
        self._ended: set[str] = set()
        self._change = threading.Condition()

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Have the engine note them."""
        real = engine_workflows.Workflow.set_state

        def set_state(
            workflow: engine_workflows.Workflow, state: str, state_info: Any = None
        ) -> Any:
            changed = real(workflow, state, state_info)
            if state in ENDED:
                with self._change:
                    self._ended.add(workflow.wf_ex.id)
                    self._change.notify_all()
            return changed

        with mock.patch.object(engine_workflows.Workflow, "set_state", set_state):
            yield

    def wait(self, run_id: str, timeout_s: float) -> None:
        """Wait until an execution is about to end: its transaction may be under way still."""
        with self._change:
            self._change.wait_for(lambda: run_id in self._ended, timeout_s)
            self._ended.discard(run_id)


class Mistral:
    """The services, and what a test asks of them."""

    def __init__(self) -> None:
        self._ends = _Ends()

    def start(self) -> None:
        """Start a server with the workbook in it."""
        conf = cfg.CONF
        conf(args=[], project="mistral", default_config_files=[])
        # The transport's options are registered by the first use of one.
        oslo_messaging.get_rpc_transport(conf, "fake:/")
        conf.set_override("connection", "sqlite://", group="database")
        conf.set_override("transport_url", "fake:/")
        conf.set_override("type", "local", group="executor")
        conf.set_override("scheduler_type", "default")
        conf.set_override("only_builtin_actions", True, group="legacy_action_provider")
        conf.set_override("load_action_generators", False, group="legacy_action_provider")
        # There are none of these kinds, and each action would be looked for in the database first.
        conf.set_override("denylist", ["adhoc", "dynamic"], group="action_providers")
        conf.set_override("auth_enable", False, group="pecan")
        # Jobs are run from memory. This is for those of an engine that is gone, and there is none.
        conf.set_override("fixed_delay", 10, group="scheduler")
        # Actions tell that they live where a test wants it: heartbeats() has them do it.
        conf.set_override("max_missed_heartbeats", 0, group="action_heartbeat")
        conf.set_override("execution_integrity_check_delay", -1, group="engine")
        self._quick = contextlib.ExitStack()
        # It looks for messages twenty times a second, and a run is a chain of a hundred of them.
        self._quick.enter_context(mock.patch.object(impl_fake, "time", _QuickClock))
        # Mistral checks its own schemas whenever it checks something by them.
        checked = mock.patch.object(jsonschema.Draft202012Validator, "check_schema")
        self._quick.enter_context(checked)
        self._quick.callback(gc.set_threshold, *gc.get_threshold())
        gc.set_threshold(*GARBAGE)
        self._quick.enter_context(self._ends.noted())
        read_columns_with_their_row()
        rpc_base.cleanup()
        rpc_clients.cleanup()
        executors.cleanup()
        db_api.setup_db()
        mistral_context.set_ctx(caller())
        self._server = engine_server.get_oslo_service(setup_profiler=False)
        self._server.start()
        self._server.wait_started()
        action_service.get_system_action_provider()
        provider = action_service.get_test_action_provider()
        for name, action in actions().items():
            provider.register_python_action(name, action)
        self.engine = rpc_clients.get_engine_client()
        self.load_workbook()

    def load_workbook(self) -> None:
        """Create the workbook from its file."""
        text = (TOP / "workbooks" / "novadocker.yaml").read_text(encoding="utf-8")
        workbooks.create_workbook_v2(text)

    def stop(self) -> None:
        """Stop the server."""
        self._server.stop(False)
        self._quick.close()
        for thread in threading.enumerate():
            if isinstance(thread, threading.Timer):
                thread.cancel()
        parser.clear_caches()

    @contextlib.contextmanager
    def heartbeats(self, missed: int) -> Iterator[None]:
        """Have actions tell each second that they live, and those that miss so many be lost."""
        conf = cfg.CONF
        told = {"check_interval": 1, "max_missed_heartbeats": missed, "first_heartbeat_timeout": 0}
        for name, value in told.items():
            conf.set_override(name, value, group="action_heartbeat")
        action_heartbeat_checker.start()
        action_heartbeat_sender.start()
        try:
            yield
        finally:
            action_heartbeat_checker.stop()
            action_heartbeat_sender.stop()
            for name in told:
                conf.clear_override(name, group="action_heartbeat")
            conf.set_override("max_missed_heartbeats", 0, group="action_heartbeat")
            # With that, actions that begin later tell nothing.
            action_heartbeat_sender.start()

    def forget(self) -> None:
        """Forget all executions."""
        mistral_context.set_ctx(caller())
        with db_api.transaction():
            db_api.delete_workflow_executions()

    def clear(self) -> None:
        """Forget all executions, and what they or a test has kept."""
        self.forget()
        with db_api.transaction():
            db_api.delete_environments()

    def begin(self, workflow: str, inputs: dict[str, Any] | None = None) -> str:
        """Start a workflow and return its execution's id."""
        mistral_context.set_ctx(caller())
        return str(self.engine.start_workflow(workflow, wf_input=inputs or {})["id"])

    def run(
        self, workflow: str, inputs: dict[str, Any] | None = None, timeout_s: float = 300
    ) -> dict[str, Any]:
        """Run a workflow to its end."""
        return self.wait(self.begin(workflow, inputs), timeout_s)

    def cancel(self, run_id: str) -> None:
        """End an execution and what is below it."""
        mistral_context.set_ctx(caller())
        self.engine.stop_workflow(run_id, "CANCELLED", "the test is over")

    def wait(self, run_id: str, timeout_s: float = 300) -> dict[str, Any]:
        """Return an execution when it has ended."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            if self._state(run_id) in ENDED:
                return self.read(run_id)
            self._ends.wait(run_id, min(LOOKED_AT_S, max(0, until - time.monotonic())))
        raise AssertionError(f"{run_id} has not ended in {timeout_s} s:\n{self.tree(run_id)}")

    def _state(self, run_id: str) -> str:
        """Return an execution's state alone, when no transaction is under way."""
        mistral_context.set_ctx(caller())
        with db_api.transaction(read_only=True):
            (state,) = db_api.get_workflow_execution(run_id, (models.WorkflowExecution.state,))
            return str(state)

    def read(self, run_id: str) -> dict[str, Any]:
        """Return an execution as it is now, {} when there is none."""
        mistral_context.set_ctx(caller())
        with db_api.transaction(read_only=True):
            execution = db_api.load_workflow_execution(run_id)
            return (
                {}
                if execution is None
                else {
                    "id": execution.id,
                    "state": execution.state,
                    "state_info": execution.state_info,
                    "output": dict(execution.output or {}),
                    "created_at": str(execution.created_at),
                    "workflow_name": execution.workflow_name,
                    "description": execution.description,
                    "input": dict(execution.input or {}),
                    # The caller's, as with Keystone's middleware.
                    "project_id": "p1",
                }
            )

    def listed(self, query: dict[str, str]) -> list[dict[str, Any]]:
        """Return executions as Mistral's API lists them."""
        mistral_context.set_ctx(caller())
        with db_api.transaction(read_only=True):
            asked = {name: query[name] for name in ("workflow_name", "state") if name in query}
            filters = filter_utils.create_filters_from_request_params(**asked)
            executions = db_api.get_workflow_executions(**filters)
            return [
                {
                    "id": ex.id,
                    "created_at": str(ex.created_at),
                    "workflow_name": ex.workflow_name,
                    "state": ex.state,
                }
                for ex in sorted(executions, key=lambda ex: ex.created_at, reverse=True)
            ]

    def tasks(self, run_id: str, query: dict[str, str] | None = None) -> list[dict[str, Any]]:
        """Return an execution's tasks as Mistral's API gives them."""
        mistral_context.set_ctx(caller())
        with db_api.transaction(read_only=True):
            tasks = db_api.get_task_executions(workflow_execution_id=run_id, **(query or {}))
            return [
                {
                    "id": t.id,
                    "name": t.name,
                    "state": t.state,
                    "type": t.type,
                    "state_info": t.state_info,
                    "published": json.dumps(dict(t.published or {})),
                }
                for t in tasks
            ]

    def tree(self, run_id: str, depth: int = 0) -> str:
        """Return an execution's tasks, and those of its sub-workflows, as text."""
        lines = []
        for task in self.tasks(run_id):
            info = str(task["state_info"] or "")[:600]
            lines.append(f"{'  ' * depth}{task['name']} {task['state']} {info}")
            if task["type"] == "WORKFLOW":
                with db_api.transaction(read_only=True):
                    below = [
                        ex.id for ex in db_api.get_workflow_executions(task_execution_id=task["id"])
                    ]
                lines += [self.tree(child, depth + 1) for child in below]
        return "\n".join(lines)
