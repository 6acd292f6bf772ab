# SPDX-License-Identifier: Apache-2.0
"""What is judged to be left on a host by a run that was lost."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from novadocker_actions.actions.recovery import PutRight, TakeBack, _seen
from novadocker_actions.errors import PageLost
from novadocker_actions.plan import leftovers, rows
from novadocker_actions.plan.leftovers import Seen
from novadocker_actions.plan.rows import FAILED, OK, SKIPPED, HostRow

LOST, WELL, GONE, ALIVE = "a-lost-run", "a-run-that-ended-well", "a-gone-run", "a-live-run"
FATES = {LOST: leftovers.LOST, WELL: leftovers.WELL, ALIVE: leftovers.ALIVE}
STEPS = ["install_docker", "install_driver", "configure_compute"]
KVM, DOCKER = Seen("QEMU"), Seen("docker", member=True)


def facts(*done: str, run: str = LOST) -> dict[str, Any]:
    """Return the description of a host on which steps have been done by a run."""
    driver = "DockerDriver" if "configure_compute" in done else "libvirt.LibvirtDriver"
    return {
        "docker": {"installed": "install_docker" in done},
        "novadocker": {"driver_version": "1.0" if "install_driver" in done else None},
        "nova": {"compute_driver": driver},
        "journals": dict.fromkeys(done, run),
    }


def fate(run: str) -> str:
    """Return what became of a run; what is no run's id is never asked for."""
    return FATES[run] if run in FATES else {GONE: leftovers.GONE}[run]


def found(told: dict[str, Any], seen: Seen) -> HostRow:
    """Return a host as it is judged to be."""
    row = HostRow("h1", "compute", facts=told)
    leftovers.find(row, seen, fate)
    return row


@pytest.mark.parametrize(
    ("told", "seen"),
    [
        (facts(), KVM),
        (facts(*STEPS), DOCKER),
        (facts(*STEPS, run=WELL), DOCKER),
        # An undeploy was cancelled when the host had its old driver again.
        (facts("install_docker", run=WELL), KVM),
        # Mistral forgets runs that ended well, too.
        (facts(*STEPS, run=GONE), DOCKER),
        (facts(*STEPS, run=GONE), Seen("docker")),
        # They are in the aggregate of their operator's choice.
        (facts(*STEPS, run=WELL), Seen("docker")),
        (facts(), Seen("QEMU", member=True)),
        # No run has such an id.
        ({**facts(), "journals": {"install_docker": "../environments/x", "other": LOST}}, KVM),
    ],
)
def test_nothing_is_to_be_done_to_a_host_that_is_whole(told: dict[str, Any], seen: Seen) -> None:
    row = found(told, seen)
    assert (row.state, row.done, row.unknown, row.left_by) == (OK, [], [], "")


def test_a_docker_hypervisor_that_is_out_of_service_is_asked_first() -> None:
    row = found(facts(*STEPS), Seen("docker", parked_by=LOST))
    assert (row.state, row.unknown, row.done, row.left_by) == (OK, STEPS, STEPS, LOST)
    assert row.parked
    leftovers.judge(row)
    assert row.ok
    row.needs = ["install_driver"]
    leftovers.judge(row)
    assert row.state == FAILED
    assert row.to_roll_back
    assert row.reason == "it is not whole: install_driver would change it"


@pytest.mark.parametrize(
    ("done", "seen"),
    [
        (STEPS[:1], KVM),
        (STEPS, Seen("QEMU", parked_by=LOST)),
        (STEPS[:2], Seen("docker", parked_by=LOST)),
    ],
)
def test_what_is_half_done_is_put_back(done: list[str], seen: Seen) -> None:
    row = found(facts(*done), seen)
    assert row.to_roll_back
    assert (row.done, row.left_by) == (done, LOST)


def test_what_no_lost_run_has_on_record_is_left_to_the_operator() -> None:
    row = found(facts(*STEPS, run=WELL), Seen("QEMU"))
    assert not row.to_roll_back
    leftovers.judge(row)
    assert row.state == FAILED
    assert "nothing of a lost run is on record there: deploy or undeploy it" in row.reason


def test_containers_keep_a_half_docker_hypervisor_from_being_put_back() -> None:
    row = found(facts(*STEPS[1:]), Seen("docker", instances=2, member=True))
    assert (row.state, row.mended, row.instances) == (FAILED, True, 2)


def test_of_two_lost_runs_the_last_is_taken_back_first() -> None:
    told = facts(*STEPS)
    told["journals"]["install_docker"] = WELL
    row = found(told, Seen("QEMU"))
    assert row.done == STEPS[1:]


def test_a_controller_is_asked_for_what_a_lost_run_did_there() -> None:
    row = HostRow("c1", "controller,glance", facts={"journals": {"configure_glance": LOST}})
    leftovers.find(row, Seen(), fate)
    assert (row.state, row.unknown, row.done) == (OK, ["configure_glance"], ["configure_glance"])


