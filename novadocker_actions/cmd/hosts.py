# SPDX-License-Identifier: Apache-2.0
"""``openstack docker host add|attach|update|remove``: novadocker-enroll, of OpenStackClient's.

They are there where both this bundle and ``novadocker-client`` are installed. OpenStackClient loads
this module, and nothing else of the bundle does.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from heatclient.v1.client import Client as Heat
from keystoneauth1.exceptions import ClientException
from openstack.exceptions import SDKException
from osc_lib.command import command

from novadocker_actions.cloud.services import Patience, ServiceAdapter
from novadocker_actions.cmd import enroll
from novadocker_actions.enrolment.pools import is_part
from novadocker_actions.enrolment.roster import Roster, parse_hosts
from novadocker_actions.enrolment.stacks import ROLES, Enrolment
from novadocker_actions.errors import NovadockerError, Refused

DONE, FAILED, REFUSED = 0, 1, 2
# What a file of pools says of each, by the pool's name.
POOLS = {
    "type": "object",
    "required": ["pools"],
    "additionalProperties": False,
    "properties": {
        "pools": {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {
                "type": "object",
                "required": ["hosts"],
                "additionalProperties": False,
                "properties": {
                    "roles": {"type": "array", "minItems": 1, "items": {"enum": list(ROLES)}},
                    "transport": {"enum": sorted(enroll.TRANSPORTS)},
                    "hosts": {
                        "type": "array",
                        "minItems": 1,
                        "items": {"type": "string", "minLength": 1},
                    },
                },
            },
        }
    },
}


class _Enrolling(command.Command):  # type: ignore[misc, unused-ignore]
    """A command of novadocker-enroll's, whose faults are one line and an exit code."""

    app: Any
    # What adds its options to a parser.
    add_options: Callable[[argparse.ArgumentParser], None]

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser of its options."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        self.add_options(parser)
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Run the command; return its exit code."""
        try:
            self.take_action(parsed_args)
        except Refused as err:
            sys.stderr.write(f"Refused: {err}\n")
            return REFUSED
        except (NovadockerError, SDKException, ClientException) as err:
            sys.stderr.write(f"{err}\n")
            return FAILED
        return DONE

    def enrolment(self) -> Enrolment:
        """Return what enrols hosts, in the cloud of the user."""
        orchestration = self.app.client_manager.sdk_connection.orchestration
        heat = ServiceAdapter(orchestration, "orchestration", Patience(enroll.PATIENCE_S))
        return Enrolment(Heat(session=heat), self.tell)

    def tell(self, text: str) -> None:
        """Say what has been done."""
        self.app.stdout.write(f"{text}\n")


class Add(_Enrolling):
    """Enrol hosts in a pool, or mend their enrolment, and wait until their agents have answered."""

    add_options = staticmethod(enroll.add_options)

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser of its options."""
        parser = super().get_parser(prog_name)
        for action in parser._actions:
            # A file says all of it.
            if action.dest == "pool":
                action.required = False
            if action.dest == "hosts":
                action.nargs, action.required = "*", False
        parser.add_argument(
            *("-f", "--file"),
            type=Path,
            metavar="POOLS",
            help="YAML file with all pools: pools: {NAME: {roles: [...], hosts: [...]}}.",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Enrol the hosts, those of a file pool by pool."""
        enrol = self.enrolment()
        pools = list(_pools(parsed_args))
        for pool in pools:
            enroll.run_add(enrol, pool)
            if parsed_args.file:
                self._tell_others(enrol, pool)

    def _tell_others(self, enrol: Enrolment, pool: argparse.Namespace) -> None:
        parts = [s for s in enrol.pools() if is_part(s["stack_name"], pool.pool)]
        there = [h for s in parts for h in Roster.of_parameters(s["parameters"]).active]
        if others := sorted(set(there) - set(parse_hosts(pool.hosts))):
            self.tell(
                f"{pool.pool}: not in {pool.file}: {', '.join(others)}. They stay enrolled;"
                " openstack docker host remove takes them out."
            )


class Attach(_Enrolling):
    """Put the agent on the hosts of any stack of deployed servers, such as a compute pool."""

    add_options = staticmethod(enroll.attach_options)

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Put the agent there."""
        enroll.run_attach(self.enrolment(), parsed_args)


class Update(_Enrolling):
    """Bring this release's host steps and driver to enrolled hosts."""

    add_options = staticmethod(enroll.update_options)

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Bring them there."""
        enroll.run_update(self.enrolment(), parsed_args)


class Remove(_Enrolling):
    """Take hosts out of their pools, and the agent off them."""

    add_options = staticmethod(enroll.remove_options)

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Take them out."""
        enroll.run_remove(self.enrolment(), parsed_args)


def _pools(parsed_args: argparse.Namespace) -> Iterator[argparse.Namespace]:
    """Give the arguments of each pool.

    :raises Refused: when neither or both of a pool and a file are named, or the file does not fit
    """
    named = bool(parsed_args.pool or parsed_args.hosts)
    if parsed_args.file is None:
        if not (parsed_args.pool and parsed_args.hosts):
            raise Refused("--pool", "neither it and hosts nor a file is named.", "Name one.")
        yield parsed_args
        return
    if named or parsed_args.role or parsed_args.transport:
        raise Refused("--file", "it says pools, roles, transports and hosts.", "Leave them out.")
    for name, pool in read_pools(parsed_args.file).items():
        told = {"pool": name, "role": pool.get("roles"), "transport": pool.get("transport")}
        yield argparse.Namespace(**{**vars(parsed_args), **told, "hosts": pool["hosts"]})


def read_pools(path: Path) -> Mapping[str, Mapping[str, Any]]:
    """Return the pools that a file names.

    :raises Refused: naming the place in it that does not fit, or the host that is in two pools
    """
    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
        jsonschema.validate(told, POOLS)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as err:
        raise Refused("--file", f"{path} cannot be read: {err}.", "Give a YAML file.") from err
    except jsonschema.ValidationError as err:
        place = ".".join(map(str, err.absolute_path)) or "the whole of it"
        raise Refused(
            "--file", f"{path}: {place}: {err.message}.", "See openstack help docker host add."
        ) from err
    pools: Mapping[str, Mapping[str, Any]] = told["pools"]
    places: dict[str, str] = {}
    for name, pool in pools.items():
        for host in parse_hosts(pool["hosts"]):
            if places.setdefault(host, name) != name:
                raise Refused(
                    "--file", f"{path}: {host} is in {places[host]} and {name}.", "Have it in one."
                )
    return pools
