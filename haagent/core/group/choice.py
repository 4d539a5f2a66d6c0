"""Who should hold each group, and whom a start waits for: `placement` with what this node knows of the others.

The plan is over all groups, so it is made once for whatever asks in a step (`NodeState.plans`).

The cold start. Whoever is up first would take everything, although the node that the configuration wants comes up half
a second later; and nothing would move back. So while nobody has been heard to hold a group, a node that is not its
first choice waits for the one that is: at most `start_grace` if that one is not heard at all, and until it can vote if
it is. A running cluster knows who held a group, and waits for nobody.
"""

from __future__ import annotations

import enum

from haagent.core import placement
from haagent.core.group.state import Group
from haagent.core.group.transitions import GroupState
from haagent.core.membership import NEVER, Peer
from haagent.core.messages import Ballot, GroupBeat
from haagent.core.node_state import NodeState
from haagent.core.placement import Candidate, Place
from haagent.core.settings import LEADER


class Among(enum.StrEnum):
    """Whom a plan is for."""

    NOW = "those that could take it now"
    SOON = "also those that have just started and have no vote yet"
    EXPECTED = "also those that have not been heard since this node started"


def ranked(group: Group, state: NodeState, now: float, among: Among = Among.NOW) -> list[str]:
    plan = state.plans.get(among)
    if plan is None:
        plan = state.plans[among] = placement.plan(
            Place(one.settings, _holder(one, state, now), candidates(one, state, now, among))
            for one in state.groups.values()
        )
    return plan[group.name]


def candidates(group: Group, state: NodeState, now: float, among: Among = Among.NOW) -> tuple[Candidate, ...]:
    """Every node that counts, as far as it may hold this group."""
    me = state.settings.me
    is_fit = not (state.unfitness(me, now) or group.why_not(me) or state.isolation(now))
    found = [Candidate(me, is_fit, len(group.failures), group.penalty)]
    for peer, beat in state.beats(now, group.name):
        has_vote = among is not Among.NOW or peer.silent_ms < 1000 * state.slot_s
        is_barred = state.unfitness(peer.name, now) or peer.name in group.settings.never
        is_fit = has_vote and beat.eligible and not is_barred and not state.isolation(now, peer.name)
        found.append(Candidate(peer.name, is_fit, beat.failures, beat.penalty))
    if among is Among.EXPECTED:
        found += (Candidate(peer.name, True, 0) for peer in _expected(group, state))
    return tuple(found)


def _expected(group: Group, state: NodeState) -> list[Peer]:
    orders, never = state.orders, group.settings.never
    return [
        peer
        for peer in state.membership.peers.values()
        if peer.heard_at == NEVER
        and peer.name not in state.witnesses
        and peer.name not in never
        and not orders.is_standby(peer.name)
        and not orders.is_down(peer.name)
    ]


def _holder(group: Group, state: NodeState, now: float) -> str:
    """Who counts it as its own. Nobody, if that one is leaving: then it is to be placed."""
    me = state.settings.me
    if group.state is not GroupState.IDLE:
        return "" if state.unfitness(me, now) or group.why_not(me) or state.isolation(now) else me
    said = [(_weight(beat), peer.name, beat) for peer, beat in state.beats(now, group.name) if beat.claim or beat.want]
    if not said:
        return ""
    _, name, beat = max(said, key=lambda one: one[0])
    return "" if state.unfitness(name, now) or name in group.settings.never or not beat.eligible else name


def _weight(beat: GroupBeat) -> tuple[bool, bool, Ballot]:
    """How far it has come with the group."""
    return (beat.held_ms > 0, beat.claim is not None, beat.claim or beat.want or Ballot(0, ""))


def awaited(group: Group, state: NodeState, now: float) -> tuple[str, float]:
    """At a cold start: the first choice, if it is worth waiting for, and until when."""
    if not _is_cold(group, state, now):
        return "", NEVER
    first = expected(group, state, now)
    peer = state.membership.peers.get(first)
    if peer is None:
        return "", NEVER
    end = _grace_end(state)
    if not state.settings.consistent and not state.has_met_anyone:
        end = min(end, state.born + state.settings.alone_after_s)
    if peer.heard_at > NEVER:  # it has come: how long it has no vote yet, it says itself
        end += state.longest_lease_s(now) if peer.silent_ms else NEVER
    return (first, end) if now < end else ("", NEVER)


def hesitation_s(group: Group, state: NodeState, now: float) -> float:
    """In `available` who has just got its vote acts when all have answered that they know: that takes an interval."""
    if state.settings.consistent or not _is_cold(group, state, now):
        return 0.0
    peer = state.membership.peers.get(expected(group, state, now))
    return 2 * state.settings.interval_s if peer is not None and peer.is_alive(now) else 0.0


def expected(group: Group, state: NodeState, now: float) -> str:
    """The first choice, were all here that have not been heard yet."""
    return next(iter(ranked(group, state, now, Among.EXPECTED)), state.settings.me)


def _grace_end(state: NodeState) -> float:
    return state.silent_until + state.settings.start_grace_s


def _is_cold(group: Group, state: NodeState, now: float) -> bool:
    settings = state.settings
    is_over = not settings.start_grace_s or now >= _grace_end(state) + 2 * state.longest_lease_s(now)
    return not (is_over or _is_known(group, state, now))


def _is_known(group: Group, state: NodeState, now: float) -> bool:
    """Somebody has it or had it, so this is no cold start of the group; or nobody is to be waited for."""
    if group.name == LEADER or group.was_found or group.service.by or group.caution.last_held is not None:
        return True
    return any(beat.accepted is not None for _, beat in state.beats(now, group.name))
