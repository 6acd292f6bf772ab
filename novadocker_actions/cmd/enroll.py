# SPDX-License-Identifier: Apache-2.0
"""novadocker-enroll: make hosts known to Heat, and put Heat's agent on them."""

from __future__ import annotations

import argparse
import pwd
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import openstack
from heatclient.v1.client import Client as Heat
from keystoneauth1.exceptions import ClientException
from openstack.exceptions import SDKException

from novadocker_actions.cloud import messages
from novadocker_actions.cloud.services import Patience, ServiceAdapter
from novadocker_actions.enrolment import agent, brought, pools
from novadocker_actions.enrolment.agent import Ssh, change_agent, update_hosts
from novadocker_actions.enrolment.pools import STACK_PREFIX
from novadocker_actions.enrolment.roster import Roster, parse_hosts
from novadocker_actions.enrolment.stacks import ROLES, Enrolment
from novadocker_actions.errors import NovadockerError, Refused

# In this time an API may restart.
PATIENCE_S = 15


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    try:
        if arguments.run is run_make_key:
            run_make_key(arguments)
            return 0
        cloud = openstack.connect(cloud=arguments.os_cloud, app_name="novadocker-enroll")
        # The SDK knows the operator's cloud: its session, region, interface and overrides.
        heat = ServiceAdapter(cloud.orchestration, "orchestration", Patience(PATIENCE_S))
        arguments.run(Enrolment(Heat(session=heat), print), arguments)
    except (NovadockerError, SDKException, ClientException) as err:
        print(f"novadocker-enroll: {err}", file=sys.stderr)
        return 1
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="novadocker-enroll",
        description="Make hosts known to Heat, and put Heat's agent on them over SSH. "
        "The cloud is the one of your OS_* variables or clouds.yaml.",
    )
    parser.add_argument("--os-cloud", help="name of the cloud in clouds.yaml")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    add = verbs.add_parser("add", help="enrol hosts, or mend the enrolment of hosts")
    add_options(add)
    add.set_defaults(run=run_add)

    attach = verbs.add_parser(
        "attach",
        help="put the agent on the hosts of any stack of deployed servers, such as a compute pool",
    )
    attach_options(attach)
    attach.set_defaults(run=run_attach)

    update = verbs.add_parser(
        "update", help="bring this release's host steps and driver to enrolled hosts"
    )
    update_options(update)
    update.set_defaults(run=run_update)

    listing = verbs.add_parser("list", help="show enrolled hosts")
    listing.set_defaults(run=run_list)

    remove = verbs.add_parser("remove", help="take hosts out, and the agent off them")
    remove_options(remove)
    remove.set_defaults(run=run_remove)

    _add_make_key(verbs)
    return parser


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what enrolling hosts in a pool asks for."""
    parser.add_argument(
        "--pool", required=True, help="pool that they belong to: one small stack each"
    )
    parser.add_argument(
        "--role",
        action="append",
        choices=ROLES,
        help="what the hosts of the pool are; may be repeated (default: as before, or compute)",
    )
    parser.add_argument("--transport", choices=sorted(TRANSPORTS), help="how hosts talk with Heat")
    _agent_options(parser)
    parser.add_argument(
        "hosts", nargs="+", metavar="HOST[=ADDRESS]", help="name in Nova, SSH address"
    )


def attach_options(parser: argparse.ArgumentParser) -> None:
    """Add what putting the agent on the hosts of a stack asks for."""
    parser.add_argument("stack", help="name or id of the stack; it may be waiting for the hosts")
    _agent_options(parser)
    parser.add_argument(
        "hosts", nargs="*", metavar="HOST=ADDRESS", help="SSH addresses that differ"
    )


def update_options(parser: argparse.ArgumentParser) -> None:
    """Add what bringing host steps and driver to hosts asks for."""
    _ssh_options(parser)
    _wheel_options(parser)
    parser.add_argument(
        "hosts", nargs="*", metavar="HOST[=ADDRESS]", help="which hosts (default: all enrolled)"
    )


def remove_options(parser: argparse.ArgumentParser) -> None:
    """Add what taking hosts out asks for."""
    parser.add_argument("--forget", action="store_true", help="the hosts are gone: do not go there")
    _ssh_options(parser)
    parser.add_argument("hosts", nargs="+", metavar="HOST[=ADDRESS]")


def _add_make_key(verbs: Any) -> None:
    key = verbs.add_parser(
        "make-key", help="make the key that signs messages to hosts, once for all executors"
    )
    key.add_argument(
        "--file",
        type=Path,
        default=Path(messages.KEY_FILE),
        help="where it goes; the public half beside it, as .pub (default: %(default)s)",
    )
    key.add_argument("--user", default="mistral", help="who may read it (default: %(default)s)")
    key.set_defaults(run=run_make_key)


# No CFN_SIGNAL: Keystone takes its signed address for 15 minutes only ([credential] auth_ttl), and
# a mailbox keeps it for ever.
TRANSPORTS = {
    "cfn": {"software_config_transport": "POLL_SERVER_CFN", "signal_transport": "HEAT_SIGNAL"},
    "heat": {"software_config_transport": "POLL_SERVER_HEAT", "signal_transport": "HEAT_SIGNAL"},
    "swift": {"software_config_transport": "POLL_TEMP_URL", "signal_transport": "TEMP_URL_SIGNAL"},
}


def _agent_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what all agents are given alike.

    :raises Refused: when there is no key by which hosts would know the operator
    """
    files = arguments.operator_key or [messages.public_file(Path(messages.KEY_FILE))]
    keys = dict.fromkeys(messages.read_public(file) for file in files)
    return {
        "polling_interval_s": arguments.polling_interval,
        "operator_keys": "".join(keys),
        "unsigned": "run" if arguments.trust_stacks else "refuse",
    }


