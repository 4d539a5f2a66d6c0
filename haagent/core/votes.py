"""Whose votes count at present, and for whom."""

from __future__ import annotations

from haagent.core.membership import NEVER, Peer
from haagent.core.messages import GroupBeat
from haagent.core.node_state import NodeState

GETTING_ACQUAINTED = 2.5  # intervals


def electorate(state: NodeState, now: float, group: str, *, is_held: bool) -> tuple[list[str], int]:
    """Whose votes count at present, and how many of them are a majority.

    In `available` those that have just started and have no vote yet are left out, lest their start interrupt a
    holder, or a node that starts again and again keep a healthy one from taking. A holder counts those, however, that
    it hears while they do not hear it: they may be about to take over, and only it can prevent that there are two. And
    one that was not running counts whoever it counted before: the silence is its own.
    """
    if state.settings.consistent:
        return list(state.agreed.voters), state.majority
    names = [state.settings.me]
    for peer in state.membership.peers.values():
        if _counts_for_holder(state, peer, now, group) if is_held else _counts_for_candidate(peer, now):
            names.append(peer.name)
    return names, len(names) // 2 + 1


def _counts_for_candidate(peer: Peer, now: float) -> bool:
    return peer.is_alive(now) and not peer.silent_ms


def _counts_for_holder(state: NodeState, peer: Peer, now: float, group: str) -> bool:
    if peer.silent_ms or peer.is_stopping or group not in peer.groups:
        return False
    if now < state.listen_until and peer.name in state.known_before_stall:
        return True
    if peer.speaks_of(group, now):
        return True
    return _some_deaf_may_take(state, now, group) and state.membership.is_heard(peer, now)


def _some_deaf_may_take(state: NodeState, now: float, group: str) -> bool:
    """One that we hear and that does not hear us could think the group free. Else there is no need to let go."""
    if state.orders.in_maintenance:
        return False
    return any(
        group in peer.groups
        and peer.groups[group].eligible
        and not state.orders.is_standby(peer.name)
        and peer.name not in state.witnesses
        for peer in state.membership.deaf(now)
    )


def counted(state: NodeState, now: float, group: str) -> list[tuple[Peer, GroupBeat]]:
    """What living peers say of the group (`NodeState.beats`), if their votes count here."""
    said = state.beats(now, group)
    return [each for each in said if state.is_at_one(each[0].beat) and not _may_be_younger(state, each[0], now)]


def may_have_ours(state: NodeState, peer: Peer, now: float) -> bool:
    """It agrees on whose votes count, and is no life that has to stand down."""
    return state.is_at_one(peer.beat) and not peer.has_to_stand_down(now) and not _may_be_younger(state, peer, now)


def acquainted_at(state: NodeState) -> float:
    """From then on whoever is heard has echoed this life, and more than once."""
    return state.born + state.settings.dead_after_s + 4 * state.settings.interval_s


def _may_be_younger(state: NodeState, peer: Peer, now: float) -> bool:
    """Than another life of it that may hold by a vote of its own, and nobody could tell yet (`twins`)."""
    return _is_outlived(state, peer, now) or _is_new(state, peer, now) or _is_one_of_two(state, peer, now)


def _is_outlived(state: NodeState, peer: Peer, now: float) -> bool:
    """An earlier life of it was heard last when this one had begun. That it stops to speak before anybody can tell that
    they are two ends no lease. (If it ended first, this one is silent still.)"""
    if peer.elder_heard_at == NEVER:  # asked a thousand times in a step
        return False
    return now < peer.elder_heard_at + state.settings.silence_s(state.longest_lease_s(now))


def _is_new(state: NodeState, peer: Peer, now: float) -> bool:
    """We have just met it. If an elder one is there, which we did not hear either as we were cut off, that is heard
    within an interval, and known to be alive with the next. (Who has just started is silent for longer anyway.) In
    `available` a holder needs the vote of whomever it meets, and nothing is promised about two of one name."""
    return state.settings.consistent and now < peer.met_at + GETTING_ACQUAINTED * state.settings.interval_s


def _is_one_of_two(state: NodeState, peer: Peer, now: float) -> bool:
    """We have just started, and have heard another life of it. That proves only later that it is alive, if it believes
    for a while that our earlier life is."""
    return len(peer.lives) > 1 and now < acquainted_at(state)
