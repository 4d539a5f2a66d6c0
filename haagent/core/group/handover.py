"""Handing a group over while it is served: to whom, why, and when to let go.

The holder names its successor; the successor announces its want while the group is still served here, which shows that
it is alive and ready. Only then does the holder let go.

What it will say when it has let go is known before: that the group is released, and that its vote is now the
successor's. These words are left with the shell (`farewell`), which says them the moment the addresses are shut. What
they state is true from the next decision on: the vote is given when `Dropped` comes (`redeem`).
"""

from __future__ import annotations

import msgspec

from haagent.core import placement, votes
from haagent.core.event_kinds import Kind
from haagent.core.events import Prepare
from haagent.core.group import choice, ownership
from haagent.core.group.choice import Among
from haagent.core.group.state import Group, Pledge
from haagent.core.group.transitions import HAVING
from haagent.core.group.wants import HandOver, LetGo, Stay
from haagent.core.membership import NEVER, Peer
from haagent.core.messages import Accepted, Ballot, GroupBeat
from haagent.core.node_state import NodeState

# So long a node must have had failing checks that weigh more than another's before it hands over. The same fault often
# shows on all nodes, but their checks are not asked at the same moment: two rounds of them, at the default interval.
LIGHTER_S = 2.0


def best_other(group: Group, state: NodeState, now: float, *, may_wait: bool = False) -> str:
    """`may_wait`: also one that has just started and has no vote yet."""
    others = choice.ranked(group, state, now, Among.SOON if may_wait else Among.NOW)
    return next((name for name in others if name != state.settings.me), "")


def consider(group: Group, state: NodeState, now: float) -> HandOver | LetGo | None:
    """While it is served here: to whom it should go, if to anybody."""
    if why := why_leaving(group, state):
        if successor := best_other(group, state, now):
            return HandOver(successor, _patience_s(state))
        if successor := best_other(group, state, now, may_wait=True):
            silence_s = state.membership.peers[successor].silent_ms / 1000
            return HandOver(successor, _patience_s(state) + silence_s)
        return LetGo(f"{why}; no other node can take it")
    if state.orders.in_maintenance:
        return None
    return _ordered(group, state, now) or _relief(group, state, now) or _failback(group, state, now)


def _patience_s(state: NodeState) -> float:
    """With a successor that nobody has ordered."""
    return max(1.0, 3 * state.settings.interval_s)


def why_leaving(group: Group, state: NodeState) -> str:
    """Why this node must hand it over; empty: it need not."""
    if state.orders.in_maintenance:
        return ""  # nothing moves; a stop leaves everything in place
    if state.is_stopping:
        return "this node is stopping"
    if state.orders.is_standby(state.settings.me):
        return "this node is in standby"
    return "`never` names this node" if state.settings.me in group.settings.never else ""


def _ordered(group: Group, state: NodeState, now: float) -> HandOver | None:
    order = state.orders.move(now, group.name)
    if order is None or order.ballot is None or order.target in ("", state.settings.me):
        return None
    is_ours = group.attempt.tenure <= order.ballot <= group.attempt.ballot
    return HandOver(order.target, order.ttl_ms / 1000) if is_ours else None


def _relief(group: Group, state: NodeState, now: float) -> HandOver | None:
    """To a node whose failing checks weigh less, unless an operator has insisted on this one."""
    mine = group.handover
    found = None
    if group.penalty and not group.is_forced:
        found = placement.lighter(group.settings, state.settings.me, choice.candidates(group, state, now))
    if found is None:
        mine.lighter_since = NEVER
        return None
    if mine.lighter_since == NEVER:
        mine.lighter_since = now
    if now < mine.lighter_since + LIGHTER_S:
        return None
    mine.lighter_since = now  # if it does not take now, ask again after the same time
    why = f"failing checks weigh {group.penalty} here and {found.penalty} there"
    return HandOver(found.name, _patience_s(state), why)


def _failback(group: Group, state: NodeState, now: float) -> HandOver | None:
    after_s, since = group.settings.failback_after_s, group.handover.better_since
    if after_s is None:
        return None
    better = placement.should_yield(group.settings, state.settings.me, choice.candidates(group, state, now))
    if not better:
        since.clear()
        return None
    if now < since.setdefault(better, now) + after_s:
        return None
    since[better] = now  # if it does not take now, ask again after the same time
    return HandOver(better, _patience_s(state))


def begin(group: Group, state: NodeState, now: float, want: HandOver) -> None:
    group.handover.to, group.handover.deadline = want.to, now + want.patience_s
    why = f": {want.why}" if want.why else ""
    state.note(Kind.YIELDING, group.name, f"handing over to {want.to}{why}", now=now)
    state.do(Prepare(group.name))
    state.urge()


def proceed(group: Group, state: NodeState, now: float) -> LetGo | Stay | None:
    """Rule 4 of `election`: let go as soon as the successor wants."""
    to = group.handover.to
    for peer, beat in votes.counted(state, now, group.name):
        if peer.name == to and beat.want is not None and beat.want > group.attempt.ballot:
            _pledge_vote(group, state, now, peer, beat.want)
            return LetGo(f"{to} is ready")
    if now < group.handover.deadline and not state.unfitness(to, now):
        return None
    return LetGo(f"leaving; {to} did not get ready in time") if why_leaving(group, state) else Stay()


def end(group: Group, state: NodeState, now: float) -> None:
    """The group stays."""
    to = group.handover.to
    state.note(Kind.STAYS, group.name, f"{to} did not get ready; the group stays here", now=now)
    order = state.orders.move(now, group.name)
    if order is not None and order.target == to:  # not a newer one, to somebody else
        state.order(now, f"move/{group.name}", on=False)
    group.handover.to = ""
    state.urge()


def _pledge_vote(group: Group, state: NodeState, now: float, peer: Peer, want: Ballot) -> None:
    if peer.beat is None or peer.boot is None or not state.may_vote_on(group, now):
        return
    addresses = peer.groups[group.name].addresses
    is_theirs = ownership.may_bind(group, state, now, (peer.name, peer.boot), addresses)
    if is_theirs and group.voter.may_be_handed(want):
        vote = Accepted(want, peer.boot, peer.told[group.name].seq)
        group.handover.pledge = Pledge(vote, now, peer.beat.lease_ms / 1000, addresses)


def farewell(group: Group, now: float) -> GroupBeat | None:
    """What `Group.beat` will be as soon as the group is let go; None: that is not known."""
    if group.handover.pledge is None or group.state not in HAVING:
        return None
    vote = group.handover.pledge.vote
    return msgspec.structs.replace(
        group.beat(now),
        promised=vote.ballot,
        accepted=vote,
        addresses=group.handover.pledge.addresses,
        claim=None,
        released=group.attempt.ballot,
        tenure=None,
        held_ms=0,
        cause="",
        leaving=False,
    )


def redeem(group: Group, state: NodeState, now: float) -> None:
    """The group is released: the vote that was pledged for that moment.

    It took some time. So it goes to what the successor has said last, if that one still wants the group; else it
    binds us for no longer than the successor can count on it: from when it was pledged.
    """
    pledge, group.handover.pledge = group.handover.pledge, None
    if pledge is None:
        return
    vote, since = pledge.vote, pledge.since
    for peer, beat in votes.counted(state, now, group.name):
        said = (peer.name, peer.boot, beat.want, beat.addresses)
        if said == (vote.ballot.node, vote.boot, vote.ballot, pledge.addresses):
            vote, since = Accepted(vote.ballot, vote.boot, peer.told[group.name].seq), now
    group.voter.accept(since, vote, lease_s=pledge.lease_s, addresses=pledge.addresses)
