# SPDX-License-Identifier: Apache-2.0
"""What the commands have in common: the cloud, exit codes, and how faults are told."""

from __future__ import annotations

import argparse
import datetime
import sys
from typing import Any

from osc_lib.command import command

from novadocker_client.connection import Cloud
from novadocker_client.errors import BadInput, ClientError, NotAccepted

DONE, FAILED, REFUSED, DRIFT, STOPPED = 0, 1, 2, 3, 4
# Of a table in a file or a pipe, which has no width of its own.
WIDTH = 120
# As `timeout` and a shell have it: the waiting has ended, and the run has not.
TIMED_OUT, INTERRUPTED = 124, 130
EXIT_CODES = {
    "done": DONE,
    "unchanged": DONE,
    "planned": DONE,
    "running": DONE,
    "waiting": DONE,
    "paused": DONE,
    # Some hosts are not as asked for, though no more than may fail.
    "partial": FAILED,
    "failed": FAILED,
    "refused": REFUSED,
    "drift": DRIFT,
    "ready": DONE,
    "findings": DRIFT,
    "stopped": STOPPED,
}


_BLANKS = str.maketrans("\n\r\t", "   ")


def tell(text: str) -> None:
    """Say something to the operator, beside the command's output."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def plain(text: str) -> str:
    """Return a text without what would steer a terminal, as a line.

    Hosts and tenants have a say in reasons and names.
    """
    line = text.translate(_BLANKS)
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)


def shortened(text: str, parsed_args: argparse.Namespace, length: int) -> str:
    """Return a text as a table has room for it; other formats have all of it.

    :param length: characters that a table shows at most
    """
    whole = parsed_args.formatter != "table" or len(text) <= length
    return text if whole else f"{text[: length - 1]}\N{HORIZONTAL ELLIPSIS}"


def local(moment: datetime.datetime | None) -> str:
    """Return a time in the zone of the machine, "" for none."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z") if moment else ""


class _Told:
    """A command whose faults are one line and an exit code."""

    app: Any
    exit_code = DONE

    @property
    def cloud(self) -> Cloud:
        """Return the cloud as the user sees it."""
        cloud: Cloud = self.app.client_manager.novadocker
        return cloud

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Run the command; return its exit code."""
        try:
            code: int = super().run(parsed_args)  # type: ignore[misc]
        except (BadInput, NotAccepted) as err:
            tell(f"Refused: {err}")
            return REFUSED
        except ClientError as err:
            tell(str(err))
            return FAILED
        return code or self.exit_code


class Command(_Told, command.Command):
    """A command that prints what it likes."""


class Lister(_Told, command.Lister):
    """A command that prints a list."""


class ShowOne(_Told, command.ShowOne):
    """A command that prints the fields of one thing."""

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Run the command, with a table that can be read in a pipe as well."""
        if parsed_args.formatter == "table" and not self.app.stdout.isatty():
            parsed_args.max_width = parsed_args.max_width or WIDTH
        return super().run(parsed_args)
