# SPDX-License-Identifier: Apache-2.0
"""The differences between Nova 2025.1 and 2026.2 which touch a driver.

Nothing else in this package looks at versions. The third argument of ``wait_for_instance_event``
was renamed in 2026.1 (deadline, then timeout): it is always passed by position.
"""

import sys

from nova import exception


def _event_timeout() -> type[BaseException]:
    """Find what ``wait_for_instance_event`` raises when time is up.

    From 2025.2 it is an exception of Nova's; before, eventlet's own, which nova-compute has then
    imported.
    """
    timeout: type[BaseException] | None = getattr(exception, "InstanceEventTimeout", None)
    if timeout is not None:
        return timeout
    eventlet = sys.modules.get("eventlet")
    return eventlet.timeout.Timeout if eventlet is not None else TimeoutError


EVENT_TIMEOUT = _event_timeout()
