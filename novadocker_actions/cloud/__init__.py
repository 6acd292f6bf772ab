# SPDX-License-Identifier: Apache-2.0
"""The cloud's services, as the actions use them."""
