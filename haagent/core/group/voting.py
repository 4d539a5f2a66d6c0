"""What this node, as a voter, gives to those that want a group. `voter` has what binds it, and why that is safe."""

from __future__ import annotations

from haagent.core.group import choice
from haagent.core.group.state import Group
from haagent.core.group.transitions import HOLDING, GroupState
from haagent.core.messages import Accepted, Ballot, GroupBeat, Heartbeat
from haagent.core.node_state import NodeState


def hear(group: Group, scene: NodeState, now: float, sender: Heartbeat, beat: GroupBeat) -> None:
    if not group.may_vote(scene, now):
        return
    if group.voter.hear_claim(now, beat, sender):
        scene.urge()
    consider_want(group, scene, now, sender.node, beat)


def consider_want(group: Group, scene: NodeState, now: float, node: str, beat: GroupBeat) -> None:
    if group.state in HOLDING or group.state is GroupState.DROPPING:
        return
    if scene.orders.in_maintenance and group.service.by not in ("", node):
        return  # frozen: only who had it may have it back
    if group.voter.hear_want(now, beat, node):
        scene.urge()
        _favour(group, scene, now, node)


def _favour(group: Group, scene: NodeState, now: float, node: str) -> None:
    """Rule 7 of `election`."""
    is_chosen = node == group.handover.to and now < group.candidacy.courteous_until
    is_first = group.voter.was_freed and node == next(iter(choice.ranked(group, scene, now)), "")
    peer = scene.membership.peers.get(node)
    if not (is_chosen or is_first) or peer is None or peer.boot is None or peer.beat is None:
        return
    assert group.voter.promised is not None  # this very want
    offer = Accepted(group.voter.promised, peer.boot, peer.seq)
    group.voter.accept(now, offer, lease_s=peer.beat.lease_ms / 1000)


def reconsider_wants(group: Group, scene: NodeState, now: float) -> None:
    """A want that came while we were bound is granted the moment we are free."""
    if not group.may_vote(scene, now) or group.voter.is_bound(now):
        return
    wanting = [(peer.name, beat) for peer, beat in scene.beats(now, group.name) if beat.want]
    for node, beat in sorted(wanting, key=lambda item: item[1].want or Ballot(0, ""), reverse=True):
        consider_want(group, scene, now, node, beat)
