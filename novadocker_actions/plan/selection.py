# SPDX-License-Identifier: Apache-2.0
"""Which compute hosts a run is about: a pure function over host records."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import yaql
from yaql.language.exceptions import YaqlException

from novadocker_actions.errors import Refused
from novadocker_actions.plan.hosts import DOCKER, Host

# What a workflow carries of each batch, and of each controller, fits into Mistral's fields so.
MOST_HOSTS, MOST_CONTROLLERS = 10_000, 30
# Hosts that nobody named are taken where they are of such a kind: an Ironic service or a vCenter is
# no host that a Docker Engine could be put on.
CONVERTIBLE = ("docker", "fake", "kvm", "qemu")
# Of them so many without a plan that was looked at.
MOST_UNNAMED = 10


@dataclass(frozen=True)
class Query:
    """What the operator asked for.

    :param hosts: names, or None for the rule of ``match``
    :param match: part of a name, in any case
    :param if_none_match: ``all`` or ``fail``
    :param where: YAQL predicate over a host record, or None
    :param exclude: names that are never selected
    :param upgrade: whether only Docker hypervisors are meant, whatever they are called
    """

    hosts: list[str] | None = None
    match: str = "docker"
    if_none_match: str = "all"
    where: str | None = None
    exclude: tuple[str, ...] = ()
    upgrade: bool = False

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> Query:
        """Return the query that is in a workflow's settings."""
        return cls(
            hosts=settings["hosts"],
            match=settings["match"],
            if_none_match=settings["if_none_match"],
            where=settings["where"],
            exclude=tuple(settings["exclude"]),
            upgrade=settings["upgrade"],
        )


@dataclass(frozen=True)
class Selection:
    """The hosts that were chosen, and by which rule.

    :param unnamed: whether all were taken, as nothing names any
    """

    hosts: list[Host]
    rule: str
    unnamed: bool = False


@functools.cache
def _yaql_engine() -> Any:
    # An operator's predicate gets no more of the executor than a host record needs.
    return yaql.factory.YaqlFactory().create(
        options={"yaql.limitIterators": 10_000, "yaql.memoryQuota": 1_000_000}
    )


@functools.cache
def _functions() -> Any:
    # A pattern that fits in ever more ways would hold the whole executor, and no limit ends it.
    return yaql.create_context(regex=False)


@functools.lru_cache(maxsize=1)
def _parsed(where: str) -> Any:
    return _yaql_engine()(where)


def _matches(host: Host, where: str) -> bool:
    record = {**Host(name="").__dict__, **host.__dict__}
    try:
        answer = _parsed(where).evaluate(data=record, context=_functions().create_child_context())
    except (YaqlException, LookupError, TypeError, ValueError, ArithmeticError) as err:
        raise Refused(
            "where",
            f"{where!r} cannot be evaluated for host {host.name}: {err}.",
            "Give a YAQL predicate such as $.availability_zone = 'az1' or null.",
        ) from err
    if not isinstance(answer, bool):
        raise Refused(
            "where",
            f"{where!r} gives {answer!r} for host {host.name}, which is neither true nor false.",
            "Give a YAQL predicate such as $.availability_zone = 'az1' or null.",
        )
    return answer


def _alike(name: str, others: Iterable[str]) -> str:
    """Return the name that is another spelling of one, short or in another case, "" for none."""
    short = name.lower().partition(".")[0]
    return next((other for other in others if other.lower().partition(".")[0] == short), "")


def _unknown(names: list[str], field: str, computes: list[Host]) -> None:
    known = {host.name for host in computes}
    unknown = [name for name in names if name not in known]
    if unknown:
        listed = ", ".join(sorted(known)[:20]) or "none"
        alike = _alike(unknown[0], sorted(known))
        raise Refused(
            field,
            f"Nova knows no compute host {', '.join(unknown)}."
            + (f" Is {alike} meant?" if alike else ""),
            f"Compute hosts are: {listed}; those of a cell that does not answer Nova are left out.",
        )


def _candidates(computes: list[Host], query: Query) -> Selection:
    if query.hosts is not None:
        _unknown(query.hosts, "hosts", computes)
        named = set(query.hosts)
        chosen = [host for host in computes if host.name in named]
        if query.upgrade:
            _require_docker(chosen)
        return Selection(chosen, "named in hosts")
    if query.upgrade:
        return Selection([h for h in computes if _is_docker(h)], "all Docker hypervisors")
    if not query.match:
        return Selection(computes, "all compute hosts")
    matching = [host for host in computes if query.match.lower() in host.name.lower()]
    if matching:
        return Selection(matching, f"name contains {query.match!r}")
    if query.if_none_match == "fail":
        raise Refused(
            "match",
            f"no compute host has {query.match!r} in its name, and if_none_match is fail.",
            "Give another match, name the hosts, or set if_none_match to all.",
        )
    return _unnamed(computes, query)


def _is_docker(host: Host) -> bool:
    return host.hypervisor_type.lower() == DOCKER


def _require_docker(chosen: list[Host]) -> None:
    others = [host.name for host in chosen if not _is_docker(host)]
    if others:
        more = f" and {len(others) - 20} more" if len(others) > 20 else ""
        raise Refused(
            "hosts",
            f"{', '.join(others[:20])}{more} are not Docker hypervisors, which an upgrade is of.",
            "Convert them with novadocker.deploy, or leave them out.",
        )


