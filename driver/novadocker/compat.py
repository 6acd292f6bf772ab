# SPDX-License-Identifier: Apache-2.0
"""Differences between Nova 2025.1 and 2026.2 that concern a driver.

No other module of this package depends on versions. The third argument of
``wait_for_instance_event`` was renamed in 2026.1 (from deadline to timeout): it is always passed by
position.
"""

from __future__ import annotations

import sys

from nova import exception


def _event_timeout() -> type[BaseException]:
    """Return the exception that ``wait_for_instance_event`` raises after a timeout.

    From 2025.2 it is Nova's own; before, it is eventlet's, which nova-compute has then imported.
    """
    timeout: type[BaseException] | None = getattr(exception, "InstanceEventTimeout", None)
    if timeout is not None:
        return timeout
    eventlet = sys.modules.get("eventlet")
    return eventlet.timeout.Timeout if eventlet is not None else TimeoutError


EVENT_TIMEOUT = _event_timeout()
