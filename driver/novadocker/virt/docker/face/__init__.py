# SPDX-License-Identifier: Apache-2.0
"""Nova's side: its methods, arguments, states and exceptions."""
