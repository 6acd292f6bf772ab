# SPDX-License-Identifier: Apache-2.0
# Horizon has no policy of Mistral's: without this, its buttons are shown to all who see the page,
# and Mistral refuses. Rules that differ from Mistral's defaults belong into mistral_policy.yaml in
# POLICY_FILES_PATH.
import pathlib

import novadocker_dashboard

POLICY_FILES.update({"workflow": "mistral_policy.yaml"})  # noqa: F821
DEFAULT_POLICY_FILES.update(  # noqa: F821
    {
        "workflow": str(
            pathlib.Path(novadocker_dashboard.__file__).parent / "policies" / "mistral.yaml"
        )
    }
)
