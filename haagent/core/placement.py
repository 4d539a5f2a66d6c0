"""Which node should hold which group: pure functions of what everybody says in its heartbeats, so all agree.

All groups are looked at together. Several that become free at the same moment (a start, a lost node, a node that
leaves) would each go to the node that holds the fewest, and that is one and the same. So the groups that have a place
are counted first, and those without one are placed one after the other: first those whose `prefer` or whose few
candidates leave little choice, then by name. Whoever has the same picture comes to the same plan.

Nothing is moved here. A group that has a holder keeps it, however uneven that is: a move costs clients something, and
balance is worth nothing to them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from haagent.core.settings import LEADER, GroupSettings


class Candidate(msgspec.Struct, frozen=True):
    name: str
    is_fit: bool  # online, not in standby, not stopping, not a witness, not in `never`, checks pass
    failures: int  # recent failed activations of this group
    penalty: int = 0  # what its failing checks with a weight weigh


class Place(msgspec.Struct, frozen=True):
    """One group as it is now."""

    group: GroupSettings
    holder: str  # who has it or is about to take it; empty: nobody, or one that must give it away
    candidates: tuple[Candidate, ...]


def plan(places: Iterable[Place]) -> dict[str, list[str]]:
    """Who tries first, for each group. The built-in `leader` costs a node nothing and does not count."""
    places = list(places)
    load = Counter(place.holder for place in places if place.holder and place.group.name != LEADER)
    ranked: dict[str, list[str]] = {}
    free = []
    for place in places:
        if place.holder or place.group.name == LEADER:
            ranked[place.group.name] = order(place.group, place.candidates, load - Counter([place.holder]))
        else:
            free.append(place)
    for place in sorted(free, key=_least_choice):
        names = ranked[place.group.name] = order(place.group, place.candidates, load)
        load.update(names[:1])
    return ranked


def _least_choice(place: Place) -> tuple[bool, int, str]:
    fit = [candidate.name for candidate in place.candidates if candidate.is_fit]
    has_wish = any(name in place.group.prefer for name in fit)  # a wish that nobody can fulfil leaves every choice
    return (not has_wish, len(fit), place.group.name)


def order(group: GroupSettings, candidates: Iterable[Candidate], load: Mapping[str, int]) -> list[str]:
    """Who tries first. Recently failed nodes last, then the penalty, `prefer`, who holds least, and the name."""

    def key(candidate: Candidate) -> tuple[int, int, int, int, str]:
        name = candidate.name
        return (candidate.failures, candidate.penalty, preference(group, name), load.get(name, 0), name)

    return [candidate.name for candidate in sorted(candidates, key=key) if candidate.is_fit]


def preference(group: GroupSettings, name: str) -> int:
    """Position in `prefer`; nodes that it does not name come after all that it does."""
    return group.prefer.index(name) if name in group.prefer else len(group.prefer)


def should_yield(group: GroupSettings, holder: str, candidates: Iterable[Candidate]) -> str:
    """For automatic failback: whom `prefer` names before the holder, if its failing checks weigh no more; or nobody."""
    candidates, wish = tuple(candidates), preference(group, holder)
    most = penalty(holder, candidates)
    return _best(group, [one for one in candidates if one.penalty <= most and preference(group, one.name) < wish])


def lighter(group: GroupSettings, holder: str, candidates: Iterable[Candidate]) -> Candidate | None:
    """Whose failing checks weigh less than the holder's. Neither this nor failback undoes what the other has done."""
    candidates = tuple(candidates)
    most = penalty(holder, candidates)
    best = _best(group, [one for one in candidates if one.penalty < most])
    return next((one for one in candidates if one.name == best), None)


def penalty(name: str, candidates: Iterable[Candidate]) -> int:
    return next((one.penalty for one in candidates if one.name == name), 0)


def _best(group: GroupSettings, candidates: Iterable[Candidate]) -> str:
    """None that failed lately: it would only fail again."""
    return next(iter(order(group, [one for one in candidates if not one.failures], {})), "")


class Contender(msgspec.Struct, frozen=True):
    """One of two nodes that both hold a group after a partition in `available`."""

    name: str
    gateway: bool | None
    round: int  # of the ballot with which its tenure began: the older tenure has the lower one


def winner(group: GroupSettings, one: Contender, other: Contender) -> str:
    """Who keeps the group: reaches its gateway, then has held longest, then `prefer`, then name.

    The tenure's ballot tells who has held longer, not a clock: a total order, so that of three one wins against both.
    """
    if one.gateway is not other.gateway and (one.gateway is True or other.gateway is True):
        return one.name if one.gateway else other.name
    if one.round != other.round:
        return one.name if one.round < other.round else other.name
    return min((preference(group, c.name), c.name) for c in (one, other))[1]
