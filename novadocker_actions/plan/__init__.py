# SPDX-License-Identifier: Apache-2.0
"""What is decided, over plain data: no service is asked here."""
