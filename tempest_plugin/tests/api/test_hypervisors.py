# SPDX-License-Identifier: Apache-2.0
"""Nova shows the converted hosts as hypervisors of type docker."""

from __future__ import annotations

from typing import Any

import testtools
from tempest import config
from tempest.lib import decorators

from tempest_plugin.tests import base

CONF = config.CONF

# Placement lists providers by a required trait from 1.18 on.
REQUIRED_TRAIT_MICROVERSION = "1.18"


class DockerHypervisorsTest(base.NovadockerTest):
    """The compute hosts as an administrator sees them."""

    credentials = ["admin"]

    @classmethod
    def setup_clients(cls) -> None:
        super().setup_clients()
        cls.hypervisors_client = cls.os_admin.hypervisor_client
        cls.providers_client = cls.os_admin.resource_providers_client

    @classmethod
    def resource_setup(cls) -> None:
        super().resource_setup()
        cls.setup_api_microversion_fixture(placement_microversion=REQUIRED_TRAIT_MICROVERSION)

    def docker_hypervisors(self) -> list[dict[str, Any]]:
        """List the hypervisors of type docker."""
        listed = self.hypervisors_client.list_hypervisors(detail=True)["hypervisors"]
        return [hyper for hyper in listed if hyper["hypervisor_type"] == "docker"]

    @decorators.idempotent_id("dc976ca0-4593-464b-8339-1062f93954a5")
    def test_docker_hypervisors_are_up_and_enabled(self) -> None:
        hypervisors = self.docker_hypervisors()
        self.assertGreaterEqual(len(hypervisors), CONF.novadocker.min_hypervisors)
        states = {
            hyper["hypervisor_hostname"]: (hyper["state"], hyper["status"]) for hyper in hypervisors
        }
        self.assertEqual(dict.fromkeys(states, ("up", "enabled")), states)

    @decorators.idempotent_id("e3d04f11-a222-4277-af1f-7ae389ff7d8d")
    def test_docker_hypervisors_offer_room(self) -> None:
        for hypervisor in self.docker_hypervisors():
            provider = self.resource_provider(hypervisor["hypervisor_hostname"])
            inventories = self.providers_client.list_resource_provider_inventories(
                provider["uuid"]
            )["inventories"]
            for resource_class in ("VCPU", "MEMORY_MB", "DISK_GB"):
                self.assertGreater(inventories[resource_class]["total"], 0, resource_class)

    @decorators.idempotent_id("90239636-d9ca-473b-83d9-30dfcd11a20e")
    @testtools.skipUnless(
        CONF.novadocker_feature_enabled.traits, "[novadocker-feature-enabled] traits is off"
    )
    def test_docker_trait_marks_docker_hosts_alone(self) -> None:
        docker = {hyper["hypervisor_hostname"] for hyper in self.docker_hypervisors()}
        providers = self.providers_client.list_resource_providers(required=base.DOCKER_TRAIT)[
            "resource_providers"
        ]
        self.assertEqual(docker, {provider["name"] for provider in providers})

    def resource_provider(self, name: str) -> dict[str, Any]:
        """Find a host's resource provider.

        :param name: the hypervisor's host name
        """
        providers = self.providers_client.list_resource_providers(name=name)["resource_providers"]
        self.assertEqual(1, len(providers), f"resource providers named {name}")
        provider: dict[str, Any] = providers[0]
        return provider
