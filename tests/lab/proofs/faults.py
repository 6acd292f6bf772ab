# SPDX-License-Identifier: Apache-2.0
"""Faults that a run of a workflow meets: named, put in at a phase of it, healed after a while."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from openstack.connection import Connection

from lab.hosts.access import Host
from lab.machine import commands
from novadocker_client import hosts
from novadocker_client.connection import Cloud
from novadocker_client.runs import Run, Runs

CONTROLLER, AGGREGATE = "controller", "docker-hosts"
# For as long as the run goes on.
WHILE_IT_RUNS: float | None = None
# systemd starts again in two seconds what has died.
DEAD_S = 3.0
SERVICE_TIMEOUT_S = 300


@dataclass
class Cast:
    """Who plays in it: the hosts, and the cloud as its operators see it.

    :param caller: whose run it is; another connection in each run
    :param beside: runs of others that were begun while it went on, as they ended
    """

    hosts: dict[str, Host]
    cloud: Connection
    runs: Runs
    caller: Connection
    beside: list[Run] = field(default_factory=list)


Act = Callable[[Cast, str], None]


def _nothing(cast: Cast, run_id: str) -> None:
    del cast, run_id


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong.

    :param name: for people, and to choose it by
    :param phase: the task of the workflow with which it is put in, "" for before the run begins
    :param inject: what to do then, with the run's id
    :param heal: how to end it
    :param lasts_s: after how long, WHILE_IT_RUNS for when the run has ended
    :param lane: faults of one lane follow one another, those of several are independent
    :param within: whether it is put in only while its phase is under way, not when that is over
    """

    name: str
    phase: str
    inject: Act
    heal: Act = _nothing
    lasts_s: float | None = 0.0
    lane: str = CONTROLLER
    within: bool = False


def _systemctl(host: str, *words: str, check: bool = True) -> Act:
    command = ["systemctl", *words]
    return lambda cast, _run: _run_on(cast.hosts[host], command, check)


def _run_on(host: Host, command: Sequence[str], check: bool = True) -> None:
    host.run(command, timeout_s=SERVICE_TIMEOUT_S, check=check)


def _both(*acts: Act) -> Act:
    def do(cast: Cast, run_id: str) -> None:
        for act in acts:
            act(cast, run_id)

    return do


# -- services --------------------------------------------------------------------------------------


def killed(unit: str, phase: str, host: str = CONTROLLER) -> Fault:
    """Return the sudden death of a service; systemd starts it again, or else its operator does."""
    service = f"{unit}.service"
    return Fault(
        f"{unit} killed",
        phase,
        _systemctl(host, "kill", "--signal=KILL", service),
        _both(
            _systemctl(host, "reset-failed", service, check=False),
            _systemctl(host, "start", service),
        ),
        DEAD_S,
        host,
    )


def hanging(unit: str, phase: str, lasts_s: float = 60.0, host: str = CONTROLLER) -> Fault:
    """Return a service that takes requests and does not answer for a while."""
    service = f"{unit}.service"
    return Fault(
        f"{unit} hanging for {lasts_s:g} s",
        phase,
        _systemctl(host, "kill", "--signal=STOP", service),
        _systemctl(host, "kill", "--signal=CONT", service),
        lasts_s,
        # These may as well hang together.
        unit,
    )


def stopped(unit: str, phase: str, host: str = CONTROLLER, name: str = "") -> Fault:
    """Return a service that is away while the run goes on.

    :param name: of the fault, where it is about something else than the service
    """
    service = f"{unit}.service"
    return Fault(
        name or f"{unit} stopped",
        phase,
        _systemctl(host, "stop", service),
        _systemctl(host, "start", service),
        WHILE_IT_RUNS,
        host,
    )


# -- hosts -----------------------------------------------------------------------------------------


def power_cut(host: str, phase: str) -> Fault:
    """Return a host that is switched off without a warning, and on again."""

    def cut(cast: Cast, _run: str) -> None:
        commands.run(["docker", "kill", "--signal=KILL", cast.hosts[host].container])

    def switch_on(cast: Cast, _run: str) -> None:
        cast.hosts[host].start()
        cast.hosts[host].wait_booted()

    return Fault("a host switched off and on", phase, cut, switch_on, DEAD_S, host)


def hung(host: str, phase: str, lasts_s: float = 60.0) -> Fault:
    """Return a host of which nothing runs for a while."""

    def machine(verb: str) -> Act:
        return lambda cast, _run: _machine(verb, cast.hosts[host])

    name = f"a host hung for {lasts_s:g} s"
    return Fault(name, phase, machine("pause"), machine("unpause"), lasts_s, host)


def _machine(verb: str, host: Host) -> None:
    commands.run(["docker", verb, host.container])


def on_host(
    name: str, host: str, phase: str, inject: str, heal: str = "", lasts_s: float | None = 0.0
) -> Fault:
    """Return a fault that a shell puts in on a host.

    :param inject: its program
    :param heal: the one that ends it, "" for none: that is for the next run
    """

    def shell(text: str) -> Act:
        return lambda cast, _run: _run_on(cast.hosts[host], ["bash", "-ec", text])

    return Fault(name, phase, shell(inject), shell(heal) if heal else _nothing, lasts_s, host)


def cable_cut(host: str, phase: str, lasts_s: float = 60.0) -> Fault:
    """Return a host that nobody reaches for a while."""
    cut = "ip route show default > /run/kept-route; ip link set eth0 down"
    plug = "ip link set eth0 up; read -ra route < /run/kept-route && ip route add ${route[@]}; true"
    return on_host(f"a cable cut for {lasts_s:g} s", host, phase, cut, plug, lasts_s)


