# SPDX-License-Identifier: Apache-2.0
"""The lab's cloud as a client sees it."""
