#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What heat-agents leave open: nothing that Heat waits for is lost without an outcome.

A part of the package that is beside the hooks of heat-agents, called in each refresh of a host as

* ``refuse`` before 55-heat-config: what was interrupted is run once more; what cannot be run (no
  hook for its group, an input without a value), has expired, is meant for another host, or is not
  a message that the operator signs, is told to Heat as failed instead of never; input values become
  text, which the script hook needs;
* ``hook NAME`` in place of a hook of heat-agents: the hook writes every input into its log, so it
  is not given those that say how to signal, which are secrets;
* ``notify CONFIG`` in place of heat-config-notify: the outcome is cut to a size that Heat takes,
  signed with this host's key where the message asks for that, and remembered until it was told;
* ``settle`` after 55-heat-config: outcomes that could not be told are told again, old files go
  away, and the agent asks often for a while, because one step is followed by the next.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

LOG = logging.getLogger("outcomes")
HOME = Path(os.environ.get("HEAT_AGENT_HOME", "/opt/heat-agent"))
CONFIGS = Path(os.environ.get("HEAT_SHELL_CONFIG", "/var/run/heat-config/heat-config"))
DEPLOYED = Path(os.environ.get("HEAT_CONFIG_DEPLOYED", "/var/lib/heat-config/deployed"))
SCRIPTS = Path(os.environ.get("HEAT_SCRIPT_WORKING", "/var/lib/heat-config/heat-config-script"))
HOOKS = Path(os.environ.get("HEAT_CONFIG_HOOKS", HOME / "hooks"))
WAKE = Path(os.environ.get("HEAT_AGENT_WAKE", "/var/lib/heat-config/wake.conf"))
# Made by `novadocker-enroll` over SSH: the key of this host, and the name that it is enrolled by.
HOST_KEY = Path(os.environ.get("NOVADOCKER_HOST_KEY", "/etc/novadocker/host.key"))
HOST_NAME = Path(os.environ.get("NOVADOCKER_HOST_NAME", "/etc/novadocker/host.name"))
# Made by it, too: the keys of the operator, and whether what they did not sign is to be run.
OPERATOR_KEYS = Path(os.environ.get("NOVADOCKER_OPERATOR_KEYS", "/etc/novadocker/operator.pub"))
UNSIGNED = Path(os.environ.get("NOVADOCKER_UNSIGNED", "/etc/novadocker/unsigned"))
# The group of messages; the hook of ours for it says itself what it refuses.
MESSAGES = "novadocker"
TEXT_CHARS = 64 * 1024
DIGEST_CHARS = 32
REASON_CHARS = 2000
SIGNAL_INPUTS = "deploy_"
NO_HOOK_NEEDED = ("os-apply-config",)
# Files are named by it. Heat's own are UUIDs, but a template's metadata may say anything.
IDENTITY = re.compile(r"[0-9A-Za-z_-]{1,64}")


