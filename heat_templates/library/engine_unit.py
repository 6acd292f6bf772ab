# SPDX-License-Identifier: Apache-2.0
"""How the host starts its Docker Engine: the command of its unit, and what its flags set.

What is a flag must not be in the configuration file as well: the engine would not start.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from library.engine import ENGINES
from library.services import find_service
from library.step import Step, program_path

ENGINE_UNIT = "docker.service"
ENGINE_NAME = re.compile(r"dockerd(-[\w.-]+)?")
ENGINE_SETTINGS = "/etc/docker/daemon.json"
DOCKER_DIRECTORY = "/var/lib/docker"
KOLLA_UNITS = re.compile(r"kolla-[\w-]+-container\.service")
# Where packages of the engine let arguments be set.
ENGINE_VARIABLES = ("/etc/default/docker", "/etc/sysconfig/docker")

# Keys of the configuration file by the engine's flags, where they are not called alike.
KEYS_OF_FLAGS = {
    "D": "debug",
    "G": "group",
    "H": "hosts",
    "add-runtime": "runtimes",
    "allow-nondistributable-artifact": "allow-nondistributable-artifacts",
    "authorization-plugin": "authorization-plugins",
    "b": "bridge",
    "cdi-spec-dir": "cdi-spec-dirs",
    "default-address-pool": "default-address-pools",
    "default-network-opt": "default-network-opts",
    "default-ulimit": "default-ulimits",
    "dns-opt": "dns-opts",
    "exec-opt": "exec-opts",
    "g": "data-root",
    "graph": "data-root",
    "host": "hosts",
    "insecure-registry": "insecure-registries",
    "l": "log-level",
    "label": "labels",
    "log-opt": "log-opts",
    "node-generic-resource": "node-generic-resources",
    "p": "pidfile",
    "registry-mirror": "registry-mirrors",
    "s": "storage-driver",
    "storage-opt": "storage-opts",
}
# Flags without a word of their own for the value, by key.
SWITCHES = frozenset(
    (
        "bridge-accept-fwmark",
        "cri-containerd",
        "debug",
        "experimental",
        "help",
        "icc",
        "init",
        "ip-forward",
        "ip-forward-no-drop",
        "ip-masq",
        "ip6tables",
        "iptables",
        "ipv6",
        "live-restore",
        "no-new-privileges",
        "raw-logs",
        "rootless",
        "selinux-enabled",
        "tls",
        "tlsverify",
        "userland-proxy",
        "validate",
        "version",
        "v",
    )
)


@dataclass(frozen=True)
class EngineFlag:
    """A flag of the engine's command.

    :param key: what it is called in the configuration file
    :param value: as text; that of a switch is true or false
    :param words: as it stands in the command
    """

    key: str
    value: str
    words: tuple[str, ...]


def engine_command(step: Step) -> list[str]:
    """Return the engine's program and arguments as its unit starts them the next time.

    Variables are replaced by what they hold. A program before the engine, such as numactl or a
    shell, is left out; where the engine is in none of the words, as behind a script, what runs
    tells. Empty where there is no unit.
    """
    shown = unit_shown(step)
    if not shown:
        return []
    listed = re.search(r"argv\[\]=(.*?) ; ignore_errors", shown)
    if listed is None:
        service = find_service(step, (ENGINE_UNIT,))
        return engine_part(service.command) if service else []
    variables = environment(step, shown, ENGINE_VARIABLES)
    words: list[str] = []
    for word in shell_words(listed.group(1)):
        whole = re.fullmatch(r"\$(\w+)|\$\{(\w+)\}", word)
        if whole:
            words.extend(shell_words(variables.get(whole.group(1) or whole.group(2), "")))
        else:
            words.append(re.sub(r"\$\{(\w+)\}", lambda m: variables.get(m.group(1), ""), word))
    own = engine_part(words)
    if own or not words:
        return own
    service = find_service(step, (ENGINE_UNIT,))
    return engine_part(service.command) if service else []


def engine_part(words: list[str]) -> list[str]:
    """Return the engine's program and what follows it, empty where it is not among the words."""
    for place, word in enumerate(words):
        # What a shell is given is one word.
        inner = shell_words(word) if re.search(r"\s", word) else [word]
        for start, part in enumerate(inner):
            if ENGINE_NAME.fullmatch(part.rpartition("/")[2]):
                return [*inner[start:], *words[place + 1 :]]
    return []


