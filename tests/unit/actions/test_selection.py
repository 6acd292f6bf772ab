# SPDX-License-Identifier: Apache-2.0
"""Which hosts are selected."""

from __future__ import annotations

import pytest
import yaql

from novadocker_actions.errors import Refused
from novadocker_actions.plan import selection
from novadocker_actions.plan.hosts import Host, merge
from novadocker_actions.plan.selection import (
    Query,
    require_bearable,
    require_mailboxes,
    require_plan,
    select,
)


def host(name: str, **values: object) -> Host:
    known = {"hypervisor_type": "QEMU", "server_id": "s", "deployment_id": "d", **values}
    return Host(name=name, roles=["compute"], service_id=f"id-{name}", **known)  # type: ignore[arg-type]


HOSTS = [
    Host(name="controller", roles=["controller"]),
    host("compute-1", availability_zone="az1"),
    host("Compute-DOCKER-1", availability_zone="az1", instances=2),
    host("compute-docker-2", availability_zone="az2", labels={"rack": "7"}),
]


def names(query: Query) -> list[str]:
    return [chosen.name for chosen in select(HOSTS, query).hosts]


def test_names_that_contain_the_match_in_any_case() -> None:
    assert names(Query()) == ["Compute-DOCKER-1", "compute-docker-2"]


def test_all_computes_but_no_controller_when_no_name_matches() -> None:
    assert names(Query(match="gpu")) == ["compute-1", "Compute-DOCKER-1", "compute-docker-2"]


def test_an_upgrade_is_of_all_docker_hypervisors_whatever_they_are_called() -> None:
    hosts = [*HOSTS, host("old", hypervisor_type="docker"), host("far", hypervisor_type="docker")]
    chosen = select(hosts, Query(upgrade=True, exclude=("far",)))
    assert [item.name for item in chosen.hosts] == ["old"]
    assert chosen.rule == "all Docker hypervisors, without far"
    # They are no hosts that nobody named: more than a few of them need no plan.
    assert not chosen.unnamed
    assert select(hosts, Query(upgrade=True, hosts=["old"])).rule == "named in hosts"
    with pytest.raises(Refused, match="hosts: compute-1 are not Docker hypervisors, which an upg"):
        select(hosts, Query(upgrade=True, hosts=["old", "compute-1"]))
    with pytest.raises(Refused, match="hosts: no compute host is selected"):
        select(HOSTS, Query(upgrade=True))


def test_of_all_those_are_left_out_that_can_not_be_converted_and_it_is_told() -> None:
    others = [
        host("bare", hypervisor_type="ironic"),
        host("vcenter", hypervisor_type="VMware vCenter Server"),
        host("new", deployment_id=""),
        host("lost", hypervisor_type=""),
    ]
    made = select([*HOSTS, *others], Query(match="gpu"))

    assert [item.name for item in made.hosts] == [item.name for item in HOSTS[1:]]
    assert made.rule == (
        "all, but for bare (ironic), vcenter (VMware vCenter Server), new (not enrolled), "
        "lost (no hypervisor), since no name contains 'gpu'"
    )
    # Who names one has it looked at, and told what is wrong.
    assert select(others, Query(hosts=["new"])).hosts == [others[2]]


def test_many_hosts_that_nobody_named_are_converted_by_a_plan_alone() -> None:
    many = [host(f"c{number:02}") for number in range(11)]
    unnamed, named = select(many, Query(match="gpu")), select(many, Query(match="c"))

    with pytest.raises(Refused, match=r"plan_digest: 11 compute hosts are selected \(all, since"):
        require_plan(unnamed, "deploy", None)
    require_plan(unnamed, "deploy", f"sha256:{'0' * 64}")
    require_plan(unnamed, "plan", None)
    require_plan(named, "deploy", None)
    require_plan(select(many[1:], Query(match="gpu")), "deploy", None)


def test_the_rule_is_told() -> None:
    query = Query(match="gpu", where="$.instances = 0", exclude=("compute-1",))
    assert select(HOSTS, query).rule == (
        "all, since no name contains 'gpu', where $.instances = 0, without compute-1"
    )


def test_a_careful_operator_is_refused_when_no_name_matches() -> None:
    with pytest.raises(Refused, match="if_none_match is fail"):
        names(Query(match="gpu", if_none_match="fail"))


def test_named_hosts_whatever_they_are_called() -> None:
    assert names(Query(hosts=["compute-1"])) == ["compute-1"]


@pytest.mark.parametrize("query", [Query(hosts=["x"]), Query(hosts=["controller"])])
def test_a_name_that_is_no_compute_host_is_refused(query: Query) -> None:
    with pytest.raises(Refused, match="hosts: Nova knows no compute host"):
        names(query)


def test_exclude_wins_over_names() -> None:
    query = Query(hosts=["compute-1", "compute-docker-2"], exclude=("compute-1",))
    assert names(query) == ["compute-docker-2"]


