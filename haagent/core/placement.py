"""Which node should hold a group: pure functions of what everybody says in its heartbeats, so all agree."""

from __future__ import annotations

import msgspec

from haagent.core.settings import GroupSettings


class Candidate(msgspec.Struct, frozen=True):
    name: str
    is_fit: bool  # online, not in standby, not stopping, not a witness, checks pass
    failures: int  # recent failed activations of this group
    held: int  # groups it holds already


def order(group: GroupSettings, candidates: list[Candidate]) -> list[str]:
    """Who tries first. Recently failed nodes last, then `prefer`, then who holds least, then name."""

    def key(candidate: Candidate) -> tuple[int, int, int, str]:
        return (candidate.failures, preference(group, candidate.name), candidate.held, candidate.name)

    return [candidate.name for candidate in sorted(candidates, key=key) if candidate.is_fit]


def preference(group: GroupSettings, name: str) -> int:
    """Position in `prefer`; nodes that it does not name come after all that it does."""
    return group.prefer.index(name) if name in group.prefer else len(group.prefer)


def should_yield(group: GroupSettings, holder: str, candidates: list[Candidate]) -> str:
    """For automatic failback: a fit node without failures that `prefer` names before the holder, or nobody."""
    better = [
        candidate
        for candidate in candidates
        if candidate.is_fit and not candidate.failures and preference(group, candidate.name) < preference(group, holder)
    ]
    return order(group, better)[0] if better else ""


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