def unit_shown(step: Step) -> str:
    """Return what systemctl shows of the command and the environment of the engine's unit."""
    if not program_path("systemctl"):
        return ""
    wanted = "ExecStart,Environment,EnvironmentFiles"
    command = ["systemctl", "show", "--no-pager", "-p", wanted, ENGINE_UNIT]
    # The addresses of proxies may hold passwords.
    return step.run(command, ok=(0, 1, 4), quiet=True).stdout


def shell_words(text: str) -> list[str]:
    """Return the words of a text as a shell reads it; where it could not, those between spaces."""
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def environment(step: Step, shown: str, files: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the variables of a unit: its own, and those in the files that it names.

    :param shown: what systemctl shows of the unit
    :param files: others that are read as well
    """
    variables: dict[str, str] = {}
    for line in re.findall(r"^Environment=(.*)", shown, re.M):
        for pair in shell_words(line):
            variable, _, value = pair.partition("=")
            variables[variable] = value
    named = re.findall(r"^EnvironmentFiles=(\S+) \(", shown, re.M)
    for name in dict.fromkeys((*files, *named)):
        path = step.path(name)
        for line in path.read_text().splitlines() if path.is_file() else ():
            variable, equals, value = line.strip().partition("=")
            if equals and re.fullmatch(r"\w+", variable):
                variables[variable] = " ".join(shell_words(value))
    return variables


def engine_flags(command: list[str]) -> list[EngineFlag]:
    """Return the flags in the engine's command."""
    flags, rest = [], list(command[1:])
    while rest:
        word = rest.pop(0)
        short = re.fullmatch(r"-([A-Za-z])=?(.*)", word)
        long = re.fullmatch(r"--([\w-]+)(=?)(.*)", word)
        if not short and not long:
            continue
        name = short.group(1) if short else long.group(1) if long else ""
        value = short.group(2) if short else long.group(3) if long else ""
        given = bool(value or (long and long.group(2)))
        key, words = KEYS_OF_FLAGS.get(name, name), [word]
        if key in SWITCHES:
            value = value or "true"
        elif not given and rest:
            value = rest.pop(0)
            words.append(value)
        flags.append(EngineFlag(key, value, tuple(words)))
    return flags


def engine_flag(flags: list[EngineFlag], key: str) -> str:
    """Return what the last flag sets a key to, empty when none does."""
    return next((flag.value for flag in reversed(flags) if flag.key == key), "")


def deployed_units(step: Step) -> list[str]:
    """Return the units of kolla-ansible's that start containers in the engine of this host.

    Where they require the engine, and not only want it, they end with its restart.
    """
    if not program_path("systemctl"):
        return []
    command = ["systemctl", "show", "--no-pager", "-p", "RequiredBy,WantedBy", ENGINE_UNIT]
    shown = step.run(command, ok=(0, 1, 4)).stdout
    listed = re.findall(r"^(?:RequiredBy|WantedBy)=(.*)", shown, re.M)
    return sorted({unit for unit in " ".join(listed).split() if KOLLA_UNITS.fullmatch(unit)})


def engine_program(step: Step) -> str:
    """Return the engine's program, as its unit starts it."""
    command = engine_command(step)
    if command:
        return command[0]
    return next((name for name in ENGINES if step.path(name).exists()), "dockerd")


def settings_file(step: Step) -> str:
    """Return the engine's configuration file."""
    return engine_flag(engine_flags(engine_command(step)), "config-file") or ENGINE_SETTINGS
