# SPDX-License-Identifier: Apache-2.0
"""Walks of instances through Nova's actions, with nova-compute and Docker killed on the way.

Two hosts, each with an engine of its own, and one instance at a time. Whatever has happened to it:
in the end it starts with its files and ports, is snapshotted and deleted, and nothing is left.
What Nova does with an instance when nova-compute starts again, and what its user or an operator
does where Nova leaves it to them, is here as Nova's manager has it.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import datetime
import functools
import gc
import math
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from tests.functional.driver import nova_process  # isort: skip - before anything of Nova's

import os_vif
from nova import exception, objects
from nova.compute import task_states
from nova.virt import images
from vif_plug_ovs import privsep as ovs_privsep

from novadocker import privsep
from novadocker.virt.docker.face import block_devices
from tests.functional.driver import killing, loop_devices, openvswitch, own_engine
from tests.functional.driver.walking.actions import (
    ACTIONS,
    BACK,
    DELETE,
    SPAWN,
    WAYS,
    Action,
    Phase,
    Recovery,
    possible_pairs,
)
from tests.functional.driver.walking.rig import (
    BRIDGE,
    LAYERS,
    Glance,
    Host,
    Rig,
    image,
    image_id,
)
from tests.functional.driver.walking.walk import CONTEXT, Walk

CONF = nova_process.CONF
ACTIONS_PER_WALK = 3
# How many are deleted in the state that they are in, and not after they were started.
DELETED_AS_IT_IS = 0.2
NO_SERVICE = exception.ComputeHostNotFound(host="any")


def runs(driver: Any, walk: Walk) -> bool:
    """Return whether an instance runs; one that is not there does not."""
    with contextlib.suppress(exception.InstanceNotFound):
        return bool(driver.get_info(walk.instance).state == 1)
    return False


class Walks:
    """All walks, and what they have come by."""

    def __init__(self, rig: Rig, seed: int) -> None:
        self.rig = rig
        self.rng = random.Random(seed)
        self.pairs: collections.Counter[tuple[str, str]] = collections.Counter()
        self.triples: set[tuple[str, ...]] = set()
        self.kills: collections.Counter[tuple[str, str]] = collections.Counter()
        self.steps: dict[str, int] = {}
        self.stranded: list[str] = []

    def prepare(self, host: Host) -> None:
        """Start nova-compute on a host for the first time."""
        Walk(self.rig, 1, self.rng).driver(host).init_host(host.name)

    def walk(self, layers: int) -> None:
        """Take one instance through some actions, and see that it is whole in the end."""
        walk = Walk(self.rig, layers, self.rng)
        before = self.rig.left()
        try:
            self._act(walk, "spawn", SPAWN, None)
            walk.instance.launched_at = datetime.datetime.now(datetime.UTC)
            self._through(walk)
            if self.rng.random() > DELETED_AS_IT_IS:
                self._whole(walk)
            self._act(walk, "delete", DELETE, self._kill())
            self._deleted(walk, before)
        except BaseException as err:
            told = f"{layers} layers: {', '.join(walk.told)}: {type(err).__name__}: {err}"
            print(f"STRANDED: {told}", flush=True)
            self.stranded.append(told)
            if not isinstance(err, Exception):
                raise
            self._sweep(walk)
        print(f"{layers} layers: {', '.join(walk.told)}", flush=True)

    def _through(self, walk: Walk) -> None:
        # Those that were come by least.
        fewest = min(self._seen(known) for known in ACTIONS)
        name = self.rng.choice([known for known in sorted(ACTIONS) if self._seen(known) == fewest])
        for step in self._way(walk, ACTIONS[name]):
            self._act(walk, step, ACTIONS[step], None)
        done: list[str] = []
        for number in range(ACTIONS_PER_WALK):
            walk.write()
            self._act(walk, name, ACTIONS[name], self._kill())
            if done:
                self.pairs[done[-1], name] += 1
            done.append(name)
            if number < ACTIONS_PER_WALK - 1:
                name = self._next(walk, name)
        self.triples.add(tuple(done))

    def _kill(self) -> str | None:
        return self.rng.choice((None, "compute", "engine"))

    def _seen(self, first: str) -> int:
        return sum(count for pair, count in self.pairs.items() if pair[0] == first)

    def _way(self, walk: Walk, action: Action) -> list[str]:
        """Return what leads an instance that runs to where an action can be taken."""
        way = ["attach a port"] if action.port else []
        way += ["attach a volume"] if action.volume else []
        return [*way, *WAYS[self.rng.choice(action.states)]]

    def _next(self, walk: Walk, last: str) -> str:
        able = [name for name, action in sorted(ACTIONS.items()) if self._takes(walk, action)]
        fewest = min(self.pairs[last, name] for name in able)
        return self.rng.choice([name for name in able if self.pairs[last, name] == fewest])

    @staticmethod
    def _takes(walk: Walk, action: Action) -> bool:
        return (
            walk.state in action.states
            and action.port in (None, len(walk.ports) > 1)
            and action.volume in (None, walk.volume)
        )

    def _act(self, walk: Walk, name: str, action: Action, kill: str | None) -> None:
        """Do something with an instance; where it is cut short, bring the instance back."""
        action.first(walk)
        at = self.rng.randint(1, self.steps.get(name, 8)) if kill else 0
        walk.told.append(f"{name} ({walk.state}{f', {kill} killed at {at}' if kill else ''})")
        engine = walk.host.engine
        self.rig.progress.reset()

        def work() -> None:
            happens = engine.kill if kill == "engine" else killing.die
            killing.at_step(at, happens, taken=self.rig.progress.step)
            for phase in action.phases:
                phase.do(walk, walk.driver())
                phase.done(walk)
                self.rig.progress.phase()

        code = killing.in_child(work)
        is_killed = 0 < at <= self.rig.progress.steps
        if is_killed:
            self.kills[name, str(kill)] += 1
            if kill == "engine":
                engine.kill()
                engine.start()
            else:
                # What the engine was asked for it does, whoever is dead.
                time.sleep(0.3)
        for phase in action.phases[: self.rig.progress.phases]:
            phase.done(walk)
        if self.rig.progress.phases == len(action.phases):
            self.steps[name] = max(self.steps.get(name, 1), self.rig.progress.steps)
            return
        assert is_killed, f"{name} has failed with {code}, and nothing was killed"
        left = action.phases[self.rig.progress.phases :]
        self._recover(walk, left, kill)

    def _recover(self, walk: Walk, phases: tuple[Phase, ...], kill: str | None) -> None:
        recovery = phases[0].failed if kill == "engine" else phases[0].killed
        (phases[0].lost if kill == "engine" else phases[0].cut)(walk)
        if recovery == Recovery.REBOOT_OR_AGAIN:
            here = walk.source is walk.host
            recovery = Recovery.REBOOT if here else Recovery.AGAIN
        walk.told.append(recovery)

        def recover() -> None:
            driver = walk.driver()
            if recovery == Recovery.AGAIN:
                driver.init_host(walk.host.name)
                for phase in phases:
                    phase.do(walk, walk.driver())
                    phase.done(walk)
                return
            if recovery in (Recovery.REBOOT, Recovery.REBOOT_UNLESS_RUNNING) and kill == "compute":
                # Nova has it in the middle of something.
                walk.instance.task_state = task_states.REBOOTING
            with contextlib.suppress(exception.VirtualInterfacePlugException):
                walk.plug(driver)
            walk.instance.task_state = None
            if recovery == Recovery.ROLL_BACK:
                walk.was_active = walk.state == "active"
                walk.go_back(driver)
            elif recovery == Recovery.REBOOT or (
                recovery == Recovery.REBOOT_UNLESS_RUNNING and not runs(driver, walk)
            ):
                walk.reboot(driver)
            elif recovery == Recovery.NONE:
                state = driver.get_info(walk.instance).state
                if (walk.state == "stopped") != (state == 4):
                    driver.power_off(walk.instance)

        code = killing.in_child(recover)
        assert code == 0, f"it is not brought back ({recovery}): {code}"
        if recovery == Recovery.AGAIN:
            for phase in phases:
                phase.done(walk)
        elif recovery in (Recovery.REBOOT, Recovery.REBOOT_UNLESS_RUNNING):
            walk.has_rebooted()
        elif recovery == Recovery.NONE and walk.state != "shelved":
            status = walk.box().status
            if status not in ("running", "paused"):
                walk.set_state("stopped")

    def _whole(self, walk: Walk) -> None:
        """See that an instance is what it should be: it runs, with its files and ports."""
        while walk.state != "active":
            name = self.rng.choice(BACK[walk.state])
            self._act(walk, name, ACTIONS[name], None)

        def state() -> None:
            assert walk.driver().get_info(walk.instance).state == 1

        assert killing.in_child(state) == 0, "it does not run"
        told = walk.sh("cat /kept 2>/dev/null; ip -4 addr")
        kept = told.partition("\n")[0] if not told.startswith("1: ") else ""
        assert kept in walk.files, f"its files are {kept!r}, and not of {walk.files}"
        for port in walk.ports:
            address = port["network"]["subnets"][0]["ips"][0]["address"]
            assert f"{address}/24" in told, told
        if walk.volume:
            walk.sh("test -w /volumes/vdb && grep -q ' /volumes/vdb ' /proc/mounts")
        memory = walk.box().attrs["HostConfig"]["Memory"]
        assert memory == walk.memory_mb << 20, f"{memory} is not {walk.memory_mb} MiB"
        self._act(walk, "snapshot", ACTIONS["snapshot"], None)

    def _deleted(self, walk: Walk, before: dict[str, Any]) -> None:
        for host in self.rig.hosts:
            if host is not walk.host:
                self._reap(walk, host)
        # What nova-compute removes when it starts: images of snapshots that were cut short.
        for name in walk.rig.glance.left():
            if any(shelf in name for shelf in walk.shelves):
                (walk.rig.glance.directory / name).unlink()
        now = self.rig.left()
        wrong = {what: (before[what], now[what]) for what in before if before[what] != now[what]}
        assert not wrong, f"left: {wrong}"
        for host in self.rig.hosts:
            docker = host.engine.client()
            for shelf in walk.shelves:
                for left in docker.images.list(f"nova-glance/{shelf}"):
                    docker.images.remove(left.id, force=True)

    def _reap(self, walk: Walk, host: Host) -> None:
        """Do what Nova does with instances that a host has and that are deleted."""

        def reap() -> None:
            driver = walk.driver(host)
            driver.init_host(host.name)
            if walk.instance.uuid in driver.list_instance_uuids():
                driver.destroy(CONTEXT, walk.instance, walk.ports, {"block_device_mapping": []})

        assert killing.in_child(reap) == 0, f"{host.name} has something of it"

    def _sweep(self, walk: Walk) -> None:
        """Take away what a stranded instance has left, so that others are not judged by it."""
        for host in self.rig.hosts:

            def sweep(host: Host = host) -> None:
                driver = walk.driver(host)
                driver.init_host(host.name)
                driver.destroy(CONTEXT, walk.instance, walk.ports, walk.devices)

            killing.in_child(sweep)
            for box in host.engine.client().containers.list(all=True):
                box.remove(force=True)
        for name in self.rig.glance.left():
            (self.rig.glance.directory / name).unlink()

    def figures(self) -> str:
        """Tell what was come by."""
        possible = possible_pairs()
        kills = collections.Counter(kind for _, kind in self.kills.elements())
        return (
            f"{len(possible & set(self.pairs))} of {len(possible)} pairs and {len(self.triples)} "
            f"triples of {len(ACTIONS)} actions; nova-compute killed {kills['compute']} times, "
            f"Docker {kills['engine']}; {len(self.stranded)} instances stranded"
        )


@contextlib.contextmanager
def rig_running() -> Iterator[Rig]:
    """Run two hosts."""
    with contextlib.ExitStack() as entered:
        place = Path(entered.enter_context(tempfile.TemporaryDirectory(prefix="novadocker-walk-")))
        switch = entered.enter_context(openvswitch.running(BRIDGE))
        hosts = []
        for letter in "ab":
            state = place / letter
            state.mkdir()
            engine = entered.enter_context(own_engine.running())
            hosts.append(Host(f"novadocker-test-walk-{letter}", engine, state))
        nova_process.set_up(hosts[0].name, host_url=hosts[0].engine.url, stop_timeout_cap=0)
        CONF.set_override("volume_file_systems", ["ext4"], group="docker")
        os_vif.initialize()
        for privileges in (privsep.ctx, privsep.volumes_ctx, ovs_privsep.vif_plug):
            # Each step is a process of its own that ends soon: helpers would only cost time.
            privileges.set_client_mode(False)
        (place / "glance").mkdir()
        glance = Glance(place / "glance")
        images.fetch = glance.fetch
        # There is no database of Nova's.
        for target, name, answer in (
            (block_devices, "known", lambda *_: Walk.present.devices),
            (objects.Migration, "get_by_instance_and_status", lambda *_: Walk.present.migration()),
            (objects.Instance, "get_by_uuid", lambda *_: Walk.present.instance),
            (objects.Service, "get_by_compute_host", mock.Mock(side_effect=NO_SERVICE)),
        ):
            entered.enter_context(mock.patch.object(target, name, answer))
        loops = loop_devices.LoopDevices()
        entered.callback(loops.close)
        rig = Rig(hosts, switch, glance, loops.make(16 << 20))
        entered.callback(_unmount, place)
        yield rig


def _unmount(place: Path) -> None:
    for target in reversed(loop_devices.mounted_below(place)):
        subprocess.run(["umount", "--lazy", target], check=False)


def run(layers: tuple[int, ...], count: int, seed: int, budget_s: float) -> Walks:
    with rig_running() as rig:
        for number in layers:
            (rig.glance.directory / image_id(number)).write_bytes(image(number))
        walks = Walks(rig, seed)
        for host in rig.hosts:
            assert killing.in_child(functools.partial(walks.prepare, host)) == 0
        # Whatever a collection touches each child would have to copy.
        gc.collect()
        gc.freeze()
        began = time.monotonic()
        for number in range(count):
            if time.monotonic() - began > budget_s:
                print(f"the time is over after {number} walks")
                break
            walks.walk(layers[number % len(layers)])
        return walks


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", default=",".join(map(str, LAYERS)))
    parser.add_argument("--walks", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--budget-s", type=float, default=math.inf)
    arguments = parser.parse_args()
    layers = tuple(int(number) for number in arguments.layers.split(","))
    walks = run(layers, arguments.walks, arguments.seed, arguments.budget_s)
    print(f"figures: {walks.figures()}", flush=True)
    return 1 if walks.stranded else 0


if __name__ == "__main__":
    sys.exit(main())
