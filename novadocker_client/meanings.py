# SPDX-License-Identifier: Apache-2.0
"""The words for workflows, their inputs and their steps, told once for commands, forms and pages.

An input's default is the workbook's, and its choices are those that the workflows take: a test of
the whole house compares them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Kinds of inputs: one or several names, a text, a number, a number or a percentage, one of some
# words, yes or no, settings.
NAMES, TEXT, NUMBER, SHARE = "names", "text", "number", "share"
CHOICE, FLAG, OBJECT = "choice", "flag", "object"

WORKBOOK = "novadocker"
_PERCENT, _NUMBER = re.compile(r"([1-9]?\d|100)%", re.ASCII), re.compile(r"\d+", re.ASCII)


def share(text: str) -> int | str:
    """Return what a text says of kind ``SHARE``: a number, or a percentage as it is.

    :raises ValueError: when it says neither
    """
    if _PERCENT.fullmatch(text):
        return text
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{text!r} is neither a number nor a percentage up to 100%")
    return int(text)


@dataclass(frozen=True)
class Input:
    """An input of workflows.

    :param kind: one of the kinds above
    :param meaning: what it says, in a sentence
    :param default: what counts where nothing is given
    :param choices: the words that it may be
    """

    kind: str
    meaning: str
    default: Any = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Workflow:
    """A public workflow.

    :param title: what it is called on a page
    :param meaning: what it does, in a sentence
    :param inputs: names of what it takes
    :param changes: whether it changes hosts
    """

    title: str
    meaning: str
    inputs: tuple[str, ...]
    changes: bool = False


@dataclass(frozen=True)
class Step:
    """A step of a run: of a host, or a task of the workflow.

    :param title: what is done
    :param done: what is so when it has succeeded, in a sentence without its full stop
    """

    title: str
    done: str


INPUTS: Mapping[str, Input] = {
    "hosts": Input(NAMES, "The Nova compute hosts that are meant, by name."),
    "match": Input(
        TEXT,
        "Where no hosts are given: those with this in their names, whatever the case.",
        "docker",
    ),
    "if_none_match": Input(
        CHOICE,
        "Where no name matches: all hosts that can be converted are meant, or the run fails.",
        "all",
        ("all", "fail"),
    ),
    "where": Input(
        TEXT,
        "A YAQL predicate over a host's record, which the hosts that are meant fulfil as well.",
    ),
    "exclude": Input(NAMES, "Hosts that are left alone, whatever else selects them.", ()),
    "images": Input(
        NAMES,
        "Docker images that are published in Glance and preloaded on the hosts.",
        ("busybox",),
    ),
    "driver_url": Input(
        TEXT,
        "The address of a directory with the driver's wheel, for hosts that enrolment gave none.",
    ),
    "driver_index": Input(
        TEXT, "The address of your package index, for what the driver needs and hosts lack."
    ),
    "docker": Input(OBJECT, "Settings that the hosts' daemon.json gets as well.", {}),
    "aggregate": Input(
        TEXT, "The host aggregate that Docker hypervisors are put into.", "docker-hosts"
    ),
    "batch_size": Input(
        NUMBER, "How many hosts are changed at once; without it one, then more and more."
    ),
    "batch_sizes": Input(
        NAMES,
        "How many hosts are changed at once, batch by batch, in numbers and percentages, such as"
        " 1,10%,50%; the last of them counts for the rest.",
    ),
    "max_failed": Input(
        SHARE,
        "How many hosts may fail before no further batch is begun, as a number or a percentage.",
        0,
    ),
    "run_timeout_s": Input(
        NUMBER, "After how many seconds no further batch is begun; without it there is no end."
    ),
    "batch_pause_s": Input(
        NUMBER, "How many seconds pass between two batches, with all hosts in service.", 0
    ),
    "approval": Input(
        CHOICE,
        "Whether a run waits until its operator approves the next batch: never, after the first"
        " batch, or after each.",
        "none",
        ("none", "canary", "batches"),
    ),
    "drain": Input(
        CHOICE,
        "A host with instances: the run is refused, the host is left as it is, or the instances"
        " are migrated to other hosts when its batch comes.",
        "refuse",
        ("refuse", "skip", "migrate"),
    ),
    "drain_timeout_s": Input(
        NUMBER,
        "How many seconds the instances of a batch may take to leave; a host that is occupied"
        " then is left as it is.",
        1800,
    ),
    "drain_at_once": Input(NUMBER, "How many instances are migrated at the same time.", 2),
    "phase": Input(
        CHOICE,
        "Whether hosts are only staged, by what disturbs nobody, or only switched where they are"
        " staged, or all is done.",
        "all",
        ("all", "stage", "switch"),
    ),
    "upgrade": Input(
        FLAG,
        "Whether only Docker hypervisors are meant, which get this release's driver and keep all"
        " else.",
        False,
    ),
    "plan_digest": Input(
        TEXT, "The digest of a plan: where the plan would be another by now, the run is refused."
    ),
    "step_timeout_s": Input(NUMBER, "How many seconds a step may take on a host.", 900),
    "agent_timeout_s": Input(
        NUMBER, "How many seconds a host's agent may take to answer at first.", 60
    ),
    "report_url": Input(TEXT, "The address that the run's message ends with."),
    "preload": Input(
        FLAG,
        "Whether Docker hypervisors fetch the images; else they are only published, and no compute"
        " host is asked.",
        True,
    ),
    "remove_images": Input(FLAG, "Whether the images that were published are deleted.", False),
    "controllers": Input(
        CHOICE,
        "Where no Docker hypervisor is left: controllers are given back too, or kept.",
        "auto",
        ("auto", "keep"),
    ),
}

# The inputs by which hosts are selected.
SELECTING = ("hosts", "match", "if_none_match", "where", "exclude")
_CONVERTING = ("images", "driver_url", "driver_index", "docker", "aggregate")
_DRAINING = ("drain", "drain_timeout_s", "drain_at_once")
_BATCHING = (
    *("batch_size", "batch_sizes", "max_failed", "run_timeout_s"),
    *("batch_pause_s", "approval"),
    *_DRAINING,
)
_WAITING = ("step_timeout_s", "agent_timeout_s", "report_url")

WORKFLOWS: Mapping[str, Workflow] = {
    "plan": Workflow(
        "Plan",
        "Show what deploy would do to which host, in which order. Changes nothing.",
        (*SELECTING, *_CONVERTING, *_BATCHING, "phase", "upgrade", *_WAITING),
    ),
    "deploy": Workflow(
        "Deploy",
        "Turn compute hosts into Docker hypervisors, batch by batch.",
        (*SELECTING, *_CONVERTING, *_BATCHING, "phase", "upgrade", "plan_digest", *_WAITING),
        changes=True,
    ),
    "verify": Workflow(
        "Verify",
        "Tell which hosts are no longer what deploy makes of them. Changes nothing.",
        (*SELECTING, *_CONVERTING, *_WAITING),
    ),
    "undeploy": Workflow(
        "Undeploy",
        "Give compute hosts back as they were before deploy, batch by batch.",
        (*SELECTING, *_BATCHING, "aggregate", "remove_images", "controllers", *_WAITING),
        changes=True,
    ),
    "precheck": Workflow(
        "Precheck",
        "Find all that would keep hosts from being converted. Changes nothing.",
        (*SELECTING, *_CONVERTING, *_WAITING),
    ),
    "recover": Workflow(
        "Recover",
        "Take up what runs have left that were cancelled, failed or vanished.",
        ("hosts", "where", "exclude", "aggregate", *_WAITING),
        changes=True,
    ),
    "preload_images": Workflow(
        "Preload images",
        "Publish Docker images in Glance and have Docker hypervisors fetch them.",
        (*SELECTING, "images", "preload", "aggregate", *_WAITING),
    ),
}

# Steps of hosts, and tasks of the workflows; one that is not here is called by its name.
STEPS: Mapping[str, Step] = {
    # On hosts.
    "describe_host": Step("Describe the host", "the host has described itself"),
    "install_docker": Step("Install Docker Engine", "Docker Engine is installed"),
    "install_driver": Step("Install the driver", "the driver is in Nova's environment"),
    "configure_compute": Step("Configure nova-compute", "nova-compute runs with the driver"),
    "configure_glance": Step("Configure Glance", "Glance is configured for docker images"),
    "install_nova_compute": Step("Install nova-compute", "nova-compute is installed"),
    "install_agent": Step("Install the agent", "the host has its agent"),
    "make_host_key": Step("Make the host's key", "the host has a key of its own"),
    "install_package": Step("Install the host steps", "the host has the package of this release"),
    "bring_wheels": Step("Bring the wheels", "the host has the driver's wheel"),
    "check_images": Step("Ask the registry", "the registry has the images"),
    "export_image": Step("Export the image", "the image is pulled and saved"),
    "upload_image": Step("Upload the image", "the image is uploaded to Glance"),
    "verify_host": Step("Verify the host", "the host finds itself in order"),
    # Of a whole run.
    "begin": Step("Check the inputs", "the inputs are in order"),
    "select_hosts": Step("Select hosts", "the hosts are selected"),
    "lock": Step("Look for other runs", "no other run is at these hosts"),
    "describe_hosts": Step("Describe the hosts", "the hosts have described themselves"),
    "bring_package": Step("Bring the host steps", "the host has this release's package of steps"),
    "require_images": Step("Require the images", "the images are there to be had"),
    "check_steps": Step("Try the steps", "every step has been tried"),
    "make_plan": Step("Make the plan", "the plan is made"),
    "run_on_next": Step("Change the controller", "the controller is as wanted"),
    "stage": Step("Stage", "what disturbs nobody is done"),
    "unstage": Step("Take back what was staged", "nothing stays staged that is not switched"),
    "gate": Step("Judge the batch", "the batch is through"),
    "hold": Step("Wait between batches", "the waiting is over"),
    "audit": Step("Compare", "hosts, Nova and Glance are compared with what deploy makes"),
    "write_report": Step("Write the report", "the report is written"),
    # Of a batch.
    "disable_compute": Step("Take out of service", "out of service"),
    "drain": Step("Drain the host", "its instances are on other hosts"),
    "recheck_instances": Step("Ask again for instances", "nobody lives there"),
    "switch": Step("Switch the driver", "nova-compute has its new driver"),
    "finish_in_service": Step("Finish in service", "what is slow is done, too"),
    "verify_compute": Step("Verify in Nova", "Nova finds the hypervisor in order"),
    "verify_glance": Step("Verify in Glance", "Glance's API takes docker images"),
    "verify_image": Step("Verify the image", "the image is in Glance"),
    "isolate": Step("Set the aggregate", "in or out of the aggregate of Docker hosts, as wanted"),
    "preload_images": Step("Preload images", "Nova has asked the host to fetch the images"),
    "verify_images": Step("Verify the images", "the images are preloaded"),
    "enable_compute": Step("Put into service", "in service again"),
    "check_cloud": Step("Look at the services", "services and their view of hosts are known"),
    "find_left": Step("Find what is left", "what a lost run has left there is known"),
    "check_left": Step("Try what looks whole", "it is known whether it is whole"),
    "take_back": Step("Put back", "put back as the lost run found it"),
    "put_right": Step("Put right", "in service, and where it belongs"),
    "take_up": Step("Take up", "what lost runs have left is taken up"),
    "sweep": Step("Sweep", "what lost runs have left beside hosts is gone"),
    "roll_back": Step("Put back", "put back as it was"),
    "find_docker_hosts": Step(
        "Look for Docker hosts", "the Docker hypervisors that are left are known"
    ),
    "remove_images": Step("Remove images", "the published images are deleted"),
}

# What the states of a run mean.
OUTCOMES: Mapping[str, str] = {
    "running": "It has not ended.",
    "waiting": "It waits between two batches, with all hosts in service.",
    "paused": "It has been paused and can be resumed.",
    "done": "What was asked for is done.",
    "unchanged": "All was as wanted already.",
    "planned": "The plan is made, nothing was changed.",
    "partial": "Some hosts are not as asked for, no more than were allowed to fail.",
    "failed": "It failed.",
    "refused": "It was refused before anything was changed.",
    "drift": "Hosts are no longer as deployed.",
    "ready": "Nothing was found that is in the way of a deploy.",
    "findings": "Something was found that is in the way of a deploy.",
    "stopped": "It was stopped by its operator, or not approved in time.",
}


def step(name: str) -> Step:
    """Return the words for a step or a task; for one that has none they are made of its name."""
    words = name.replace("_", " ").strip()
    return STEPS.get(name) or Step(words[:1].upper() + words[1:], f"{words} is done")