def main(argv: list[str]) -> int:
    """Do what the first argument says; return the exit code."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    verbs = {"refuse": refuse, "settle": settle}
    if argv[1] == "hook":
        return hook(HOME / "hooks.d" / argv[2], json.load(sys.stdin))
    if argv[1] == "notify":
        return notify(Path(argv[2]), json.load(sys.stdin))
    return verbs[argv[1]]()


def configs() -> list[dict[str, Any]]:
    """Return what Heat wants of this host now."""
    return [config for config in given_configs() if is_config(config)]


def given_configs() -> list[Any]:
    """Return what came as that, whatever it is."""
    try:
        wanted = json.loads(CONFIGS.read_text() or "[]")
    except (OSError, ValueError, RecursionError):
        return []
    return wanted if isinstance(wanted, list) else [wanted]


def is_config(given: Any) -> bool:
    """Return whether something has the form in which Heat hands a config to agents.

    Files are written that are called by its id, with all that it holds: one that leads elsewhere
    would be a file of somebody's choice there.
    """
    if not isinstance(given, dict) or not isinstance(given.get("id"), str):
        return False
    if not IDENTITY.fullmatch(given["id"]):
        return False
    inputs = given.get("inputs", [])
    return (
        isinstance(given.get("group") or "", str)
        and isinstance(inputs, list)
        and all(isinstance(item, dict) and isinstance(item.get("name"), str) for item in inputs)
    )


def files(identity: str) -> tuple[Path, Path, Path]:
    """Return where heat-agents mark a config as deployed and keep its outcome, and our own mark."""
    deployed = DEPLOYED / f"{identity}.json"
    return deployed, DEPLOYED / f"{identity}.notify.json", DEPLOYED / f"{identity}.told"


def refuse() -> int:
    """Rerun, before the hooks, what was interrupted; refuse what cannot be run."""
    given, wanted = given_configs(), configs()
    if len(wanted) < len(given):
        # Nobody can be told of them; what comes after this is not to see them.
        LOG.error("%d configs that are none were left out", len(given) - len(wanted))
    for config in wanted:
        deployed, outcome, _ = files(config["id"])
        again = deployed.with_suffix(".again")
        if deployed.exists() and not outcome.exists():
            if again.exists():
                fail(config, "the host went down twice while it ran this; it is not tried again")
            elif refusal(config):
                fail(config, f"the host went down while it ran this; now {refusal(config)}")
            else:
                LOG.warning("%s was interrupted and is run once more", config["id"])
                again.touch()
                deployed.unlink()
        elif not deployed.exists():
            fault = unrunnable(config) or refusal(config)
            if fault:
                fail(config, fault)
        for item in config.get("inputs", []):
            value = item.get("value")
            if isinstance(value, (bool, int, float)):
                item["value"] = json.dumps(value)
    if given:
        write(CONFIGS, json.dumps(wanted))
    return 0


def unrunnable(config: dict[str, Any]) -> str:
    """Return why heat-agents would leave a config lying, empty when they would run it."""
    group = config.get("group") or ""
    if group not in (*NO_HOOK_NEEDED, "component") and not (HOOKS / group).exists():
        return f"this host's agent has no hook for configs of group {group}"
    lacking = [str(item.get("name")) for item in config.get("inputs", []) if "value" not in item]
    if lacking:
        return f"the inputs {', '.join(lacking)} carry no value"
    return ""


def refusal(config: dict[str, Any]) -> str:
    """Return why a config must not be run here and now, empty when it may.

    Those that tell neither a host nor an end, such as a pool's stack has, are not refused for that.
    """
    if config.get("group") == MESSAGES:
        return ""
    if OPERATOR_KEYS.exists() and not unsigned_may_run():
        return (
            f"this host runs what the operator has signed, and a config of the group "
            f"{config.get('group')} is not: to have stacks of Heat push to it, enrol it with "
            "--trust-stacks"
        )
    given = values(config)
    host, expires_at = given.get("host"), given.get("expires_at")
    name = host_name()
    if host and name and host != name:
        return f"this message is for the host {host}, and this host is enrolled as {name}"
    try:
        end = float(expires_at or "inf")
    except ValueError:
        return "this message is not run: its end cannot be read"
    if end < time.time():
        return (
            f"this message expired at {utc(end)}, and this host's clock shows {utc(time.time())}: "
            "run the workflow again; if the message was new, set the clock"
        )
    return ""


def unsigned_may_run() -> bool:
    """Return whether the operator wants this host to run what stacks of Heat have for it."""
    return UNSIGNED.exists() and UNSIGNED.read_text().strip() == "run"


def values(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config's inputs by name; for a message, what its signed text says instead."""
    if config.get("group") == MESSAGES:
        try:
            return dict(json.loads(config.get("config") or ""))
        except (TypeError, ValueError, RecursionError):
            return {}
    return {str(item.get("name")): item.get("value") for item in config.get("inputs") or []}


def host_name() -> str:
    """Return the name that this host is enrolled by, empty when it has none."""
    return HOST_NAME.read_text().strip() if HOST_NAME.exists() else ""


def utc(seconds: float) -> str:
    """Return a time for people."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def fail(config: dict[str, Any], reason: str) -> None:
    """Mark a config as deployed with a failure, and tell it."""
    LOG.error("%s: %s", config["id"], reason)
    deployed, outcome, _ = files(config["id"])
    DEPLOYED.mkdir(mode=0o700, parents=True, exist_ok=True)
    write(deployed, json.dumps(config))
    told = {"deploy_stdout": "", "deploy_stderr": reason, "deploy_status_code": 1}
    write(outcome, json.dumps(told))
    notify(deployed, told)


def hook(program: Path, config: dict[str, Any]) -> int:
    """Run a hook of heat-agents without the inputs that are for the signal alone."""
    fault = refusal(config)
    if fault:
        # Whatever has kept `refuse` from saying so before.
        print(json.dumps({"deploy_stdout": "", "deploy_stderr": fault, "deploy_status_code": 1}))
        return 0
    inputs = config.get("inputs") or []
    config["inputs"] = [item for item in inputs if not item["name"].startswith(SIGNAL_INPUTS)]
    done = subprocess.run([program], input=json.dumps(config), text=True, check=False)
    return done.returncode


def notify(deployed: Path, outcome: dict[str, Any]) -> int:
    """Tell Heat an outcome with heat-agents' own program, and remember that it was told."""
    short = {
        name: value[-TEXT_CHARS:] if isinstance(value, str) else value
        for name, value in outcome.items()
    }
    config = json.loads(deployed.read_text() or "{}") if deployed.exists() else {}
    done = subprocess.run(
        [HOME / "bin" / "heat-config-notify", deployed],
        input=json.dumps(signed(config, short)),
        text=True,
        capture_output=True,
        check=False,
    )
    lines = done.stderr.splitlines(keepends=True)
    # A signal's URL is as good as a password.
    sys.stderr.writelines(line for line in lines if "Signaling to" not in line)
    # The program takes any answer for a success: a refusal is told in its log alone.
    refused = "Response <Response [" in done.stderr and "Response <Response [2" not in done.stderr
    if done.returncode == 0 and not refused:
        files(deployed.stem)[2].touch()
        return 0
    return done.returncode or 1