def _unnamed(computes: list[Host], query: Query) -> Selection:
    taken, left_out = [], []
    for host in computes:
        if host.hypervisor_type.lower() not in CONVERTIBLE:
            left_out.append(f"{host.name} ({host.hypervisor_type or 'no hypervisor'})")
        elif not host.enrolled:
            left_out.append(f"{host.name} (not enrolled)")
        else:
            taken.append(host)
    more = f" and {len(left_out) - 5} more" if len(left_out) > 5 else ""
    told = f", but for {', '.join(left_out[:5])}{more}" if left_out else ""
    return Selection(taken, f"all{told}, since no name contains {query.match!r}", unnamed=True)


def select(hosts: list[Host], query: Query) -> Selection:
    """Choose compute hosts.

    Named hosts, else those whose name contains ``match``, else all that are enrolled and of a kind
    that can be converted (or an error, as ``if_none_match`` says); of these the ones that ``where``
    keeps; ``exclude`` wins over all.

    :param hosts: records of all hosts
    :param query: what the operator asked for
    :raises Refused: on an unknown name, a predicate that cannot be read, or an empty result
    """
    computes = [host for host in hosts if host.service_id]
    _unknown(list(query.exclude), "exclude", computes)
    candidates = _candidates(computes, query)
    chosen, rule = candidates.hosts, candidates.rule
    if query.where is not None:
        chosen = [host for host in chosen if _matches(host, query.where)]
        rule += f", where {query.where}"
    if query.exclude:
        excluded = set(query.exclude)
        chosen = [host for host in chosen if host.name not in excluded]
        rule += f", without {', '.join(query.exclude)}"
    if not chosen:
        raise Refused(
            "hosts",
            f"no compute host is selected ({rule}).",
            "Change hosts, match, where or exclude; `novadocker.plan` shows what they select.",
        )
    return Selection(chosen, rule, candidates.unnamed)


def require_plan(chosen: Selection, workflow: str, plan_digest: str | None) -> None:
    """Refuse to convert many hosts that nobody named, unless a plan of that was looked at.

    :param workflow: name without the workbook's
    :param plan_digest: of that plan, None where none was given
    :raises Refused: when they are more than a few
    """
    if workflow != "deploy" or not chosen.unnamed or plan_digest:
        return
    if len(chosen.hosts) > MOST_UNNAMED:
        raise Refused(
            "plan_digest",
            f"{len(chosen.hosts)} compute hosts are selected ({chosen.rule}), more than the "
            f"{MOST_UNNAMED} that are converted unseen.",
            "See what novadocker.plan shows with the same inputs and give its plan_digest, or name "
            "the hosts with hosts or match.",
        )


def select_to_be(hosts: list[Host], query: Query) -> Selection:
    """Choose as :func:`select` does, but those as well that are yet to be enrolled.

    :param hosts: records of all hosts
    :param query: what the operator asked for
    :raises Refused: as by :func:`select`
    """
    named = query.hosts is not None or query.if_none_match == "fail"
    matching = any(query.match.lower() in host.name.lower() for host in hosts if host.service_id)
    return select(hosts, query if named or matching else replace(query, match=""))


def select_enrolled(hosts: list[Host], query: Query) -> Selection:
    """Choose all compute hosts that a step can reach, whatever they are called.

    :param hosts: records of all hosts
    :param query: what the operator asked for; those that it names are chosen, enrolled or not
    :raises Refused: as by :func:`select`
    """
    chosen = select(hosts, replace(query, match=""))
    if query.hosts is not None:
        return chosen
    enrolled = [host for host in chosen.hosts if host.enrolled]
    if not enrolled:
        raise Refused(
            "hosts",
            f"no compute host is enrolled ({chosen.rule}).",
            "Enrol those that a run was about with `novadocker-enroll add`.",
        )
    return Selection(enrolled, f"enrolled, of {chosen.rule}")


def require_bearable(hosts: list[Host], controllers: list[Host]) -> None:
    """Refuse more hosts than one run is for.

    :param hosts: selected compute hosts
    :param controllers: enrolled ones
    :raises Refused: when they are too many
    """
    for group, most, field, what in (
        (hosts, MOST_HOSTS, "hosts", "compute hosts are selected"),
        (controllers, MOST_CONTROLLERS, "controllers", "controllers are enrolled"),
    ):
        if len(group) > most:
            raise Refused(
                field,
                f"{len(group)} {what}, more than the {most} of one run.",
                "Select fewer of them with match or where, and the others with another run."
                if field == "hosts"
                else "Enrol as controllers only hosts that run Glance's API, or pull images.",
            )


def require_mailboxes(hosts: list[Host], records: Iterable[Host] = ()) -> None:
    """Refuse hosts that no step can reach.

    :param records: all hosts, of which some may be enrolled by another name than Nova's
    :raises Refused: naming the hosts that are not enrolled
    """
    missing = [host.name for host in hosts if not host.enrolled]
    if missing:
        strangers = [host.name for host in records if host.enrolled and not host.service_id]
        alike = _alike(missing[0], strangers)
        raise Refused(
            "hosts",
            f"no agent is enrolled on {', '.join(missing)}."
            + (f" There is one on {alike}, which is no name of Nova's." if alike else ""),
            "Enrol them with `novadocker-enroll add`, or leave them out with exclude.",
        )


def require_keys(hosts: list[Host]) -> None:
    """Refuse hosts whose word could not be told from anybody's.

    :raises Refused: naming the hosts that were enrolled without a key of their own
    """
    missing = [host.name for host in hosts if not host.has_key]
    if missing:
        raise Refused(
            "hosts",
            f"no key is pinned of {', '.join(missing[:20])}"
            + (f" and {len(missing) - 20} more." if len(missing) > 20 else "."),
            "They were enrolled before hosts had keys: repeat `novadocker-enroll add` with their "
            "pool (`novadocker-enroll attach` with the stack of a compute pool), which gives them "
            "one and leaves all else as it is.",
        )
