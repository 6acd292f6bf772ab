# SPDX-License-Identifier: Apache-2.0
"""The driver against a real Docker Engine.

Nova's own test classes want a process that Nova has set up before anything else: each program in
``programs/`` is one, and the tests here run them.
"""