def signed(config: dict[str, Any], outcome: dict[str, Any]) -> dict[str, Any]:
    """Return an outcome with this host's signature, where the message asks for it.

    Whoever may signal in the stack's project can tell Heat anything in a host's name, and any
    signal goes to whatever the mailbox holds: so the signature covers the host, the message to the
    letter, and all that is told. What is said of a text that somebody else has put there under the
    name of a message is so no word on the message. What ended without a word of its own has failed.
    """
    given = values(config)
    push_id = given.get("push_id")
    if not push_id or not HOST_KEY.exists():
        return outcome
    told = {"changed": "false", **outcome, "push_id": push_id}
    if not told.get("deploy_result"):
        said = str(outcome.get("deploy_stderr") or "").strip()[-REASON_CHARS:]
        code = outcome.get("deploy_status_code")
        reason = said or f"the script ended without an outcome, with exit code {code}"
        told.update(deploy_result="failed", report=json.dumps({"reason": reason}))
    covered = [host_name(), push_id, text_digest(config), told["deploy_result"]]
    covered += [told["changed"], told.get("report", "")]
    told["signature"] = signature(["novadocker-outcome", *map(str, covered)])
    return told


def text_digest(config: dict[str, Any]) -> str:
    """Return what tells a message's text from any other, empty for what is no message."""
    if config.get("group") != MESSAGES:
        return ""
    text = str(config.get("config") or "").encode(errors="surrogatepass")
    return hashlib.sha256(text).hexdigest()[:DIGEST_CHARS]


def signature(parts: list[str]) -> str:
    """Return the host's signature (RSA-PSS, SHA-256) of some texts, as base64."""
    options = ("rsa_padding_mode:pss", "rsa_pss_saltlen:32")
    command = ["openssl", "dgst", "-sha256", "-sign", str(HOST_KEY)]
    command += [word for option in options for word in ("-sigopt", option)]
    text = json.dumps(parts, separators=(",", ":")).encode()
    done = subprocess.run(command, input=text, capture_output=True, check=False)
    if done.returncode:
        LOG.error("The outcome cannot be signed: %s", done.stderr.decode(errors="replace")[-300:])
        return ""
    return base64.b64encode(done.stdout).decode()


def settle() -> int:
    """Tell, after the hooks, what could not be told; tidy up, keep the agent quick for a while."""
    left, current = 0, configs()
    for config in current:
        deployed, outcome, told = files(config["id"])
        if deployed.exists() and outcome.exists() and not told.exists():
            LOG.warning("the outcome of %s was not told yet", config["id"])
            left += not tell_again(config)
    tidy({config["id"] for config in current})
    write(WAKE, f"# Changed by each run, so that the agent asks again soon: {time.time():.0f}\n")
    return 1 if left else 0


def tell_again(config: dict[str, Any]) -> bool:
    """Tell the outcome that is on record; return whether Heat has it now.

    Where a power cut has left nothing that can be read, it is not known, and that is told.
    """
    deployed, outcome, told = files(config["id"])
    try:
        notify(deployed, dict(json.loads(outcome.read_text())))
    except (TypeError, ValueError) as err:
        fail(config, f"what this host has noted of how this ended cannot be read: {err}")
    return told.exists()


def tidy(current: set[str]) -> None:
    """Remove what configs that Heat no longer wants have left here: scripts, inputs, outputs."""
    for directory in (DEPLOYED, SCRIPTS, CONFIGS.parent / "heat-config-script"):
        for path in directory.glob("*") if directory.is_dir() else ():
            if path.is_file() and path.name.split(".")[0] not in current:
                path.unlink()


def write(path: Path, text: str) -> None:
    """Write a root-only file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    with os.fdopen(os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as handle:
        handle.write(text)
    os.replace(draft, path)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
