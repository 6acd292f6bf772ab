# SPDX-License-Identifier: Apache-2.0
"""Plans, batches and the gate."""

from __future__ import annotations

from typing import Any

import pytest

from novadocker_actions.errors import Refused
from novadocker_actions.plan import gate, inputs, order
from novadocker_actions.plan.rows import FAILED, SKIPPED, HostRow

CONVERTED = {
    "nova": {"version": "34.0.0", "compute_driver": "novadocker.virt.docker.DockerDriver"},
    "docker": {"installed": True},
    "novadocker": {"driver_version": "1.0"},
}
STEPS = ["install_docker", "install_driver", "configure_compute"]


def run(host: str = "c1", **values: Any) -> HostRow:
    return HostRow(host, "compute", **values)


def sizes(count: int, batch_size: int | None = None) -> list[int]:
    return [len(batch) for batch in order.batches(count, batch_size)]


def test_a_canary_and_then_growing_batches() -> None:
    assert sizes(300) == [1, 5, 25, 100, 100, 69]
    assert sizes(2) == [1, 1]
    assert sizes(0) == []


def test_batches_of_one_size() -> None:
    assert sizes(7, 3) == [3, 3, 1]


def test_a_host_of_two_roles_has_both_rows_on_one_page() -> None:
    computes = [{"host": f"c{number}", "role": "compute"} for number in range(199)]
    controllers = [{"host": name, "role": "controller"} for name in ("c0", "c150", "k")]
    cut = order.by_host([*computes, *controllers])
    assert [len(page) for page in cut] == [100, 100, 2]
    for name in ("c0", "c150", "k"):
        roles = [[row["role"] for row in page if row["host"] == name] for page in cut]
        assert [here for here in roles if here] == [
            ["controller"] if name == "k" else ["compute", "controller"]
        ]
    assert sorted(str(row) for page in cut for row in page) == sorted(
        map(str, [*computes, *controllers])
    )
    assert order.by_host([]) == []


def test_each_host_is_in_one_batch() -> None:
    cut = order.batches(137, None)

    assert [index for batch in cut for index in batch] == list(range(137))


@pytest.mark.field_case("K1.1")
@pytest.mark.parametrize("missing", ["docker", "novadocker", "nova"])
def test_a_host_that_lacks_something_needs_every_step(missing: str) -> None:
    row = run(facts={**CONVERTED, missing: None})

    order.needs_from_facts(row, STEPS)

    # It is asked all the same: what a step would refuse is to be known before.
    assert (row.needs, row.unknown) == (STEPS, STEPS)


def test_a_host_that_looks_converted_is_asked_step_by_step() -> None:
    row = run(facts=CONVERTED)

    order.needs_from_facts(row, STEPS)

    assert (row.needs, row.unknown) == ([], STEPS)


@pytest.mark.parametrize(
    ("facts", "hypervisor", "instances", "mended"),
    [
        ({}, "docker", 2, True),
        ({}, "docker", 0, False),
        ({}, "QEMU", 0, False),
        (CONVERTED, "docker", 2, False),
    ],
)
def test_a_hypervisor_that_lost_a_part_under_its_instances_is_mended(
    facts: dict[str, Any], hypervisor: str, instances: int, mended: bool
) -> None:
    row = run(facts=facts, hypervisor_type=hypervisor, instances=instances)

    order.needs_from_facts(row, STEPS)

    assert row.mended is mended


def test_only_what_shows_a_trace_is_undone() -> None:
    bare = run(facts={"nova": {"compute_driver": "libvirt.LibvirtDriver"}, "docker": None})
    traced = run(facts={"docker": {"installed": True}})

    order.needs_to_undo(bare, STEPS)
    order.needs_to_undo(traced, STEPS)

    assert bare.needs == []
    assert traced.needs == STEPS[::-1]


@pytest.mark.parametrize(
    ("records", "needs"),
    [
        (dict.fromkeys(STEPS, True), STEPS[::-1]),
        # It was staged and not switched.
        ({"install_docker": True}, ["install_docker"]),
        # Of another role that the host had.
        ({"configure_glance": True}, []),
        # The engine is the operator's.
        ({}, []),
    ],
)
def test_what_is_on_record_is_undone(records: dict[str, bool], needs: list[str]) -> None:
    row = run(facts={"docker": {"installed": True}, "records": records})

    order.needs_to_undo(row, STEPS)

    assert row.needs == needs


@pytest.mark.parametrize(
    ("needs", "then"),
    [
        (["install_driver"], ["install_driver", "configure_compute"]),
        (STEPS, STEPS),
        (["install_docker"], ["install_docker"]),
    ],
)
def test_where_the_driver_is_replaced_nova_compute_is_restarted(
    needs: list[str], then: list[str]
) -> None:
    row = run(needs=list(needs))

    order.restart_with_driver(row)

    assert row.needs == then


