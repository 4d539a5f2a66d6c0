"""The votes of the others: whether a majority has promised or accepted, and whether somebody else is ahead."""

from __future__ import annotations

from haagent.core import votes
from haagent.core.group import arbitration, candidacy
from haagent.core.group.lease import acceptances
from haagent.core.group.state import Group
from haagent.core.group.transitions import HOLDING
from haagent.core.membership import NEVER
from haagent.core.messages import Accepted
from haagent.core.node_state import NodeState


def is_outbid(group: Group, state: NodeState, now: float) -> bool:
    """A living voter has promised a ballot above ours."""
    return bool(_ahead(group, state, now))


def is_behind(group: Group, state: NodeState, now: float) -> bool:
    """It does not matter that only witnesses are ahead, if there is a majority without them."""
    ahead = _ahead(group, state, now)
    if not ahead or not ahead <= {*state.witnesses}:
        return bool(ahead)
    electorate, needed = votes.electorate(state, now, group.name, is_held=group.state in HOLDING)
    able = {peer.name for peer, _ in votes.counted(state, now, group.name) if not peer.silent_ms} | {state.settings.me}
    return len((able - ahead) & {*electorate}) < needed


def _ahead(group: Group, state: NodeState, now: float) -> set[str]:
    ballot = group.attempt.ballot
    said = votes.counted(state, now, group.name)
    return {peer.name for peer, beat in said if beat.promised is not None and beat.promised > ballot}


def has_promises(group: Group, state: NodeState, now: float) -> bool:
    ballot = group.attempt.ballot
    promises = {state.settings.me: group.voter.promised}
    promises |= {peer.name: beat.promised for peer, beat in votes.counted(state, now, group.name)}
    electorate, needed = votes.electorate(state, now, group.name, is_held=False)
    return sum(promises.get(name) == ballot for name in electorate) >= needed


def is_forestalled(group: Group, state: NodeState, now: float) -> bool:
    """Somebody else is ahead. Of two that claim at once the arbiter chooses; voters may choose neither."""
    if not state.votes_count:
        return bool(candidacy.holder_elsewhere(group, state, now))
    return is_behind(group, state, now) or candidacy.is_claimed(group, now)


def renew(group: Group, state: NodeState, now: float) -> bool:
    """Count the acceptances. True when the lease grew."""
    if not state.votes_count:
        return group.attempt.count({"": group.arbitration.granted_at}, [""], needed=1)
    accepted: list[tuple[str, Accepted | None]] = [(state.settings.me, group.voter.accepted)]
    accepted += [(peer.name, beat.accepted) for peer, beat in votes.counted(state, now, group.name)]
    sent = acceptances(group.attempt, state.membership, accepted)
    if max(sent.values(), default=NEVER) <= group.attempt.proved_at:
        return False
    electorate, needed = votes.electorate(state, now, group.name, is_held=group.state in HOLDING)
    if arbitration.is_in_force(group, state, now):  # no vote is worth more than the arbiter's
        sent = {name: min(at, group.arbitration.granted_at) for name, at in sent.items()}
    elif not state.settings.consistent:
        heard_at = _heard_by_starters(group, state, now)
        sent = {name: min(at, heard_at) for name, at in sent.items()}
    return group.attempt.count(sent, electorate, needed=needed)


def _heard_by_starters(group: Group, state: NodeState, now: float) -> float:
    """Who has just started has no vote and does not count, but may take when its silence is over: a lease after the
    last that it has heard of this one. So what it has not echoed proves nothing. (A node that is held up between its
    decision and its heartbeat counted on a lease of which nobody knew.)"""
    claimed_at = NEVER if group.state in HOLDING else group.claim_deadline - state.settings.lease_s
    echoed = [
        state.membership.sent_at(state.boot, peer.echoed_seq) or NEVER
        for peer in state.membership.alive(now)
        if peer.silent_ms and peer.name not in state.witnesses
    ]
    heard_at = min(echoed, default=float("inf"))
    return heard_at if heard_at >= claimed_at else NEVER
