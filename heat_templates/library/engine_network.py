# SPDX-License-Identifier: Apache-2.0
"""What an engine does to its host's network: its bridge, its packet filter, forwarding."""

from __future__ import annotations

import re

from library.daemon_settings import daemon_settings
from library.step import ANY_CODE, Step, program_path

IP_FORWARD = "/proc/sys/net/ipv4/ip_forward"
USER_CHAIN = "DOCKER-USER"
# What the engine puts into chains that are not its own, beside jumps to those that are.
ENGINE_RULES = (
    rf"-A FORWARD -j {USER_CHAIN}",
    r"-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    r"-A FORWARD -i docker0 (?:! )?-o docker0 -j (?:ACCEPT|DROP)",
    r"-A POSTROUTING -s \S+ ! -o docker0 -j MASQUERADE",
    r"-A POSTROUTING -o docker0 -m addrtype --src-type LOCAL -j MASQUERADE",
)


def remove_network_traces(step: Step) -> None:
    """Remove the engine's bridge and its packet filter rules; those of others stay."""
    step.run(["ip", "link", "delete", "docker0"], ok=(0, 1))
    for command in ("iptables", "ip6tables"):
        for table in ("filter", "nat"):
            for arguments in engine_rules(saved(step, command, table)):
                step.run([command, "-t", table, *arguments], ok=ANY_CODE)
        before = step.to_undo.get("forward_policies", {}).get(command)
        if before == "ACCEPT" and drops_forwarded(step, command):
            step.run([command, "-P", "FORWARD", "ACCEPT"], ok=ANY_CODE)


def stop_forwarding(step: Step) -> None:
    """Take back that the host forwards packets, where the engine may have been what began it.

    An engine that was told ``"ip-forward": false`` has not: then it was somebody else since.
    """
    if step.to_undo.get("ip_forward") != "0" or ip_forward(step) == "0":
        return
    if daemon_settings(step).get("ip-forward", True) is False:
        step.note(f"{IP_FORWARD} is 1 now, and not by the engine: left as it is")
    else:
        step.path(IP_FORWARD).write_text("0\n")


def ip_forward(step: Step) -> str:
    """Return whether the host forwards packets, as the kernel says it: 0 or 1."""
    path = step.path(IP_FORWARD)
    return path.read_text().strip() if path.exists() else "0"


def forward_policies(step: Step) -> dict[str, str]:
    """Return what happens to forwarded packets, which the engine changes, by command."""
    commands = ("iptables", "ip6tables")
    return {name: "DROP" if drops_forwarded(step, name) else "ACCEPT" for name in commands}


def drops_forwarded(step: Step, command: str) -> bool:
    """Return whether forwarded packets that no rule is about are dropped."""
    return bool(re.search("^:FORWARD DROP ", saved(step, command, "filter"), re.M))


def saved(step: Step, command: str, table: str) -> str:
    """Return a table as text, "" where there is none.

    All tables are asked for, and in this way: the commands themselves make the table that they look
    at, and so does ``iptables-legacy-save`` where it is told which one.
    """
    if not program_path(f"{command}-save"):
        return ""
    text = step.run([f"{command}-save"], ok=ANY_CODE).stdout
    section = re.search(rf"^\*{table}\n.*?^COMMIT$", text, re.M | re.S)
    return section.group() if section else ""


def engine_rules(text: str) -> list[list[str]]:
    """Return the iptables arguments that take the engine's rules and chains out of a table.

    Chains with an underscore are not the engine's: one that this host itself is a container of has
    made them, for the host's name resolution. Rules of the operator's stay, for the bridge's
    network as well; so does the chain that is for them, where it has some.
    """
    chains = re.findall(r"^:(DOCKER(?:-\S+)?) ", text, re.M)
    if not chains:
        return []
    begun = [line for line in text.splitlines() if line.startswith("-A ")]
    own = [line for line in begun if line.startswith(f"-A {USER_CHAIN} ")]
    if any(line != f"-A {USER_CHAIN} -j RETURN" for line in own):
        chains.remove(USER_CHAIN)
    rules = (*ENGINE_RULES, rf".* -j (?:{'|'.join(map(re.escape, chains))})")
    jumps = [
        ["-D", *line.split()[1:]]
        for line in begun
        if not line.startswith("-A DOCKER") and any(re.fullmatch(rule, line) for rule in rules)
    ]
    return [*jumps, *(["-F", chain] for chain in chains), *(["-X", chain] for chain in chains)]
