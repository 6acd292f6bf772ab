# SPDX-License-Identifier: Apache-2.0
"""What would be done to which host, in which order: a plan, and a digest to hold a run to it."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from novadocker_actions import driver_wheel, host_package, recipes
from novadocker_actions.errors import Refused
from novadocker_actions.plan import identity, report
from novadocker_actions.plan.hosts import DOCKER
from novadocker_actions.plan.rows import FAILED, HostRow

# Nova's major versions of 2025.1 and 2026.2: the driver's contract with Nova was tried from the one
# to the other.
OLDEST_NOVA = 31
NEWEST_NOVA = 34
_DESCRIBE = "describe_host"
# How many findings one refusal names.
_FINDINGS = 10
# Where the names of hosts go in what is told of them.
_HOSTS = "\0"
_GROWTH = (1, 5, 25, 100)
# Heat looks at every deployment in progress once a second, so no batch is larger than this.
LARGEST_BATCH = 100
# A workflow carries the names and the counts of all batches in one field.
MOST_BATCHES = 200


def share(value: int | str, count: int) -> float:
    """Return a number of hosts, or how many a percentage of them is.

    :param value: such as ``2`` or ``10%``
    :param count: of how many hosts
    """
    return int(value[:-1]) * count / 100 if isinstance(value, str) else value


def batches(
    count: int, batch_size: int | None, batch_sizes: Sequence[int | str] | None = None
) -> list[list[int]]:
    """Cut a number of hosts into batches of indexes.

    Without a size: one canary, then batches that grow to the largest that Heat bears well.

    :param count: how many hosts
    :param batch_size: hosts in each batch, or None
    :param batch_sizes: numbers of hosts and percentages of ``count``, of which the last counts for
        all batches that follow as well; none is larger than Heat bears
    :raises Refused: when that makes more batches than a run can carry
    """
    growth = [
        min(LARGEST_BATCH, max(1, math.ceil(share(size, count)))) for size in batch_sizes or _GROWTH
    ]
    cut: list[list[int]] = []
    start = 0
    while start < count:
        size = batch_size or growth[min(len(cut), len(growth) - 1)]
        cut.append(list(range(start, min(start + size, count))))
        start += size
    if len(cut) > MOST_BATCHES:
        given = ", ".join(map(str, batch_sizes)) if batch_sizes else batch_size
        raise Refused(
            "batch_sizes" if batch_sizes else "batch_size",
            f"{given} makes {len(cut)} batches of {count} hosts, more than {MOST_BATCHES}.",
            "Give larger ones, or select fewer hosts for each run.",
        )
    return cut


def by_host(items: Iterable[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Cut rows into pages of at most :data:`LARGEST_BATCH`, each host's rows on one of them.

    One message has the steps of all roles of a host, so its rows are pushed and read together.

    :param items: rows as a workflow carries them
    """
    of_hosts: dict[str, list[dict[str, Any]]] = {}
    for item in items:
        of_hosts.setdefault(item["host"], []).append(item)
    cut: list[list[dict[str, Any]]] = [[]]
    for of_host in of_hosts.values():
        if len(cut[-1]) + len(of_host) > LARGEST_BATCH:
            cut.append([])
        cut[-1] += of_host
    return [page for page in cut if page]


def looks_converted(facts: dict[str, Any], steps: Sequence[str]) -> bool:
    """Return whether a description shows all that steps leave on a host, as far as it can.

    Only then is it worth asking every step: on other hosts all of them are needed. What becomes of
    Glance is not to be seen from outside, so that step is always asked.

    :param facts: what describe_host found
    :param steps: those of the host
    """
    docker = bool((facts.get("docker") or {}).get("installed"))
    driver = (facts.get("novadocker") or {}).get("driver_version")
    return (
        (docker or "install_docker" not in steps)
        and bool(driver or "install_driver" not in steps)
        and (runs_driver(facts) or "configure_compute" not in steps)
    )


def runs_driver(facts: Mapping[str, Any]) -> bool:
    """Return whether a described host's nova-compute is configured for the driver."""
    return "docker" in str((facts.get("nova") or {}).get("compute_driver") or "").lower()


def needs_from_facts(row: HostRow, steps: Sequence[str]) -> None:
    """Note which steps a described host needs as far as that is plain, and that each is asked.

    Each host is asked by the check mode of all its steps, whether it needs them or not: what it
    would refuse is to be known before anything has changed.

    :param row: a host with the facts of describe_host
    :param steps: the steps of its role, in order
    """
    row.unknown = list(steps)
    if not looks_converted(row.facts, steps):
        row.needs = list(steps)
        row.damaged = row.role == "compute"
        note_instances(row, row.instances)


def restart_with_driver(row: HostRow) -> None:
    """Have nova-compute restarted where its driver is replaced: it runs the old one until then.

    :param row: a compute host that was asked for all steps
    """
    if "install_driver" in row.needs and "configure_compute" not in row.needs:
        row.needs.append("configure_compute")


