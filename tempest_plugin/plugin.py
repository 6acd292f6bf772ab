# SPDX-License-Identifier: Apache-2.0
"""The plug-in as Tempest finds it under the entry point tempest.test_plugins."""

from __future__ import annotations

import os
from typing import Any

from oslo_config import cfg
from tempest import config
from tempest.test_discover import plugins

from tempest_plugin import config as plugin_config


class NovadockerTempestPlugin(plugins.TempestPlugin):
    """Registers the options, the workflow client and the tests with Tempest."""

    def load_tests(self) -> tuple[str, str]:
        """Return where the tests are.

        :return: the directory of the tests and the directory that holds the package
        """
        top = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        return os.path.join(top, "tempest_plugin", "tests"), top

    def register_opts(self, conf: cfg.ConfigOpts) -> None:
        """Add the plug-in's options.

        :param conf: Tempest's configuration
        """
        config.register_opt_group(
            conf,
            config.service_available_group,
            [plugin_config.service_option],
        )
        config.register_opt_group(
            conf, plugin_config.novadocker_group, plugin_config.NovadockerGroup
        )
        config.register_opt_group(
            conf, plugin_config.novadocker_feature_group, plugin_config.NovadockerFeatureGroup
        )

    def get_opt_lists(self) -> list[tuple[str, list[cfg.Opt]]]:
        """List the options for Tempest's sample configuration.

        :return: pairs of a group's name and its options
        """
        return [
            (config.service_available_group.name, [plugin_config.service_option]),
            (plugin_config.novadocker_group.name, list(plugin_config.NovadockerGroup)),
            (
                plugin_config.novadocker_feature_group.name,
                list(plugin_config.NovadockerFeatureGroup),
            ),
        ]

    def get_service_clients(self) -> list[dict[str, Any]]:
        """Describe the workflow client, so that client managers have it.

        It is named after the plug-in: two plug-ins may not claim one service name, and Mistral's
        own plug-in may be installed too.

        :return: one description in the form that Tempest's client registry takes
        """
        params = config.service_client_config("novadocker")
        params.update(
            name="novadocker",
            service_version="novadocker.v2",
            module_path="tempest_plugin.services.workflow",
            client_names=["WorkflowsClient", "ExecutionsClient"],
        )
        return [params]
