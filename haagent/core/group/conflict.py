"""Two holders of one group: who lets go.

It happens in `available` only, to nodes that were cut from each other. Of two, the one whose name sorts first decides
for both by `placement.winner`: it lets go, or it stays. The other lets go when it sees the judge still claiming in a
heartbeat that answers one in which it claimed itself, and of which the judge has heard all. One decider, so never both
and never neither. (While slices of the claim are still under way the answer is the next heartbeat.) Where one does not
hear the other, the one that hears lets go: nobody else can.
"""

from __future__ import annotations

from haagent.core import placement
from haagent.core.event_kinds import Kind
from haagent.core.events import Announce
from haagent.core.group.state import Group
from haagent.core.group.transitions import HOLDING
from haagent.core.group.wants import LetGo
from haagent.core.membership import NEVER
from haagent.core.messages import Ballot, GroupBeat, Heartbeat
from haagent.core.node_state import NodeState
from haagent.core.placement import Contender


def hear(group: Group, state: NodeState, now: float, sender: Heartbeat, beat: GroupBeat) -> LetGo | None:
    conflict = group.conflict
    rival_holds = beat.claim is not None and beat.held_ms > 0 and not beat.leaving
    if not rival_holds:
        if conflict.since.pop(sender.node, None) is not None and group.state in HOLDING:
            state.do(Announce(group.name, f"{sender.node} had claimed it too and has released it"))
        return None
    if group.state not in HOLDING:
        return None
    silence_s = now - conflict.heard_at.get(sender.node, NEVER)
    conflict.heard_at[sender.node] = now
    is_news = sender.node not in conflict.since or silence_s > state.settings.lease_s
    if is_news:
        conflict.since[sender.node] = now
        conflict.answers[sender.node] = state.next_seq
        state.urge()  # the rival decides by what our next heartbeat echoes
        state.note(Kind.CONFLICT, group.name, f"{sender.node} claims {group.name} as well", now=now)
    if _loses_to(group, state, now, sender, beat):
        return LetGo(f"{sender.node} holds it too and keeps it", yield_to=sender.node)
    if is_news:
        state.do(Announce(group.name, f"{sender.node} claims it too"))
    return None


def _loses_to(group: Group, state: NodeState, now: float, rival: Heartbeat, beat: GroupBeat) -> bool:
    me = state.settings.me
    if state.settings.consistent:
        return False  # our lease is proved, so its own has run out: it is late, or its word is
    peer = state.membership.peers[rival.node]
    if not peer.is_alive(now):
        # Its word may be an old one; or it does not hear us, and then only we can end this.
        return now >= group.conflict.since[rival.node] + state.settings.lease_s
    if me < rival.node:
        their_tenure = beat.tenure or beat.claim or Ballot(0, rival.node)
        mine = Contender(me, state.gateway, group.attempt.tenure.round)
        theirs = Contender(rival.node, rival.gateway, their_tenure.round)
        return placement.winner(group.settings, mine, theirs) != me
    judged_from = max(group.held_seq, group.conflict.answers[rival.node])
    return peer.known_seq >= judged_from
