# SPDX-License-Identifier: Apache-2.0
"""Programs that measure, with their results as files."""
