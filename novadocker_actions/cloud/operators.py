# SPDX-License-Identifier: Apache-2.0
"""Who may have the executor sign: Mistral runs an action for whoever asks, of whatever project.

Without this the executor's key would be everybody's: a member of the stacks' project who is nothing
else could have a message signed by an action run by itself, and be root on the hosts by that.
"""

from __future__ import annotations

from oslo_config import cfg

from novadocker_actions.cloud.clients import Cloud
from novadocker_actions.errors import Refused

OPTIONS = (
    cfg.ListOpt(
        "operator_roles",
        default=["admin"],
        help="Roles in Keystone, one of which a caller has to have for a message to a host to be "
        "signed.",
    ),
)
_OPTION_GROUP = "novadocker"


def require(cloud: Cloud) -> None:
    """Refuse a caller for whom no host is to do anything.

    :param cloud: as the caller; its token is shown to Keystone
    :raises Refused: naming the roles of which one is needed
    """
    cfg.CONF.register_opts(OPTIONS, _OPTION_GROUP)
    wanted = cfg.CONF[_OPTION_GROUP].operator_roles
    if cloud.role_names.isdisjoint(wanted):
        raise Refused(
            "caller",
            f"you have none of the roles {', '.join(wanted)}, so no host runs what you ask for.",
            f"Have an operator run it, or see [{_OPTION_GROUP}] operator_roles in mistral.conf.",
        )
