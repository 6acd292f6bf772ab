# SPDX-License-Identifier: Apache-2.0
"""Who a run acts as when the token that it was begun with is not taken any more."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from keystoneauth1 import exceptions, service_token, session
from keystoneauth1.plugin import BaseAuthPlugin

LOG = logging.getLogger(__name__)


class Caller(service_token.ServiceTokenAuthWrapper):
    """The caller's token with one of Mistral's service user, and then the run's trust.

    Services take a token that has expired, as long as a service's goes with it, but none that was
    revoked: when its owner has logged out, say. keystoneauth calls ``invalidate`` when a service
    answers 401, and asks once more.

    :param token: authenticates as the caller
    :param service: authenticates as Mistral's service user
    :param trustee: authenticates by the run's trust; None where there is none
    :param auth_session: by which the trust is asked whose it is
    """

    def __init__(
        self,
        token: BaseAuthPlugin,
        service: BaseAuthPlugin,
        trustee: Callable[[], BaseAuthPlugin] | None,
        auth_session: session.Session,
    ) -> None:
        super().__init__(token, service)
        self._trustee, self._session = trustee, auth_session

    def invalidate(self) -> bool:
        """Go on with the trust; return whether there is another token now."""
        if self._trustee is None:
            return bool(super().invalidate())
        try:
            trusted = self._trustee()
            # Who runs an action by hand can name anybody's trust.
            is_own = self._who(trusted) == self._who(self.user_auth)
        except exceptions.ClientException as err:
            # It may be usable when Keystone is back.
            LOG.warning("The run's trust cannot be used: %s", err)
            return False
        self._trustee = None
        if not is_own:
            LOG.warning("The run's trust is not its caller's: it is not used")
            return False
        LOG.info("The caller's token is not taken any more: going on with the run's trust")
        self.user_auth = trusted
        return True

    def _who(self, plugin: BaseAuthPlugin) -> tuple[Any, Any]:
        return plugin.get_user_id(self._session), plugin.get_project_id(self._session)
