# SPDX-License-Identifier: Apache-2.0
# Templates and static files, of both panels.
FEATURE = "novadocker"
ADD_INSTALLED_APPS = ["novadocker_dashboard"]
