# SPDX-License-Identifier: Apache-2.0
"""The hosts' side of enrolment, over SSH: who a host is, its key, and its agent."""

from __future__ import annotations

import base64
import concurrent.futures
import dataclasses
import json
import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from novadocker_actions import host_package, resources
from novadocker_actions.cloud.host_keys import fault_of
from novadocker_actions.enrolment.brought import AGENT_LOCK, Brought
from novadocker_actions.errors import Refused
from novadocker_actions.plan import identity

# At how many hosts something is done at the same time.
PARALLEL = 10


@dataclasses.dataclass(frozen=True)
class Ssh:
    """How to reach hosts: the operator's own SSH configuration, and nobody to ask.

    :param config: another configuration file than the user's
    :param user: who to be there; anyone but root has to have sudo without a password
    :param connect_timeout_s: how long to wait for a connection
    """

    config: str | None = None
    user: str = "root"
    connect_timeout_s: int = 15

    def command(self, address: str, remote: str) -> list[str]:
        """Return the argument list that runs a command on a host."""
        configured = ["-F", self.config] if self.config else []
        options = ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={self.connect_timeout_s}"]
        sudo = "" if self.user == "root" else "sudo -n "
        # What comes after it is an address, whatever it looks like.
        return ["ssh", *configured, *options, "-l", self.user, "--", address, f"{sudo}{remote}"]

    def run(self, address: str, remote: str, stdin: str, timeout_s: float) -> str:
        """Run a command on a host and return what it printed.

        :raises Refused: when the host cannot be reached, or the command fails there
        """
        try:
            done = subprocess.run(
                self.command(address, remote),
                input=stdin,
                text=True,
                capture_output=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as err:
            raise Refused(
                address,
                f"gave no answer over SSH in {timeout_s:g} s.",
                "Look at the host, then repeat.",
            ) from err
        if done.returncode and not done.stdout.strip().startswith("{"):
            said = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise Refused(
                address,
                f"cannot be worked on over SSH: {said[0]}.",
                f"`{' '.join(self.command(address, 'true'))}` has to work; give HOST=ADDRESS, "
                "--ssh-config or --ssh-user.",
            )
        return done.stdout


# What runs on the host comes by standard input, as credentials are among it, and leaves no file.
_PROGRAM = """\
import base64, json, lzma, os, subprocess, sys, tempfile
with tempfile.TemporaryDirectory(prefix="novadocker-") as folder:
    path = os.path.join(folder, "novadocker-host.pyz")
    with open(path, "wb") as file:
        file.write(lzma.decompress(base64.b85decode({package!r})))
    os.mkdir(os.path.join(folder, "brought"))
    for name, content in json.loads({files!r}).items():
        with open(os.path.join(folder, "brought", name), "wb") as file:
            file.write(base64.b64decode(content))
    env = {{**os.environ, **json.loads({inputs!r})}}
    command = [sys.executable, "-I", path, {step!r}]
    code = subprocess.call(command, env=env, stdin=subprocess.DEVNULL)
sys.exit(code)
"""


def step_script(
    step: str,
    mode: str,
    settings: Mapping[str, Any],
    timeout_s: float,
    files: Iterable[Path] = (),
) -> str:
    """Return the program for a host's Python that runs a step out of the package.

    :param files: what lies beside the package, in the folder brought, while the step runs
    """
    inputs = {"mode": mode, "settings": json.dumps(dict(settings)), "timeout_s": str(timeout_s)}
    given = json.dumps(inputs)
    beside = {path.name: base64.b64encode(path.read_bytes()).decode() for path in files}
    return _PROGRAM.format(
        package=host_package.compressed(), inputs=given, step=step, files=json.dumps(beside)
    )


def run_step(
    ssh: Ssh,
    address: str,
    step: str,
    mode: str,
    settings: Mapping[str, Any],
    timeout_s: int = 600,
    files: Iterable[Path] = (),
) -> dict[str, Any]:
    """Run a host step over SSH; return whether it ``changed`` the host, and its ``facts``.

    :raises Refused: with the host's own reason
    """
    text = step_script(step, mode, settings, timeout_s, files)
    printed = ssh.run(address, "python3 -", text, timeout_s + 30)
    outcome = json.loads(printed.strip().splitlines()[-1])
    report = json.loads(outcome["report"])
    if outcome["deploy_result"] != "ok":
        raise Refused(address, f"{report['reason']}.", f"More on the host: {report['log']}.")
    return {"changed": outcome["changed"] == "true", "facts": report.get("facts") or {}}


def change_agent(
    ssh: Ssh,
    address: str,
    mode: str,
    settings: Mapping[str, Any],
    brought: Brought | None = None,
    timeout_s: int = 600,
) -> bool:
    """Install (``apply``) or remove (``undo``) the agent of a host; return whether that changed it.

    Without credentials in the settings, an agent that enrolment put there is brought up to date.

    :param brought: of which the agent is installed, where it has that
    :raises Refused: with the host's own reason
    """
    lock = [resources.path(AGENT_LOCK)] if mode == "apply" else []
    files = [*lock, *(brought.agent if brought else ())]
    done = run_step(ssh, address, "install_agent", mode, settings, timeout_s, files)
    return bool(done["changed"])


def install_package(ssh: Ssh, address: str, brought: Brought, timeout_s: int = 120) -> bool:
    """Put the package of host steps and wheels on a host; return whether it had others.

    :raises Refused: with the host's own reason
    """
    settings = {"sha256": host_package.digest()}
    changed = run_step(ssh, address, "install_package", "apply", settings, timeout_s)["changed"]
    named = {wheel.path.name: wheel.sha256 for wheel in brought.driver}
    asked = {"wheels": named, "driver": brought.driver[0].sha256}
    paths = [wheel.path for wheel in brought.driver]
    done = run_step(ssh, address, "bring_wheels", "apply", asked, timeout_s, paths)
    return bool(changed or done["changed"])


def update_hosts(
    ssh: Ssh, hosts: Mapping[str, str], brought: Brought, tell: Callable[[str], None]
) -> None:
    """Put the package and the agent of this release on hosts, without disturbing a recipe.

    :param hosts: SSH addresses by host name
    :param tell: called with each line for the operator
    :raises Refused: naming every host on which it could not be done; it is on the others
    """

    def update(name: str) -> str:
        try:
            changed = install_package(ssh, hosts[name], brought)
            renewed = change_agent(ssh, hosts[name], "apply", {}, brought)
        except Refused as err:
            return f"{name}: {err}"
        tell(
            f"{name}: package {host_package.digest()[:12]} "
            f"{'installed' if changed else 'is there'}, with {brought.driver[0].path.name}; "
            f"agent {'brought up to date' if renewed else 'as it was'}"
        )
        return ""

    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
        faults = [fault for fault in pool.map(update, hosts) if fault]
    if faults:
        raise Refused("hosts", " ".join(faults), "Mend that, then repeat the command.")


def require_identity(ssh: Ssh, hosts: Mapping[str, str]) -> None:
    """See that each host can be worked on and is the one that is meant; nothing is changed.

    :param hosts: SSH addresses by host name
    :raises Refused: naming every host that is not reached, or is another
    """

    def fault_of(name: str) -> str:
        try:
            facts = run_step(ssh, hosts[name], "describe_host", "check", {}, 120)["facts"]
        except Refused as err:
            return str(err)
        fault = identity.fault_of(name, facts)
        why = [note for note in facts.get("notes") or [] if note.startswith("nova: ")]
        told = f"; {why[0]}" if fault and why else ""
        return f"{fault} (address {hosts[name]}){told}." if fault else ""

    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
        faults = [fault for fault in pool.map(fault_of, hosts) if fault]
    if faults:
        raise Refused(
            "hosts",
            " ".join(faults),
            "Give each host by its own name (of its compute service in Nova, else its host name), "
            "and the right HOST=ADDRESS. Nothing was changed.",
        )


def host_keys(ssh: Ssh, hosts: Mapping[str, str]) -> dict[str, str]:
    """Return each host's public key, made there if it had none.

    :param hosts: SSH addresses by host name
    :raises Refused: when a host cannot make one, or makes one that nobody can read
    """

    def key_of(name: str) -> str:
        facts = run_step(ssh, hosts[name], "make_host_key", "apply", {}, 120)["facts"]
        key = str(facts.get("public_key") or "")
        fault = fault_of(key)
        if fault:
            raise Refused(name, f"made a key that cannot be pinned. {fault}", "See the host.")
        return key

    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
        return dict(zip(hosts, pool.map(key_of, hosts), strict=True))
