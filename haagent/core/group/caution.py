"""Before one group is taken: who may still have it, although no vote says so?

A majority's word is proof in `consistent`. In `available` a node that hears nobody counts alone, and the holder that it
does not hear may well be alive. Three witnesses outside the heartbeats are asked:

* the neighbours (`Watch`, `Guarded`): while anybody still answers for the group's addresses, it is not taken;
* the gateway (`GatewayChanged`): who alone cannot reach it is the one that is cut off, lets go and does not take;
* the fence: a member that vanished without releasing what it held is named in `Take.vanished`, so that the activation
  fences it first. `Fenced`, or the operator's word that it is down, ends that until the member is heard again.

A release, or a living peer that claims nothing, needs no caution: who can say so has let go, and whoever is first takes
it at once. But a node that nobody hears may be that first one. While there is such a node the neighbours are asked
after a release as well, and their answer is waited for unless the release is of this very moment.
"""

from __future__ import annotations

from collections.abc import Iterator

from haagent.core.events import Watch
from haagent.core.group.state import Group
from haagent.core.group.transitions import TRYING, GroupState
from haagent.core.membership import NEVER, SUSPECT_INTERVALS, Peer
from haagent.core.messages import Ballot, GroupBeat, Heartbeat
from haagent.core.node_state import NodeState
from haagent.core.settings import LEADER

MAY_TAKE = (GroupState.IDLE, *TRYING)


def hear(group: Group, sender: Heartbeat, beat: GroupBeat) -> None:
    if beat.claim is not None and beat.held_ms > 0 and beat.claim.node == sender.node:
        held(group, beat.claim)


def held(group: Group, ballot: Ballot) -> None:
    last = group.caution.last_held
    group.caution.last_held = ballot if last is None else max(last, ballot)


# --- who may have it


def lost_holder(group: Group, state: NodeState, now: float) -> str:
    """The last holder, if it went silent without a release and nobody has made sure that it is down."""
    last = group.caution.last_held
    if last is None or last.node == state.settings.me or state.orders.is_down(last.node):
        return ""
    released = group.voter.released.get(last.node)
    if released is not None and released >= last:
        return ""
    peer = state.membership.peers.get(last.node)
    return last.node if peer is not None and not _disclaims(group, peer, now) else ""


def _is_somebody_lost(state: NodeState, now: float) -> bool:
    """One that could take what is free, and that we would not hear doing so."""
    return any(peer.name not in state.witnesses and not peer.is_stopping for peer in _missing(state, now))


def _missing(state: NodeState, now: float) -> Iterator[Peer]:
    """Who is not heard, and not known to be down."""
    for peer in state.membership.peers.values():
        if not peer.is_alive(now) and not state.orders.is_down(peer.name):
            yield peer


def _disclaims(group: Group, peer: Peer, now: float) -> bool:
    if peer.speaks_of(group.name, now):
        return peer.groups[group.name].claim is None
    return peer.is_alive(now) and group.name not in peer.groups and peer.whole_seq > 0


def vanished(group: Group, state: NodeState, now: float) -> tuple[str, ...]:
    """Whom to fence before taking. A node that we have never heard may hold it as well: we know nothing of it."""
    if group.name == LEADER:
        return ()
    lost = lost_holder(group, state, now)
    return tuple(
        peer.name
        for peer in _missing(state, now)
        if peer.name in state.settings.fenced and (peer.name == lost or peer.heard_at == NEVER)
    )


def _unheard(group: Group, state: NodeState, now: float) -> str:
    """Hosts that boot together must not fence each other: the first one up gives the others time to be heard."""
    if now >= state.born + state.settings.alone_after_s:
        return ""
    peers = state.membership.peers
    names = [name for name in vanished(group, state, now) if peers[name].heard_at == NEVER]
    return f"it waits to hear from {' and '.join(names)} before it fences" if names else ""


# --- the neighbours


def hear_word(group: Group, word: str) -> None:
    if group.caution.is_watching:
        group.caution.word = word


def obstacle(group: Group, state: NodeState, now: float) -> str:
    """Why it is not taken yet, or not by us. A successor that the holder has named need not ask."""
    if why := _unheard(group, state, now):
        return why
    caution = group.caution
    if not caution.is_watching:
        return ""
    if caution.word is None:
        is_late = now >= caution.watched_since + state.settings.lease_s
        is_fresh = now < caution.free_since + state.slot_s and caution.last_held is not None
        return "" if is_late or is_fresh else "it asks whether anybody still answers for the addresses"
    return caution.word


def advance(group: Group, state: NodeState, now: float) -> None:
    caution = group.caution
    may_take = group.state in MAY_TAKE
    lost = lost_holder(group, state, now)
    if lost or not may_take:
        caution.free_since = NEVER
    elif caution.free_since == NEVER:
        caution.free_since = now
    wanted = may_take and _is_doubtful(group, state, now, lost)
    if wanted == caution.is_watching:
        return
    caution.is_watching, caution.word, caution.watched_since = wanted, None, now
    state.do(Watch(group.name, wanted))


def _is_doubtful(group: Group, state: NodeState, now: float, lost: str) -> bool:
    settings = state.settings
    if not settings.arp_guard or settings.consistent or group.name == LEADER:
        return False
    if state.unfitness(settings.me, now):
        return False
    if group.caution.last_held is None:
        return not group.was_found
    if lost:
        return now >= _suspect_at(group, state)
    return not group.why_unfit and _is_somebody_lost(state, now)


def _suspect_at(group: Group, state: NodeState) -> float:
    last = group.caution.last_held
    peer = state.membership.peers.get(last.node) if last is not None else None
    return NEVER if peer is None else peer.heard_at + SUSPECT_INTERVALS * state.settings.interval_s


def due(group: Group, state: NodeState) -> list[float]:
    settings = state.settings
    due = [state.born + settings.alone_after_s] if settings.fenced else []
    if settings.arp_guard and not settings.consistent:
        due += [_suspect_at(group, state), group.caution.watched_since + settings.lease_s]
    return due
