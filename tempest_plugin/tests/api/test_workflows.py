# SPDX-License-Identifier: Apache-2.0
"""The novadocker workbook plans and verifies through the workflow service."""

from __future__ import annotations

from typing import Any

from tempest import config
from tempest.lib import decorators
from tempest.lib.common.utils import test_utils

from tempest_plugin.tests import base

CONF = config.CONF

PUBLIC_WORKFLOWS = ("deploy", "plan", "precheck", "preload_images", "recover", "undeploy", "verify")
UNKNOWN_HOST = "no-such-host-in-any-cloud"


class NovadockerWorkflowsTest(base.NovadockerTest):
    """What an operator starts with `openstack workflow execution create`; nothing is changed."""

    credentials = ["admin"]

    @classmethod
    def skip_checks(cls) -> None:
        super().skip_checks()
        if not CONF.novadocker_feature_enabled.workflows:
            raise cls.skipException("[novadocker-feature-enabled] workflows is off")

    @classmethod
    def setup_clients(cls) -> None:
        super().setup_clients()
        cls.workflows_client = cls.os_admin.novadocker.WorkflowsClient()
        cls.executions_client = cls.os_admin.novadocker.ExecutionsClient()
        cls.services_client = cls.os_admin.services_client
        cls.hypervisors_client = cls.os_admin.hypervisor_client

    def run_workflow(self, name: str, **inputs: Any) -> dict[str, Any]:
        """Run a workflow to its end.

        :param name: its name in the workbook
        :param inputs: its inputs; those not given keep their defaults
        :return: the ended execution with its output
        """
        started = self.executions_client.create_execution(f"novadocker.{name}", inputs)
        self.addCleanup(
            test_utils.call_and_ignore_notfound_exc,
            self.executions_client.delete_execution,
            started["id"],
        )
        ended: dict[str, Any] = self.executions_client.wait_for_execution(started["id"])
        return ended

    def compute_services(self) -> dict[str, tuple[str, str, str | None]]:
        """Return what a workflow could have changed in Nova.

        :return: state, status and reason of disablement of each compute service by its host
        """
        services = self.services_client.list_services(binary="nova-compute")["services"]
        return {
            service["host"]: (service["state"], service["status"], service["disabled_reason"])
            for service in services
        }

    def docker_hosts(self) -> list[str]:
        """List the hosts of hypervisors of type docker."""
        listed = self.hypervisors_client.list_hypervisors(detail=True)["hypervisors"]
        return sorted(
            hyper["service"]["host"] for hyper in listed if hyper["hypervisor_type"] == "docker"
        )

    @decorators.idempotent_id("18120350-3492-471e-b645-5087c61b8bf2")
    def test_workbook_is_loaded(self) -> None:
        listed = self.workflows_client.list_workflows()["workflows"]
        names = {workflow["name"] for workflow in listed}
        self.assertLessEqual({f"novadocker.{name}" for name in PUBLIC_WORKFLOWS}, names)

    @decorators.idempotent_id("a6f68c06-0f8f-4968-bcdd-a0a29084856d")
    def test_plan_says_what_would_be_done_and_does_nothing(self) -> None:
        before = self.compute_services()
        execution = self.run_workflow("plan")

        self.assertEqual("SUCCESS", execution["state"], execution.get("state_info"))
        report = execution["output"]["report"]
        self.assertTrue(report["plan_digest"])
        self.assertTrue(report["hosts"]["selected"])
        self.assertLessEqual(set(report["hosts"]["selected"]), set(before))
        self.assertEqual(before, self.compute_services())

    @decorators.idempotent_id("17b0faaa-77a5-475c-8999-6e37039c5084")
    def test_plan_is_the_same_twice(self) -> None:
        first, second = (self.run_workflow("plan")["output"]["report"] for _ in range(2))
        self.assertEqual(first["plan_digest"], second["plan_digest"])

    @decorators.idempotent_id("9f1d57a2-75b8-4469-9cc6-9775864cbaba")
    def test_verify_finds_docker_hosts_in_order(self) -> None:
        docker_hosts = self.docker_hosts()
        before = self.compute_services()
        # Images belong to the project that published them, and this one is made for the test.
        execution = self.run_workflow("verify", hosts=docker_hosts, images=[])

        self.assertEqual("SUCCESS", execution["state"], execution["output"].get("message"))
        rows = execution["output"]["report"]["rows"]
        failed = [row for row in rows if row["state"] == "failed"]
        self.assertEqual([], failed)
        self.assertLessEqual(set(docker_hosts), {row["host"] for row in rows})
        self.assertEqual(before, self.compute_services())

    @decorators.attr(type=["negative"])
    @decorators.idempotent_id("71c39d03-15b4-44ba-a105-1da080a17d0c")
    def test_unknown_host_is_refused_by_name(self) -> None:
        execution = self.run_workflow("plan", hosts=[UNKNOWN_HOST])

        self.assertEqual("ERROR", execution["state"])
        self.assertIn(UNKNOWN_HOST, execution["output"]["message"])