def _ssh_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ssh-config", metavar="FILE", help="SSH configuration to use")
    parser.add_argument("--ssh-user", default="root", help="default: root; others need sudo")


def _wheel_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--wheels",
        type=Path,
        metavar="DIRECTORY",
        help="has files of what the driver needs and of the agent, where hosts lack them; those "
        "that driver.lock and agent.lock name by their hashes are brought beside the driver's",
    )


def _agent_options(parser: argparse.ArgumentParser) -> None:
    _ssh_options(parser)
    _wheel_options(parser)
    parser.add_argument(
        "--polling-interval",
        type=float,
        default=60,
        metavar="SECONDS",
        help="longest pause between an agent's questions to Heat, but for a splay of up to a fifth "
        "of it (default: %(default)s)",
    )
    parser.add_argument(
        "--operator-key",
        type=Path,
        action="append",
        metavar="FILE",
        help="public key of the Mistral executors, whose messages the hosts run; may be repeated "
        f"(default: {messages.public_file(Path(messages.KEY_FILE))})",
    )
    parser.add_argument(
        "--trust-stacks",
        action="store_true",
        help="have the hosts run what is not signed as well: what stacks of Heat, such as those of "
        "compute_pool.yaml and node_groups.yaml, and so every member of their project, push to it",
    )
    parser.add_argument(
        "--timeout", type=int, default=900, metavar="SECONDS", help="for all of it (default: 900)"
    )


def _ssh(arguments: argparse.Namespace) -> Ssh:
    return Ssh(config=arguments.ssh_config, user=arguments.ssh_user)


def keys_of(ssh: Ssh, hosts: Mapping[str, str]) -> dict[str, str]:
    """Return the hosts' own public keys, after each of them was found to be the one that is meant.

    :param hosts: SSH addresses by host name
    :raises Refused: for those that are not reached or are others; then nothing has changed
    """
    agent.require_identity(ssh, hosts)
    return agent.host_keys(ssh, hosts)


def run_add(enrol: Enrolment, arguments: argparse.Namespace) -> None:
    """Enrol hosts in a pool and wait until their agents have answered."""
    hosts, ssh, settings = parse_hosts(arguments.hosts), _ssh(arguments), _agent_settings(arguments)
    files = brought.of_folder(arguments.wheels)
    pools.require_name(arguments.pool)
    parts = {}
    for stack in enrol.pools():
        if pools.is_part(stack["stack_name"], arguments.pool):
            parts[stack["stack_name"]] = stack
            continue
        elsewhere = sorted(set(hosts) & set(enrol.inventory(stack)))
        if elsewhere:
            raise Refused(
                "host",
                f"{elsewhere[0]} is enrolled in stack {stack['stack_name']}.",
                f"Run novadocker-enroll remove {elsewhere[0]} first.",
            )
    given = pools.spread(arguments.pool, parts.values(), hosts)
    for name in parts:
        pools.require_flat(parts[name], given.get(name, ()))
    asked = {"roles": ",".join(dict.fromkeys(arguments.role or ()))} if arguments.role else {}
    asked.update(TRANSPORTS.get(arguments.transport, {}))
    keys, first = keys_of(ssh, hosts), next(iter(parts.values()), {}).get("parameters", {})
    waiting = {}
    # What a pool is, all of its stacks are.
    for name in {**given, **(parts if asked else {})}:
        before = parts.get(name, {}).get("parameters", {})
        roster = Roster.of_parameters(before).with_hosts(given.get(name, ()))
        enrol.pin(name, roster.active, {host: keys[host] for host in given.get(name, ())})
        parameters = {**kept_parameters(before or first), **asked}
        stack = enrol.write(name, arguments.pool, roster, arguments.timeout, **parameters)
        enrol.tell(f"{stack['stack_name']}: {stack['stack_status']}, {len(roster.active)} hosts")
        waiting[name] = stack
    for name, stack in waiting.items():
        addresses = {host: hosts[host] for host in given.get(name, ())}
        enrol.attach(stack, addresses, ssh, settings, files, arguments.timeout, flat=True)
        now = enrol.await_complete(stack, arguments.timeout)
        lost = sorted(set(addresses) - set(Roster.of_parameters(now["parameters"]).active))
        if lost:
            raise Refused(
                f"stack {name}",
                f"has lost {', '.join(lost)} to somebody who changed the pool at the same time.",
                "Repeat the command.",
            )
        enrol.tell(f"{name}: {now['stack_status']}, every agent has answered")