def containers_of(facts: Mapping[str, Any]) -> int:
    """Return how many instances a host has as containers though its Nova lost the driver.

    :param facts: what describe_host found
    """
    made = (facts.get("records") or {}).get("configure_compute")
    if not made or runs_driver(facts):
        return 0
    return int((facts.get("docker") or {}).get("instances") or 0)


def has_containers(row: HostRow) -> bool:
    """Return whether a host's instances are containers, which live through a repair of it."""
    return row.hypervisor_type == DOCKER or 0 < row.instances <= row.containers


def note_instances(row: HostRow, instances: int) -> None:
    """Note how many instances live on a host, and whether it is mended under them.

    :param row: a host with its needs
    :param instances: how many
    """
    row.instances = instances
    row.mended |= row.damaged and has_containers(row) and instances > 0


def needs_to_undo(row: HostRow, steps: Sequence[str]) -> None:
    """Note which steps are to be undone on a described host.

    What a host has on record is to be taken back, whether or not anything of it can be seen, and
    nothing else: an engine that is not on record is the operator's. A host that cannot tell what
    it has on record, or how it came by its configuration, is to undo all that it shows a trace of.

    :param row: a host with the facts of describe_host
    :param steps: the steps of its role, in the order of applying
    """
    records = row.facts.get("records")
    configured = runs_driver(row.facts)
    if records is not None and (records.get("configure_compute") or not configured):
        row.needs = [step for step in reversed(steps) if records.get(step)]
        return
    docker = (row.facts.get("docker") or {}).get("installed")
    driver = (row.facts.get("novadocker") or {}).get("driver_version")
    if docker or driver or configured:
        row.needs = list(reversed(steps))


def require_answers(rows: Iterable[HostRow]) -> None:
    """Refuse hosts whose agent did not answer, or on which a step would fail.

    :raises Refused: naming the hosts, those together of which the same is told
    """
    silent = [row for row in rows if row.state == FAILED]
    if silent:
        mute = any(row.step == _DESCRIBE for row in silent)
        raise Refused(
            "hosts",
            _together((row.host, text) for row in silent for text in told_of(row)),
            "See that os-collect-config runs there (`systemctl status os-collect-config`), raise "
            "agent_timeout_s, or leave them out with exclude."
            if mute
            else "Mend that, or leave them out with exclude.",
        )


