"""Who should hold each group, and whom a start waits for: `placement` with what this node knows of the others.

The plan is over all groups, so it is made once for whatever asks in a step (`NodeState.plans`).

The cold start. Whoever is up first would take everything, although the node that the configuration wants comes up half
a second later; and nothing would move back. So while nobody has been heard to hold a group, a node that is not its
first choice waits for the one that is: at most `start_grace` if that one is not heard at all, and until it can vote if
it is. A running cluster knows who held a group, and waits for nobody.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

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


def ranked(group: Group, scene: NodeState, now: float, among: Among = Among.NOW) -> list[str]:
    plan = scene.plans.get(among)
    if plan is None:
        groups: Iterable[Group] = scene.groups.values()
        plan = scene.plans[among] = placement.plan(
            Place(one.settings, _holder(one, scene, now), candidates(one, scene, now, among)) for one in groups
        )
    return plan[group.name]


def candidates(group: Group, scene: NodeState, now: float, among: Among = Among.NOW) -> tuple[Candidate, ...]:
    """Every node that counts, as far as it may hold this group."""
    me = scene.settings.me
    is_fit = not (scene.unfitness(me, now) or group.why_not(me) or scene.isolation(now))
    found = [Candidate(me, is_fit, len(group.failures))]
    for peer, beat in scene.beats(now, group.name):
        has_vote = among is not Among.NOW or (peer.beat is not None and peer.beat.silent_ms < 1000 * scene.slot_s)
        is_barred = scene.unfitness(peer.name, now) or peer.name in group.settings.never
        is_fit = has_vote and beat.eligible and not is_barred and not scene.isolation(now, peer.name)
        found.append(Candidate(peer.name, is_fit, beat.failures))
    if among is Among.EXPECTED:
        found += (Candidate(peer.name, True, 0) for peer in _expected(group, scene))
    return tuple(found)


def _expected(group: Group, scene: NodeState) -> list[Peer]:
    orders, never = scene.orders, group.settings.never
    return [
        peer
        for peer in scene.membership.peers.values()
        if peer.heard_at == NEVER
        and peer.name not in scene.witnesses
        and peer.name not in never
        and not orders.is_standby(peer.name)
        and not orders.is_down(peer.name)
    ]


def _holder(group: Group, scene: NodeState, now: float) -> str:
    """Who counts it as its own. Nobody, if that one is leaving: then it is to be placed."""
    me = scene.settings.me
    if group.state is not GroupState.IDLE:
        return "" if scene.unfitness(me, now) or group.why_not(me) or scene.isolation(now) else me
    said = [(_weight(beat), peer.name, beat) for peer, beat in scene.beats(now, group.name) if beat.claim or beat.want]
    if not said:
        return ""
    _, name, beat = max(said, key=lambda one: one[0])
    return "" if scene.unfitness(name, now) or name in group.settings.never or not beat.eligible else name


def _weight(beat: GroupBeat) -> tuple[bool, bool, Ballot]:
    """How far it has come with the group."""
    return (beat.held_ms > 0, beat.claim is not None, beat.claim or beat.want or Ballot(0, ""))


def awaited(group: Group, scene: NodeState, now: float) -> tuple[str, float]:
    """At a cold start: the first choice, if it is worth waiting for, and until when."""
    if not _is_cold(group, scene, now):
        return "", NEVER
    first = expected(group, scene, now)
    peer = scene.membership.peers.get(first)
    if peer is None:
        return "", NEVER
    end = _grace_end(scene)
    if not scene.settings.consistent and not scene.has_met_anyone:
        end = min(end, scene.born + scene.settings.alone_after_s)
    if peer.heard_at > NEVER:  # it has come: how long it has no vote yet, it says itself
        end += scene.longest_lease_s if peer.beat is not None and peer.beat.silent_ms else NEVER
    return (first, end) if now < end else ("", NEVER)


def hesitation_s(group: Group, scene: NodeState, now: float) -> float:
    """In `available` who has just got its vote acts when all have answered that they know: that takes an interval."""
    if scene.settings.consistent or not _is_cold(group, scene, now):
        return 0.0
    peer = scene.membership.peers.get(expected(group, scene, now))
    return 2 * scene.settings.interval_s if peer is not None and peer.is_alive(now) else 0.0


def expected(group: Group, scene: NodeState, now: float) -> str:
    """The first choice, were all here that have not been heard yet."""
    return next(iter(ranked(group, scene, now, Among.EXPECTED)), scene.settings.me)


def _grace_end(scene: NodeState) -> float:
    return scene.silent_until + scene.settings.start_grace_s


def _is_cold(group: Group, scene: NodeState, now: float) -> bool:
    settings = scene.settings
    is_over = not settings.start_grace_s or now >= _grace_end(scene) + 2 * scene.longest_lease_s
    return not (is_over or _is_known(group, scene, now))


def _is_known(group: Group, scene: NodeState, now: float) -> bool:
    """Somebody has it or had it, so this is no cold start of the group; or nobody is to be waited for."""
    if group.name == LEADER or group.was_found or group.service.by or group.caution.last_held is not None:
        return True
    return any(beat.accepted is not None for _, beat in scene.beats(now, group.name))
