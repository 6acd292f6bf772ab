# SPDX-License-Identifier: Apache-2.0
"""A run over as many hosts as are asked for."""

from __future__ import annotations

import json

from tests.dashboard_cloud import DashboardCloud

# What a deploy does with a batch, one after another.
STEPS = (
    *("disable_compute", "drain", "recheck_instances", "switch", "verify_compute", "isolate"),
    *("settle", "enable_compute", "finish_in_service"),
)


def host_names(hosts: int) -> list[str]:
    """Return the names of this many hosts."""
    return [f"host-{number:04}" for number in range(hosts)]


def add_run(fake: DashboardCloud, hosts: int, batches: int = 20) -> str:
    """Add a run over this many hosts, of whose batches the last is under way; return its id.

    The first host of the fourth batch has failed.
    """
    names = host_names(hosts)
    run = fake.add_run("deploy", input={"hosts": names})
    size = max(hosts // batches, 1)
    for number in range(batches):
        last = number == batches - 1
        rows = [{"host": name, "state": "ok"} for name in names[number * size :][:size]]
        if number == 3 and rows:
            rows[0].update(state="failed", reason="no package")
        below = fake.add_below(
            run,
            run,
            f"batch_{number}",
            "_batch",
            "RUNNING" if last else "SUCCESS",
            input={"rows": rows},
        )
        for step in STEPS[: 2 if last else None]:
            fake.add_task(below, step, rows=rows)
        if last:
            fake.add_task(below, STEPS[2], "RUNNING")
    return run


def end(fake: DashboardCloud, run: str) -> None:
    """Let a run end, with a report of all of its hosts."""
    names = json.loads(fake.executions[run]["input"])["hosts"]
    rows = [{"host": name, "role": "compute", "state": "ok", "step": STEPS[-1]} for name in names]
    output = {"report": {"state": "done", "rows": rows}, "message": "It is done."}
    for execution in fake.executions.values():
        if run in (execution["id"], execution.get("root_execution_id")):
            execution["state"] = "SUCCESS"
    fake.executions[run]["output"] = json.dumps(output)