def grouped(told: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """Return what is told of hosts, once for all of which it is the same, and those hosts.

    :param told: names of hosts, and texts with :data:`_HOSTS` where the names go
    """
    by_text: dict[str, dict[str, str]] = {}
    for host, text in told:
        # A host is named in its own words as well: those are the same but for the name.
        alike = re.sub(rf"(?<![\w.-]){re.escape(host)}(?![\w-])", "this host", text)
        by_text.setdefault(alike, {})[host] = text
    merged = []
    for alike, texts in by_text.items():
        text = alike if len(texts) > 1 else next(iter(texts.values()))
        merged.append((text.replace(_HOSTS, report.names(list(texts))), list(texts)))
    return merged


def _together(told: Iterable[tuple[str, str]]) -> str:
    parts = [text for text, _ in grouped(told)]
    more = len(parts) - _FINDINGS
    return "; ".join(parts[:_FINDINGS]) + (f"; and {more} more findings." if more > 0 else ".")


def told_of(row: HostRow) -> list[str]:
    """Return what keeps a host from being converted, with :data:`_HOSTS` where its name goes."""
    further = [f"{_HOSTS}: {finding}" for finding in row.findings]
    return [_unfit(row), *further] if row.state == FAILED else further


def _unfit(row: HostRow) -> str:
    if row.step == _DESCRIBE:
        return f"{_HOSTS} could not be described: {row.reason}"
    if row.step == recipes.PACKAGE:
        return f"{_HOSTS} could not be given this release's package of steps: {row.reason}"
    return f"{row.step} would fail on {_HOSTS}: {row.reason}"


def require_identity(rows: Iterable[HostRow], node_ids: Mapping[str, Collection[str]]) -> None:
    """Refuse hosts that are others than those whose names they are enrolled by.

    :param rows: described hosts
    :param node_ids: ids of Nova's hypervisors by host
    :raises Refused: naming the hosts
    """
    faults = [identity.fault_of(row.host, row.facts, node_ids.get(row.host, ())) for row in rows]
    faults = [fault for fault in faults if fault]
    if faults:
        raise Refused(
            "hosts",
            "; ".join(faults[:20])
            + (f"; and {len(faults) - 20} more." if len(faults) > 20 else "."),
            "Take them out (`novadocker-enroll remove`) and enrol them by their own names, with "
            "the right addresses, or leave them out with exclude.",
        )


def require_nova(rows: Iterable[HostRow]) -> None:
    """Refuse compute hosts whose Nova the driver does not support, or that have none.

    :raises Refused: naming the hosts
    """
    told = [(row.host, _unfit_nova(row.facts.get("nova") or {})) for row in rows]
    told = [(host, fault) for host, fault in told if fault]
    if told:
        raise Refused(
            "hosts",
            _together(told),
            "See their nova-compute units and releases, or leave them out with exclude.",
        )


def note_occupied(row: HostRow) -> None:
    """Note what lives on a compute host that would stand in the way of converting it."""
    if row.role == "compute" and row.instances and not has_containers(row):
        row.findings.append(f"{row.instances} instances run on it: migrate or delete them")


def note_unfit(row: HostRow, node_ids: Collection[str]) -> None:
    """Note all of a described host that a run would be refused for.

    :param row: the host
    :param node_ids: ids of its hypervisors in Nova
    """
    told = [identity.fault_of(row.host, row.facts, node_ids)]
    if row.role == "compute":
        told.append(_unfit_nova(row.facts.get("nova") or {}).replace(_HOSTS, row.host))
    row.findings += [text for text in told if text]


def _unfit_nova(nova: Mapping[str, Any]) -> str:
    """Return what is wrong with a host's Nova, "" when nothing is."""
    if nova.get("hindrance"):
        return f"{_HOSTS} cannot be converted: {nova['hindrance']}"
    version = str(nova.get("version") or "")
    major = re.match(r"\d+", version)
    if not major:
        return f"no Nova was found on {_HOSTS}"
    if int(major.group()) < OLDEST_NOVA:
        return f"{_HOSTS} runs Nova {version}, older than 2025.1 ({OLDEST_NOVA}.0)"
    if int(major.group()) > NEWEST_NOVA:
        return (
            f"{_HOSTS} runs Nova {version}, newer than 2026.2 ({NEWEST_NOVA}.0), the newest that "
            "this release's driver was tried with"
        )
    return ""


def require_staged(rows: Iterable[HostRow]) -> None:
    """Refuse compute hosts that have no engine or no driver, so that nothing is staged there.

    :param rows: described compute hosts
    :raises Refused: naming the hosts
    """
    bare = [
        row.host
        for row in rows
        if not (row.facts.get("docker") or {}).get("installed")
        or not (row.facts.get("novadocker") or {}).get("driver_version")
    ]
    if bare:
        raise Refused(
            "phase",
            f"nothing is staged on {report.names(bare)}.",
            "Give stage first, or all, or leave these hosts out with exclude.",
        )


def spare_occupied(rows: Sequence[HostRow], drain: str, *, converting: bool) -> None:
    """Keep hosts that run instances out of a change of hypervisor.

    What was only staged on a host is removed beside its instances. Those on a host that is a Docker
    hypervisor already are containers, and so are those of one that somebody has taken the driver
    from: they live through a repair of it, and so they only stand in the way of undoing.

    :param rows: compute hosts
    :param drain: ``refuse`` the run, ``skip`` such hosts, or ``migrate`` their instances
    :param converting: whether hosts become Docker hypervisors, or cease to be
    :raises Refused: naming the hosts
    """
    occupied = [
        row
        for row in rows
        if row.instances and row.to_switch and not (converting and has_containers(row))
    ]
    if occupied and drain == "refuse":
        listed = ", ".join(f"{row.host} ({row.instances})" for row in occupied[:20])
        raise Refused(
            "hosts",
            f"instances run on {listed}.",
            "Migrate or delete them, leave the hosts out with exclude, or set drain to skip or "
            "migrate.",
        )
    # Those that are to be migrated are asked for when the host is out of service.
    for row in occupied if drain != "migrate" else []:
        row.skip("plan", f"{row.instances} instances run on it")


def digest(
    controllers: Sequence[HostRow], computes: Sequence[HostRow], settings: dict[str, Any]
) -> str:
    """Return the digest of a plan: hosts, steps, settings, the package of steps and the driver.

    :param controllers: hosts of the controller group
    :param computes: selected compute hosts
    :param settings: a workflow's settings
    """
    relevant = (
        *("images", "driver_url", "driver_index", "docker", "aggregate"),
        *("batch_size", "batch_sizes", "drain", "phase", "upgrade"),
    )
    document = {
        "controllers": [[row.host, row.needs] for row in controllers],
        "computes": [[row.host, row.needs, row.state] for row in computes],
        "settings": {name: settings[name] for name in relevant},
        "package": host_package.digest(),
        "driver": driver_wheel.settings(),
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def require_digest(wanted: str | None, made: str) -> None:
    """Refuse a run whose plan is not the one that was approved.

    :raises Refused: when they differ
    """
    if wanted is not None and wanted != made:
        raise Refused(
            "plan_digest",
            f"the plan is now {made}, not {wanted}: hosts, inputs or scripts have changed.",
            "Run novadocker.plan with the same inputs, look at it, and give its digest.",
        )
