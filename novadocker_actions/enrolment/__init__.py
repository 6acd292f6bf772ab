# SPDX-License-Identifier: Apache-2.0
"""Enrolment: the stacks of deployed servers with their mailboxes, and the agent on each host.

The order is Heat's own: the stack is created and waits; the credentials of each host's agent are an
attribute of its server resource; the agent is put on the host over SSH; it runs what lies in the
mailbox and signals, and with that the stack completes. So a complete stack means that every agent
answered.

Before all that each host is asked over SSH who it is, makes a key pair of its own, and its public
half is written into a stack beside the pool's: what Heat says of a host later is believed by that.
"""