def test_a_node_of_glance_without_an_engine_is_but_asked() -> None:
    row = run(facts={"docker": {"installed": False}})

    order.needs_from_facts(row, ["configure_glance"])

    assert (row.needs, row.unknown) == ([], ["configure_glance"])


@pytest.mark.parametrize(
    ("nova", "said"),
    [
        ({"version": "30.2.1"}, "c1 runs Nova 30.2.1, older than 2025.1"),
        ({"version": "9"}, "older than"),
        ({"version": "35.0.0"}, r"c1 runs Nova 35.0.0, newer than 2026.2 \(34.0\)"),
        ({}, "no Nova was found on c1"),
        (None, "no Nova was found on c1"),
    ],
)
def test_a_nova_that_cannot_run_the_driver_is_refused(nova: Any, said: str) -> None:
    with pytest.raises(Refused, match=said):
        order.require_nova([run(facts={"nova": nova})])


def test_novas_that_can() -> None:
    order.require_nova([run(facts={"nova": {"version": v}}) for v in ("31.0.0", "34.0.0.dev1")])


def test_silent_hosts_are_named() -> None:
    silent = run("c2", state=FAILED, step="describe_host", reason="the host did not answer in time")

    with pytest.raises(Refused, match=r"c2 could not be described.*os-collect-config") as refusal:
        order.require_answers([run("c1"), silent])

    assert "c1" not in str(refusal.value)


def test_a_step_that_would_fail_is_named_with_its_reason() -> None:
    unfit = [
        run(host, state=FAILED, step="install_docker", reason="docker.io is held")
        for host in ("c1", "c2")
    ]

    with pytest.raises(Refused, match="install_docker would fail on c1, c2: docker.io is held"):
        order.require_answers(unfit)


@pytest.mark.field_case("K1.4")
def test_all_findings_of_all_hosts_are_in_one_refusal_with_those_that_are_alike_together() -> None:
    alike = [
        run(f"c{number}", state=FAILED, step="install_docker", reason=f"c{number}: {{}} is held")
        for number in range(1, 31)
    ]
    other = run("d1", state=FAILED, step="install_driver", reason="no wheel")

    with pytest.raises(Refused) as refusal:
        order.require_answers([*alike, other])

    told = str(refusal.value)
    first = "install_docker would fail on c1, c2, c3, c4, c5, c6, c7, c8, c9, c10 and 20 more: "
    assert f"{first}this host: {{}} is held; install_driver would fail on d1: no wheel." in told


@pytest.mark.field_case("K1.4")
def test_all_novas_that_cannot_run_the_driver_are_named_at_once() -> None:
    told = [{"version": "30.1.0"}, {}, {"version": "30.1.0"}, {"hindrance": "in a container (u)"}]
    hosts = [run(f"c{number}", facts={"nova": nova}) for number, nova in enumerate(told)]

    with pytest.raises(Refused) as refusal:
        order.require_nova(hosts)

    assert "c0, c2 runs Nova 30.1.0, older than" in str(refusal.value)
    assert "no Nova was found on c1; c3 cannot be converted: in a container (u)." in str(
        refusal.value
    )


def test_instances_keep_a_hypervisor_from_being_changed() -> None:
    with pytest.raises(Refused, match=r"instances run on c1 \(3\)"):
        order.spare_occupied([run(instances=3, needs=STEPS)], "refuse", converting=True)


def test_instances_of_a_docker_hypervisor_do_not_keep_it_from_being_repaired() -> None:
    row = run(instances=3, needs=STEPS, hypervisor_type="docker")

    order.spare_occupied([row], "refuse", converting=True)

    assert row.ok


@pytest.mark.parametrize(
    ("facts", "instances", "containers"),
    [
        ({"records": {"configure_compute": True}, "docker": {"instances": 3}}, 3, 3),
        ({"records": {"configure_compute": True}, "docker": {"instances": 2}}, 3, 2),
        ({"records": {}, "docker": {"instances": 3}}, 3, 0),
        ({"docker": {"instances": 3}}, 3, 0),
        ({**CONVERTED, "records": {"configure_compute": True}}, 3, 0),
    ],
)
def test_a_host_that_lost_the_driver_is_repaired_under_instances_that_are_all_containers(
    facts: dict[str, Any], instances: int, containers: int
) -> None:
    row = run(instances=instances, needs=STEPS, hypervisor_type="QEMU", damaged=True)
    row.containers = order.containers_of(facts)
    assert row.containers == containers
    order.note_instances(row, instances)
    assert row.mended is (instances == containers)

    order.spare_occupied([row], "skip", converting=True)
    assert row.ok is row.mended
    order.spare_occupied([row], "skip", converting=False)
    assert not row.ok