def kept_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return those parameters of a stack that an update without them must not lose."""
    names = ("roles", "software_config_transport", "signal_transport")
    return {name: parameters[name] for name in names if name in parameters}


def run_attach(enrol: Enrolment, arguments: argparse.Namespace) -> None:
    """Put the agent on the hosts of a stack that somebody else made."""
    stack = enrol.stack(arguments.stack)
    if stack is None:
        raise Refused(
            "stack", f"there is none called {arguments.stack}.", "See openstack stack list."
        )
    ssh, settings = _ssh(arguments), _agent_settings(arguments)
    files = brought.of_folder(arguments.wheels)
    # Pools tell their hosts by a parameter, before the servers exist.
    names = Roster.of_parameters(stack["parameters"]).active or tuple(enrol.servers(stack))
    addresses = {name: name for name in names} | parse_hosts(arguments.hosts)
    if not addresses:
        raise Refused("stack", f"{arguments.stack} has no deployed servers.", "Name its hosts.")
    enrol.pin(stack["stack_name"], list(addresses), keys_of(ssh, addresses))
    enrol.attach(stack, addresses, ssh, settings, files, arguments.timeout)


def run_update(enrol: Enrolment, arguments: argparse.Namespace) -> None:
    """Put the package, the driver's wheel and the agent of this release on hosts."""
    enrolled = {name: name for stack in enrol.pools() for name in enrol.inventory(stack)}
    hosts = parse_hosts(arguments.hosts) or enrolled
    unknown = sorted(set(hosts) - set(enrolled))
    if unknown or not hosts:
        what = f"{unknown[0]} is not enrolled." if unknown else "none is enrolled."
        raise Refused("host", what, "See novadocker-enroll list.")
    files = brought.of_folder(arguments.wheels)
    update_hosts(_ssh(arguments), hosts, files, enrol.tell)


def run_list(enrol: Enrolment, _arguments: argparse.Namespace) -> None:
    """Show the enrolled hosts of all pools."""
    rows = [("HOST", "ROLES", "STACK", "LAST MESSAGE")]
    for stack in enrol.pools():
        for name, mailbox in sorted(enrol.inventory(stack).items()):
            state = enrol.mailbox_state(mailbox["deployment_id"])
            rows.append((name, ",".join(mailbox["roles"]), stack["stack_name"], state))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        columns = [f"{text:{width}}" for text, width in zip(row, widths, strict=False)]
        enrol.tell("  ".join([*columns, row[3]]))


def run_remove(enrol: Enrolment, arguments: argparse.Namespace) -> None:
    """Take the agent off hosts, then take the hosts out of their stacks."""
    hosts, ssh = parse_hosts(arguments.hosts), _ssh(arguments)
    places: dict[str, list[str]] = {}
    stacks = {stack["stack_name"]: stack for stack in enrol.pools()}
    for stack in stacks.values():
        for name in Roster.of_parameters(stack["parameters"]).active:
            places.setdefault(name, []).append(stack["stack_name"])
    for name in hosts:
        if name not in places:
            raise Refused("host", f"{name} is not enrolled.", "See novadocker-enroll list.")
        if not all(stack.startswith(STACK_PREFIX) for stack in places[name]):
            raise Refused(
                "host",
                f"{name} belongs to the stack {places[name][0]}, which this command did not make.",
                "Update that stack: state absent undoes its hosts, removed takes one out.",
            )
    for stack_name, stack in stacks.items():
        others = Roster.of_parameters(stack["parameters"]).active
        if any(stack_name in places[name] for name in hosts) and set(others) - set(hosts):
            pools.require_flat(stack, ())
    if not arguments.forget:
        for name, address in hosts.items():
            change_agent(ssh, address, "undo", {})
            enrol.tell(f"{name}: agent removed")
    for stack_name, stack in stacks.items():
        mine = [name for name in hosts if stack_name in places[name]]
        if not mine:
            continue
        roster = Roster.of_parameters(stack["parameters"]).without(mine)
        enrol.pin(stack_name, roster.active, {})
        if not roster.active:
            enrol.delete(stack)
            enrol.tell(f"{stack_name}: deleted, it had no other hosts")
            continue
        parameters = kept_parameters(stack["parameters"])
        pool = stack["parameters"]["pool"]
        enrol.await_complete(enrol.write(stack_name, pool, roster, 600, **parameters), 600)
        enrol.tell(f"{stack_name}: {', '.join(mine)} taken out")


def run_make_key(arguments: argparse.Namespace) -> None:
    """Make the executor's key; hosts that are enrolled from then on believe it."""
    try:
        user = pwd.getpwnam(arguments.user)
    except KeyError as err:
        raise Refused(
            "--user", f"there is no user {arguments.user} here.", "Name the Mistral executor's."
        ) from err
    messages.make_key(arguments.file, user.pw_uid, user.pw_gid)
    print(f"{arguments.file}: made, for the user {arguments.user} of each Mistral executor")
    print(f"{messages.public_file(arguments.file)}: made, for novadocker-enroll add and attach")


if __name__ == "__main__":
    sys.exit(main())
