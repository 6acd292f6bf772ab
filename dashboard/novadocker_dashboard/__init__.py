# SPDX-License-Identifier: Apache-2.0
"""Pages of Horizon's for Docker hypervisors and for the containers on them.

``content`` has a package a panel. Below it lie ``pages``, what all pages have in common,
``rights``, who may do what, ``sending``, which keeps a form from being carried out twice, and
``cloud``, the services as the logged-in user sees them, which are asked through
``novadocker_client``.
"""

from __future__ import annotations

__version__ = "0.1.0"