def test_an_unknown_name_in_exclude_is_refused() -> None:
    with pytest.raises(Refused, match="exclude: Nova knows no compute host typo"):
        names(Query(exclude=("typo",)))


@pytest.mark.parametrize(
    ("where", "chosen"),
    [
        ("$.availability_zone = az1", ["Compute-DOCKER-1"]),
        ("$.instances = 0", ["compute-docker-2"]),
        ("$.labels.get(rack) = '7'", ["compute-docker-2"]),
    ],
)
def test_a_predicate_over_the_record(where: str, chosen: list[str]) -> None:
    assert names(Query(where=where)) == chosen


@pytest.mark.parametrize(
    "where",
    [
        "$.instances",
        "$.nope",
        "$.instances >",
        "1 / 0 = 1",
        "range(99999999).sum() = 1",
        # One that fits in ever more ways would hold the executor for years.
        "$.name.matches('(.+)+1$')",
        "$.name =~ '(.+)+1$'",
        "regex('(.+)+1$').matches($.name)",
    ],
)
def test_a_predicate_that_says_neither_yes_nor_no_is_refused(where: str) -> None:
    with pytest.raises(Refused, match="where: "):
        names(Query(where=where))


def test_an_empty_selection_is_never_all() -> None:
    with pytest.raises(Refused, match="no compute host is selected"):
        names(Query(where="$.instances > 100"))


def test_hosts_without_a_mailbox_are_named() -> None:
    with pytest.raises(Refused, match="no agent is enrolled on compute-1, compute-docker-2"):
        require_mailboxes([host("compute-1", server_id=""), host("compute-docker-2", server_id="")])


def test_another_spelling_of_a_name_is_told() -> None:
    with pytest.raises(Refused, match=r"no compute host COMPUTE-1\.dc1\. Is compute-1 meant\?"):
        names(Query(hosts=["COMPUTE-1.dc1"]))
    enrolled = Host(name="Compute-1.dc1", server_id="s", deployment_id="d")
    with pytest.raises(Refused, match=r"compute-1\. There is one on Compute-1\.dc1, which is no"):
        require_mailboxes([host("compute-1", server_id="")], [*HOSTS, enrolled])


def test_what_nova_and_heat_know_is_joined() -> None:
    merged = merge(
        [{"host": "c1", "id": 7, "state": "up", "status": "enabled", "zone": "nova"}],
        [
            {"service": {"host": "c1"}, "hypervisor_type": "QEMU", "servers": [{}, {}]},
            {"service": {"host": "gone"}, "hypervisor_type": "QEMU"},
        ],
        [{"name": "fast", "hosts": ["c1", "gone"], "metadata": {"ssd": "true"}}],
        {
            "c1": {"server_id": "s1", "deployment_id": "d1", "roles": ["compute"]},
            "ctl": {"server_id": "s2", "deployment_id": "d2", "roles": ["glance", "controller"]},
        },
    )

    assert [record.name for record in merged] == ["c1", "ctl"]
    assert (merged[0].service_id, merged[0].instances, merged[0].labels) == (
        "7",
        2,
        {"ssd": "true"},
    )
    assert merged[0].aggregates == ["fast"]
    assert merged[0].enrolled
    assert merged[1].roles == ["controller", "glance"]


def test_more_hosts_than_one_run_is_for_are_refused() -> None:
    many = [host(f"c{number}") for number in range(10_001)]
    with pytest.raises(Refused, match="10001 compute hosts are selected, more than the 10000"):
        require_bearable(many, [])
    with pytest.raises(Refused, match="31 controllers are enrolled"):
        require_bearable([], many[:31])
    require_bearable(many[1:], many[:30])


def test_a_predicate_is_read_once_for_however_many_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, read = selection._yaql_engine(), []
    monkeypatch.setattr(
        selection, "_yaql_engine", lambda: lambda text: read.append(text) or engine(text)
    )
    many = [host(f"c{number}") for number in range(50)]

    assert len(select(many, Query(where="$.name != 'nobody'")).hosts) == 50
    assert read == ["$.name != 'nobody'"]


def test_functions_of_predicates_are_made_once_for_however_many_hosts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make, made = yaql.create_context, []
    monkeypatch.setattr(yaql, "create_context", lambda **given: made.append(given) or make(**given))
    selection._functions.cache_clear()
    many = [host(f"c{number}") for number in range(50)]

    assert select(many, Query(match="", where="$.name = c7")).hosts == [many[7]]
    assert len(made) == 1


def test_names_are_looked_up_and_not_compared_with_each_other() -> None:
    compared = []

    class Name(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            compared.append(other)
            return str.__eq__(self, other)

    many = [host(Name(f"c{number:03}")) for number in range(300)]
    query = Query(
        hosts=[f"c{number:03}" for number in range(200)],
        exclude=tuple(f"c{n}" for n in range(100, 200)),
    )
    assert len(select(many, query).hosts) == 100
    assert len(compared) < 10 * len(many)