def test_instances_of_a_docker_hypervisor_keep_it_from_being_undone() -> None:
    with pytest.raises(Refused):
        order.spare_occupied(
            [run(instances=1, needs=STEPS, hypervisor_type="docker")], "refuse", converting=False
        )


def test_instances_do_not_keep_what_was_only_staged_from_being_removed() -> None:
    row = run(instances=3, needs=["install_driver", "install_docker"])

    order.spare_occupied([row], "refuse", converting=False)

    assert row.ok


def test_occupied_hosts_can_be_skipped() -> None:
    row = run(instances=3, needs=STEPS)

    order.spare_occupied([row], "skip", converting=True)

    assert (row.state, row.reason) == (SKIPPED, "3 instances run on it")


def test_a_digest_changes_with_the_hosts_their_needs_and_the_inputs() -> None:
    settings = inputs.validate("plan", {})
    digests = {
        order.digest([], [run()], settings),
        order.digest([], [run("c2")], settings),
        order.digest([], [run(needs=STEPS)], settings),
        order.digest([run()], [run()], settings),
        order.digest([], [run()], inputs.validate("plan", {"images": ["nginx"]})),
        order.digest([], [run()], inputs.validate("plan", {"phase": "stage"})),
        order.digest([], [run()], inputs.validate("plan", {"upgrade": True})),
    }

    assert len(digests) == 7
    assert order.digest([], [run()], settings) in digests


def test_a_digest_does_not_change_with_what_is_only_about_waiting() -> None:
    first, other = inputs.validate("plan", {}), inputs.validate("plan", {"step_timeout_s": 60})

    assert order.digest([], [run()], first) == order.digest([], [run()], other)


def test_another_plan_than_the_approved_one_is_refused() -> None:
    order.require_digest(None, "sha256:a")
    order.require_digest("sha256:a", "sha256:a")
    with pytest.raises(Refused, match="plan_digest: the plan is now sha256:b, not sha256:a"):
        order.require_digest("sha256:a", "sha256:b")


@pytest.mark.parametrize(
    ("count", "given", "wanted"),
    [
        (30, [1, "10%", "50%"], [1, 3, 15, 11]),
        (7, [2], [2, 2, 2, 1]),
        (5, ["1%"], [1, 1, 1, 1, 1]),
        (3, ["100%"], [3]),
        (250, [1, "100%"], [1, 100, 100, 49]),
        (15, ["0%", 5], [1, 5, 5, 4]),
        (0, [1, "10%"], []),
    ],
)
def test_batches_have_the_sizes_that_are_given_and_the_last_counts_for_the_rest(
    count: int, given: list[Any], wanted: list[int]
) -> None:
    cut = order.batches(count, None, given)
    assert [len(batch) for batch in cut] == wanted
    assert [index for batch in cut for index in batch] == list(range(count))


def test_sizes_that_make_too_many_batches_are_refused_by_their_name() -> None:
    with pytest.raises(Refused, match="batch_sizes: 1, 2 makes .* batches of 1000 hosts"):
        order.batches(1000, None, [1, 2])


@pytest.mark.parametrize(
    ("value", "count", "most"), [(3, 10, 3), ("5%", 100, 5), ("5%", 19, 0), ("100%", 7, 7)]
)
def test_a_share_of_hosts_that_may_fail_is_of_those_that_are_changed(
    value: Any, count: int, most: int
) -> None:
    assert int(order.share(value, count)) == most


@pytest.mark.parametrize(
    ("failed", "max_failed", "left", "go_on"),
    [(0, 0, 2, True), (1, 0, 2, False), (1, 1, 2, True), (2, 1, 2, False), (0, 0, 0, False)],
)
def test_the_gate(failed: int, max_failed: int, left: int, go_on: bool) -> None:
    assert gate.decide(failed, max_failed, left).go_on is go_on


def test_the_gate_tells_why_it_stops() -> None:
    assert gate.decide(2, 1, 2).reason == (
        "2 hosts failed and max_failed is 1: 2 batches were not started"
    )
    assert gate.decide(0, 0, 0).reason == ""


def test_more_batches_than_a_run_can_carry_are_refused() -> None:
    assert len(order.batches(200, 1)) == 200
    with pytest.raises(
        Refused, match="batch_size: 1 makes 201 batches of 201 hosts, more than 200"
    ):
        order.batches(201, 1)
    assert len(order.batches(10_000, None)) < order.MOST_BATCHES


def test_the_gate_stops_a_run_whose_time_is_over() -> None:
    over = gate.decide(0, 0, 3, timeout_s=3600, late=True)
    assert (over.go_on, over.reason) == (False, "3600 s are over: 3 batches were not started")
    assert gate.decide(0, 0, 3, timeout_s=3600).go_on
    # At its end there is nothing that would come too late.
    assert gate.decide(0, 0, 0, timeout_s=3600, late=True).reason == ""
