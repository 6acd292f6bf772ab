# SPDX-License-Identifier: Apache-2.0
"""Heat, with the domain of users that it makes for stacks and the CloudFormation API."""

from __future__ import annotations

from lab.controlplane.config import credentials
from lab.controlplane.inifile import Sections
from lab.controlplane.site import REGION, Cloud

STATE = "/var/lib/heat"
STACK_DOMAIN = "heat"
STACK_DOMAIN_ADMIN = "heat_domain_admin"
# heat-api-cfn sees an agent's EC2 credentials as those of a plain reader.
POLICY = '"cloudformation:DescribeStackResource": "role:reader or role:heat_stack_user"\n'


def heat_conf(cloud: Cloud) -> Sections:
    """Return /etc/heat/heat.conf."""
    login = credentials.login(cloud, "heat")
    return {
        "DEFAULT": {
            "transport_url": cloud.transport_url,
            "auth_encryption_key": cloud.heat_key,
            "heat_metadata_server_url": cloud.url("cloudformation", path=""),
            "heat_waitcondition_server_url": cloud.url("cloudformation", path="/v1/waitcondition"),
            "num_engine_workers": 1,
            "region_name_for_services": REGION,
            "stack_user_domain_name": STACK_DOMAIN,
            "stack_domain_admin": STACK_DOMAIN_ADMIN,
            "stack_domain_admin_password": cloud.passwords[STACK_DOMAIN_ADMIN],
        },
        "clients_keystone": {"auth_uri": cloud.identity_url},
        "database": credentials.database(cloud, "heat"),
        "ec2authtoken": {
            **login,
            "auth_uri": cloud.url("identity"),
            "endpoint_override": cloud.identity_url,
        },
        "keystone_authtoken": credentials.token_check(cloud, "heat"),
        "oslo_policy": {"policy_file": "policy.yaml"},
        # The trust itself names the project: a second one here is refused by Keystone's client.
        "trustee": {name: value for name, value in login.items() if "project" not in name},
        **credentials.bus(f"{STATE}/lock"),
    }