def disk_full(host: str, place: str, phase: str) -> Fault:
    """Return a host without any room where its steps keep what they have done."""
    kept = "/run/kept-place"
    fill = f"""
    cp -a {place} {kept}
    mount -t tmpfs -o size=$(($(du -sk {place} | cut -f1) + 64))k,mode=0700 tmpfs {place}
    cp -a {kept}/. {place}/
    dd if=/dev/zero of={place}/full bs=4k status=none || true
    """
    empty = f"""
    rm -rf {kept} {place}/full; cp -a {place} {kept}
    umount {place}; find {place} -mindepth 1 -delete
    cp -a {kept}/. {place}/; rm -r {kept}
    """
    return on_host("a full disk", host, phase, fill, empty, WHILE_IT_RUNS)


def clock_off(host: str, place: str, by_s: int) -> Fault:
    """Return a host whose Pythons are told another time than it is.

    The kernel's clock is that of all hosts of the lab.

    :param place: what its Pythons read at their start
    """
    kept = "/run/kept-clock"
    turn = f"""
    cp -a {place} {kept}
    printf 'import time\\n_true = time.time\\ntime.time = lambda: _true() + {by_s}\\n' >> {place}
    """
    right = f"cp -a {kept} {place}; rm {kept}"
    return on_host(f"a clock {by_s // 60} minutes off", host, "", turn, right, WHILE_IT_RUNS)


# -- operators -------------------------------------------------------------------------------------


def cancelled(phase: str) -> Fault:
    """Return an operator who ends the run."""

    def end(cast: Cast, run_id: str) -> None:
        cast.runs.stop(run_id)

    return Fault(f"a run cancelled in {phase}", phase, end)


def paused(phase: str, lasts_s: float = 60.0) -> Fault:
    """Return an operator who has Mistral pause the run."""

    def put(state: str) -> Act:
        return lambda cast, run: Cloud(cast.cloud).mistral.executions.update(run, state)

    name = f"the run paused for {lasts_s:g} s"
    return Fault(name, phase, put("PAUSED"), put("RUNNING"), lasts_s, "pause")


def token_revoked(phase: str) -> Fault:
    """Return the end of the token that the run was begun with."""

    def revoke(cast: Cast, _run: str) -> None:
        token = cast.caller.session.get_token()
        cast.cloud.identity.delete("/auth/tokens", headers={"X-Subject-Token": token})

    return Fault("the caller's token revoked", phase, revoke, lane="token")


def tokens_live(life_s: int) -> Fault:
    """Return a Keystone whose tokens live for a short time, those that runs are begun with too."""
    conf, kept = "/etc/keystone/keystone.conf", "/run/kept-keystone.conf"
    restart = """
    systemctl restart keystone.service
    until (: < /dev/tcp/127.0.0.1/5000) 2>/dev/null; do sleep 0.2; done
    """
    shorten = f"cp -a {conf} {kept}; printf '\\n[token]\\nexpiration = {life_s}\\n' >> {conf}"
    lengthen = f"cp -a {kept} {conf}; rm {kept}"
    name = f"tokens that live for {life_s} s"
    return on_host(name, CONTROLLER, "", shorten + restart, lengthen + restart, WHILE_IT_RUNS)


def beside(name: str, workflow: str, names: Sequence[str], phase: str) -> Fault:
    """Return another run, of the same hosts or some of them."""

    def run(cast: Cast, _run: str) -> None:
        other = cast.runs.start(workflow, {"hosts": [*names]})
        cast.beside.append(cast.runs.wait(other.id, timeout_s=SERVICE_TIMEOUT_S * 3))

    return Fault(name, phase, run, lane=workflow)


def run_again(task: str, phase: str, after_s: float = 20.0) -> Fault:
    """Return an operator who has Mistral run the task again that has failed in a run beside it.

    :param after_s: how long after the phase has begun: the other run has to have ended
    """

    def again(cast: Cast, _run: str) -> None:
        until = time.monotonic() + after_s
        while not (refused := [run for run in cast.beside if run.workflow == "deploy"]):
            assert time.monotonic() < until, "no run beside it was refused"
            time.sleep(0.5)
        mistral = Cloud(cast.cloud).mistral
        failed = [item for item in mistral.tasks.list(refused[-1].id) if item.name == task]
        mistral.tasks.rerun(failed[-1].id)
        cast.beside.append(cast.runs.wait(refused[-1].id, timeout_s=SERVICE_TIMEOUT_S))

    return Fault("a refused run's task run again", phase, again, lane="again")


def taken_out(name: str, host: str) -> Fault:
    """Return an operator who takes a host out of the aggregate of Docker hypervisors."""

    def take(cast: Cast, _run: str) -> None:
        aggregate = cast.cloud.compute.find_aggregate(AGGREGATE, ignore_missing=False)
        cast.cloud.compute.remove_host_from_aggregate(aggregate, host)

    return Fault(name, "", take)


def mailbox_taken(host: str, phase: str) -> Fault:
    """Return an operator who changes by hand what Heat has a host do."""

    def take(cast: Cast, _run: str) -> None:
        heat, enrolment = Cloud(cast.cloud).heat, hosts.get(Cloud(cast.cloud), host).enrolment
        assert enrolment, host
        config = heat.software_configs.create(
            name="by-hand", group="script", config="#!/bin/sh\nexit 0\n"
        )
        heat.software_deployments.update(
            enrolment.deployment_id, config_id=config.id, status="IN_PROGRESS", action="UPDATE"
        )

    return Fault("a host's deployment in Heat changed by hand", phase, take, lane=host)
