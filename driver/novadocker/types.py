# SPDX-License-Identifier: Apache-2.0
"""Names for what Nova hands over. Nova has no annotations: nothing checks them, they are read."""

from __future__ import annotations

from typing import Any, TypeAlias

# nova.context.RequestContext
Context: TypeAlias = Any
# nova.objects.Instance
Instance: TypeAlias = Any
# nova.objects.Flavor
Flavor: TypeAlias = Any
# nova.objects.ImageMeta
ImageMeta: TypeAlias = Any
# nova.network.model.NetworkInfo: a list of VIFs, which may be fetched when it is first looked at
NetworkInfo: TypeAlias = Any
# nova.network.model.VIF
Vif: TypeAlias = Any
