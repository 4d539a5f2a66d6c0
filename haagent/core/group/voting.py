"""What this node, as a voter, gives to those that want a group. `voter` has what binds it, and why that is safe."""

from __future__ import annotations

from haagent.core import credible, reserved, votes
from haagent.core.group import choice, ownership
from haagent.core.group.state import Group
from haagent.core.group.transitions import HAVING
from haagent.core.messages import Accepted, Ballot, GroupBeat, Heartbeat
from haagent.core.node_state import NodeState


def hear(group: Group, state: NodeState, now: float, sender: Heartbeat, beat: GroupBeat) -> None:
    if not state.may_vote_on(group, now) or not votes.may_have_ours(state, state.membership.peers[sender.node], now):
        return
    if beat.claim is not None and credible.is_lease_credible(state, sender.lease_ms):
        is_theirs = ownership.may_bind(group, state, now, (sender.node, sender.boot), beat.addresses)
        if is_theirs and group.voter.hear_claim(now, beat, sender):
            state.urge()
    consider_want(group, state, now, sender.node, beat)


def consider_want(group: Group, state: NodeState, now: float, node: str, beat: GroupBeat) -> None:
    if group.state in HAVING:
        return
    if state.orders.in_maintenance and group.service.by not in ("", node):
        return  # frozen: only who had it may have it back
    if reserved.is_kept_from(state, group.name, node):
        return
    if group.voter.hear_want(now, beat, node):
        state.urge()
        _favour(group, state, now, node)


def _favour(group: Group, state: NodeState, now: float, node: str) -> None:
    """Rule 7 of `election`."""
    is_chosen = node == group.handover.to and now < group.candidacy.courteous_until
    is_first = group.voter.was_freed and node == next(iter(choice.ranked(group, state, now)), "")
    peer = state.membership.peers.get(node)
    if not (is_chosen or is_first) or peer is None or peer.boot is None or peer.beat is None:
        return
    assert group.voter.promised is not None  # this very want
    offer = Accepted(group.voter.promised, peer.boot, peer.told[group.name].seq)
    addresses = peer.groups[group.name].addresses
    if ownership.may_bind(group, state, now, (node, peer.boot), addresses):
        group.voter.accept(now, offer, lease_s=peer.beat.lease_ms / 1000, addresses=addresses)


def reconsider_wants(group: Group, state: NodeState, now: float) -> None:
    """A want that came while we were bound is granted the moment we are free."""
    if not state.may_vote_on(group, now) or group.voter.is_bound(now):
        return
    beats = state.beats(now, group.name)
    wanting = [(peer.name, beat) for peer, beat in beats if beat.want and votes.may_have_ours(state, peer, now)]
    for node, beat in sorted(wanting, key=lambda item: item[1].want or Ballot(0, ""), reverse=True):
        consider_want(group, state, now, node, beat)
