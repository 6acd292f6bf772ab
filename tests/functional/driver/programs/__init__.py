# SPDX-License-Identifier: Apache-2.0
"""Programs that are test cases of Nova's kind, each run in a process of its own."""