@pytest.mark.parametrize("run", [WELL, GONE, ALIVE])
def test_a_controller_is_asked_for_nothing_that_a_lost_run_is_not_known_to_have_done(
    run: str,
) -> None:
    row = HostRow("c1", "controller,glance", facts={"journals": {"configure_glance": run}})
    leftovers.find(row, Seen(), fate)
    assert (row.state, row.unknown, row.done, row.left_by) == (OK, [], [], "")


@pytest.mark.parametrize(
    ("told", "seen"),
    [
        (facts(*STEPS, run=WELL), Seen("docker", parked_by=ALIVE)),
        (facts(*STEPS[:2], run=ALIVE), KVM),
    ],
)
def test_what_a_live_run_is_at_is_let_alone(told: dict[str, Any], seen: Seen) -> None:
    row = found(told, seen)
    assert (row.state, row.done, row.unknown, row.parked) == (SKIPPED, [], [], False)
    assert f"run {ALIVE} is at it" in row.reason


def test_what_a_run_that_is_gone_has_staged_is_put_back() -> None:
    row = found(facts(*STEPS[:2], run=GONE), KVM)
    assert (row.done, row.left_by, row.to_roll_back) == (STEPS[:2], GONE, True)


def test_what_a_run_that_is_gone_did_to_a_host_that_is_half_converted_is_the_operator_s() -> None:
    row = found(facts(*STEPS, run=GONE), Seen("QEMU"))
    assert (row.state, row.done) == (FAILED, [])
    # That run itself has left it out of service.
    assert found(facts(*STEPS, run=GONE), Seen("QEMU", parked_by=GONE)).to_roll_back


def test_a_run_that_ended_well_but_left_a_host_out_of_service_is_taken_back_there() -> None:
    assert found(facts(*STEPS, run=WELL), Seen("QEMU", parked_by=WELL)).to_roll_back


def test_a_host_that_is_not_whole_is_not_taken_for_whole_when_nova_is_away() -> None:
    row = found(facts(*STEPS), Seen("docker", parked_by=LOST))
    row.needs = ["install_driver"]
    told = TakeBack(rows.write([row]), settings={}).failed(PageLost("Nova is away"))["rows"]
    left = rows.read(told)[0]
    assert (left.state, left.stuck) == (FAILED, True)
    assert "it could not be put back: Nova is away" in left.reason


class Nova:
    """Nova with a host that is a member of an aggregate that another run was given by name."""

    def __init__(self, kind: str) -> None:
        required = {"trait:CUSTOM_HYPERVISOR_DOCKER": "required"}
        self.aggregate = {"id": 7, "name": "of-that-run", "hosts": ["c1"], "metadata": required}
        others = {"id": 8, "name": "az1", "hosts": ["c1"], "metadata": {"availability_zone": "a"}}
        self.answers: dict[str, Any] = {
            "/os-aggregates": {"aggregates": [self.aggregate, others]},
            "/os-services": {"services": [{"id": "1", "host": "c1", "status": "enabled"}]},
            "/os-hypervisors/detail": {
                "hypervisors": [
                    {"id": "1", "service": {"host": "c1"}, "hypervisor_type": kind, "state": "up"}
                ]
            },
        }
        self.posts: list[tuple[str, Any]] = []

    def get(self, path: str, params: Any = None) -> Any:
        return self.answers[path]

    def post(self, path: str, json: Any) -> None:
        self.posts.append((path, json))


def cloud_of(nova: Nova) -> Any:
    placement = SimpleNamespace(in_catalog=lambda: False)
    return SimpleNamespace(compute=nova, placement=placement)


RECOVERING = {"run_id": "r", "aggregate": "docker-hosts"}


def test_a_member_of_another_run_s_aggregate_is_where_it_belongs() -> None:
    nova = Nova("docker")
    assert _seen(cloud_of(nova), "docker-hosts")["c1"].member
    left = rows.write([HostRow("c1", "compute", left_by="lost", parked=True)])

    (row,) = rows.read(PutRight(left, RECOVERING).act(cloud_of(nova))["rows"])

    assert row.ok
    assert nova.posts == []


def test_a_host_that_is_put_back_leaves_the_aggregate_of_the_run_that_was_lost() -> None:
    nova = Nova("QEMU")
    gone = [("/os-aggregates/7/action", {"remove_host": {"host": "c1"}})]
    left = HostRow("c1", "compute", left_by="lost", parked=True, changed=True)
    PutRight(rows.write([left]), RECOVERING).act(cloud_of(nova))
    assert nova.posts == gone

    nova = Nova("QEMU")
    broken = HostRow("c1", "compute", state=FAILED, done=["configure_compute"], left_by="lost")
    TakeBack([], RECOVERING)._leave_aggregate(cloud_of(nova), [broken])
    assert nova.posts == gone
