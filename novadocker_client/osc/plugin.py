# SPDX-License-Identifier: Apache-2.0
"""What OpenStackClient asks of a plug-in, each time that it starts, whatever its command is."""

from __future__ import annotations

import argparse
from typing import Any

API_NAME = "novadocker"
API_VERSION_OPTION = "os_novadocker_api_version"
DEFAULT_API_VERSION = "1"
API_VERSIONS = ("1",)


def make_client(instance: Any) -> Any:
    """Return the cloud as the user of a command sees it."""
    # Other commands are not to wait until the clients of Mistral and Heat are loaded.
    from novadocker_client.connection import Cloud

    return Cloud(instance.sdk_connection)


def build_option_parser(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add no option."""
    return parser
