# SPDX-License-Identifier: Apache-2.0
"""What a blank host and the controller are given for a pool: references to secrets, no secrets."""

from __future__ import annotations

import json

from lab.controlplane.site import new_cloud
from lab.stage import blank

CLOUD = new_cloud("controller")


def test_settings_of_a_pool_hold_references_and_no_secret() -> None:
    text = blank.pool_environment("controller", "eth1")
    settings = json.loads(text)["parameters"]["nova_settings"]
    assert settings["files"]["/etc/nova/nova.conf"]["placement"]["password"] == "@{passwords.nova}"
    assert not [secret for secret in CLOUD.passwords.values() if secret in text]
    assert settings["bridges"]["br-data"] == {"port": "eth1", "datapath_type": "netdev"}


def test_every_reference_is_in_the_hosts_secrets_and_no_more_is() -> None:
    secrets = json.loads(blank.host_secrets(CLOUD))
    text = blank.pool_environment("controller", "eth1")
    for name in secrets["passwords"]:
        assert f"@{{passwords.{name}}}" in text
    assert CLOUD.passwords["admin"] not in blank.host_secrets(CLOUD)
    assert CLOUD.passwords["database"] not in blank.host_secrets(CLOUD)


def test_settings_of_a_pool_have_only_what_the_step_takes() -> None:
    settings = blank.nova_settings("controller", "eth1")
    for sections in settings["files"].values():
        for options in sections.values():
            for value in options.values():
                assert isinstance(value, str | int | bool)
