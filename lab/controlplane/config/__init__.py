# SPDX-License-Identifier: Apache-2.0
"""What each service's configuration files hold: functions from a Cloud to plain data."""
