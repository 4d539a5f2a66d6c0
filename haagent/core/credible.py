"""What is believed of an authentic heartbeat: what its sender may say, and no more.

The seal proves that a member has spoken, not that its host is still its owner's. One heartbeat with a round near the
end of all numbers would otherwise be the end of the cluster: everybody would go on from there, beyond the bounds of a
heartbeat, and nobody would take in what anybody says. So it is cut down, once, before anything else reads it:

1.  A node's own round is moved by at most `LEAP` by one heartbeat, and a ballot that is still above it means nothing:
    it is neither promised, nor accepted, nor does it outbid anybody. A node that is far behind catches up within a few
    heartbeats; a member that wants to wear the numbers out needs years.
2.  A witness never holds anything. What it says as a candidate means nothing. What it has promised moves nobody's
    round by itself: who needs its vote goes above that promise, and by at most `STEP` each time
    (`NodeState.next_round`), so that others, who may have been told something else by it, can follow. And it outbids a
    candidate only while there is no majority without it (`counting.is_behind`).
3.  A lease that is far longer than ours gets no vote, and nobody keeps silent for it after a restart, nor for one
    of which a member tells: it would bind us for as long as it likes.

So whatever a node hears, its own heartbeats stay within the bounds. The same holds for what an operator orders
(`registers`), for who votes (`agreement`), for the echo (`membership`), and for what is remembered.

Safety does not need any of this: a ballot that is ignored is a vote not given. What no bound can prevent is that a
voter votes for two.
"""

from __future__ import annotations

import operator

import msgspec

from haagent.core.limits import LEAP
from haagent.core.messages import Ballot, GroupBeat, Heartbeat
from haagent.core.node_state import NodeState


def believed(state: NodeState, beat: Heartbeat) -> Heartbeat:
    """Moves our own round on."""
    is_candidate = beat.node not in state.witnesses
    may_want = is_lease_credible(state, beat.lease_ms)
    if not may_want:
        state.membership.refuse("lease")
    said, groups = _highest_round(beat), beat.groups
    if is_candidate:
        state.see_round(min(said, state.round + LEAP))
    highest = state.round if is_candidate else state.round + LEAP
    if said > highest or not (is_candidate and may_want):  # else there is nothing to cut, in however many groups
        groups = tuple(_cut(group, highest, may_want=may_want, is_candidate=is_candidate) for group in groups)
    heard_ms, told_ms = (_credible_lease(state, ms) for ms in (beat.heard_lease_ms, beat.told_lease_ms))
    is_whole = all(map(operator.is_, groups, beat.groups))
    if is_whole and (heard_ms, told_ms) == (beat.heard_lease_ms, beat.told_lease_ms):
        return beat
    state.membership.refuse("incredible")
    return msgspec.structs.replace(beat, groups=groups, heard_lease_ms=heard_ms, told_lease_ms=told_ms)


def is_lease_credible(state: NodeState, lease_ms: int) -> bool:
    return lease_ms <= 1000 * state.longest_credible_lease_s


def _credible_lease(state: NodeState, lease_ms: int) -> int:
    return lease_ms if is_lease_credible(state, lease_ms) else 0


def _highest_round(beat: Heartbeat) -> int:
    highest = beat.agreed.term.round if beat.agreed is not None else 0
    for said in beat.groups:
        for ballot in (said.promised, said.want, said.claim, said.released):
            if ballot is not None and ballot.round > highest:
                highest = ballot.round
    return highest


def _cut(said: GroupBeat, highest: int, *, may_want: bool, is_candidate: bool) -> GroupBeat:
    promised = _up_to(highest, said.promised)
    want = _up_to(highest, said.want) if is_candidate and may_want else None
    claim = _up_to(highest, said.claim) if is_candidate else None
    released = _up_to(highest, said.released) if is_candidate else None
    is_sound = promised is said.promised and want is said.want and released is said.released
    if is_sound and claim is said.claim and (is_candidate or not said.yield_to):
        return said
    said = msgspec.structs.replace(said, promised=promised, want=want, claim=claim, released=released)
    if claim is not None or (is_candidate and released is not None):
        return said
    return msgspec.structs.replace(said, tenure=None, active=False, held_ms=0, yield_to="", leaving=False)


def _up_to(highest: int, ballot: Ballot | None) -> Ballot | None:
    return ballot if ballot is None or ballot.round <= highest else None
