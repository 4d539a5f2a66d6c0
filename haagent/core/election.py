"""One group on one node: when to try, when to take, when to let go.

`group.transitions` has the states and the arcs between them; whoever decides (`candidacy`, `handover`, ...) returns
what it wants, and it is done here. Rules, each of which some test would miss:

1.  Before anything else in every step, a holder whose proof is spent begins to let go (`expire`).
2.  A ballot is released only after the shell has said that no traffic can arrive any more (`Dropped`). Until then the
    claim stands and keeps the voters bound.
3.  The first candidate in the order of `placement` tries at once, the others wait a slot for each that is before them.
4.  A planned move names its successor (`yield_to`). The successor announces its want while the group is still served;
    that is how the holder knows that it is alive and ready. Only then does the holder let go, and the same heartbeat
    that releases carries the holder's vote for the waiting want (`handover.farewell`).
5.  A holder that sees a living voter bound by a promise above its own ballot raises its ballot in place. It may: a
    voter bound to this holder accepts any higher ballot of the same holder, and nobody else can have a majority.
6.  Two holders after a healed partition (`available` only): see `conflict`.
7.  Who has let go in favour of a successor accepts that one's want at once, in the heartbeat that releases, instead of
    only promising: with its own vote the successor then has a majority of two or three, one message after the release
    instead of three. So does a voter whom a holder's release has freed (its last words as well), for the node that is
    its own first choice. That binds this voter as any acceptance does, from the receipt of the want; so a want that is
    given up is released like a claim.
"""

from __future__ import annotations

from haagent.core import events
from haagent.core.event_kinds import Kind
from haagent.core.events import Drop, Prepare, Renew, Take
from haagent.core.group import arbitration, candidacy, caution, conflict, counting, handover, ownership, voting
from haagent.core.group.lease import Lease
from haagent.core.group.state import Group, Handover
from haagent.core.group.transitions import HAVING, HOLDING, TRYING, GroupState
from haagent.core.group.wants import HandOver, LetGo, RaiseBallot, Stay, StepBack, Want
from haagent.core.limits import MAX_TEXT
from haagent.core.membership import NEVER, Peer
from haagent.core.messages import Accepted, Ballot, GroupBeat, Heartbeat
from haagent.core.node_state import NodeState

RETRY_S = (1.0, 60.0)  # after failed activations: doubled from the first to the second


# ------------------------------------------------------------------ hearing


def hear(group: Group, state: NodeState, now: float, sender: Heartbeat, beat: GroupBeat) -> None:
    """A new view of a confirmed life."""
    if group.voter.hear_release(beat, sender.node, sender.boot):
        group.candidacy.free_since = now
    group.service.hear(now, sender.node, beat)
    candidacy.hear(group, state, now, sender, beat)
    caution.hear(group, sender, beat)
    arbitration.hear(group, state, sender, beat)
    voting.hear(group, state, now, sender, beat)
    _do(group, state, now, conflict.hear(group, state, now, sender, beat))


# ------------------------------------------------------------------ what was decided


def _do(group: Group, state: NodeState, now: float, want: Want | None) -> None:
    match want:
        case LetGo(why, yield_to):
            drop(group, state, now, why, yield_to=yield_to)
        case HandOver():
            group.become(GroupState.YIELDING)
            handover.begin(group, state, now, want)
        case Stay():
            group.become(GroupState.ACTIVE)
            handover.end(group, state, now)
        case StepBack():
            _step_back(group, state, now)
        case RaiseBallot():
            _raise_ballot(group, state)


# ------------------------------------------------------------------ what the shell reports


def told(group: Group, state: NodeState, now: float, event: events.AnyGroupEvent) -> None:
    match event:
        case events.HealthChanged(_, ok, why, penalty):
            _judge_health(group, state, now, "" if ok else why[:MAX_TEXT] or "a check fails", penalty)
        case events.Taken(_, ballot):
            _taken(group, state, now, ballot)
        case events.TakeFailed(_, ballot, error):
            _take_failed(group, state, now, ballot, error)
        case events.Dropped(_, ballot):
            _dropped(group, state, now, ballot)
        case events.AddressFound():
            group.was_found = True
        case events.Guarded(_, why):
            caution.hear_word(group, why[:MAX_TEXT])
        case events.Granted(_, ballot, asked_at, addresses):
            arbitration.grant(group, state, ballot, asked_at, addresses)
        case events.Denied(_, ballot, stored, is_bound):
            _do(group, state, now, arbitration.deny(group, state, now, ballot, stored, is_bound=is_bound))


def _judge_health(group: Group, state: NodeState, now: float, why_unfit: str, penalty: int) -> None:
    if group.why_unfit != why_unfit:
        text = f"not fit to hold it: {why_unfit}" if why_unfit else "fit to hold it again"
        state.note(Kind.UNFIT if why_unfit else Kind.FIT, group.name, text, now=now)
    if (group.why_unfit, group.penalty) != (why_unfit, penalty):
        group.why_unfit, group.penalty = why_unfit, penalty
        state.urge()


def _taken(group: Group, state: NodeState, now: float, ballot: Ballot) -> None:
    if group.state is not GroupState.TAKING or group.attempt.tenure != ballot:
        return  # the answer to a take that was dropped meanwhile
    group.become(GroupState.ACTIVE)
    group.served_seq = state.next_seq
    group.was_found = group.is_disowned = False
    state.left.pop(group.name, None)
    caution.held(group, ballot)
    gap = group.service.begins(now, state.settings.me)
    state.note(Kind.TAKEN, group.name, f"active here: {group.cause}{gap}", now=now)
    state.urge()


def _take_failed(group: Group, state: NodeState, now: float, ballot: Ballot, error: str) -> None:
    if group.state not in HOLDING or group.attempt.tenure != ballot:
        return
    group.failures.append(now)
    retry_s = min(RETRY_S[1], RETRY_S[0] * 2.0 ** min(len(group.failures) - 1, 16))
    what = f"activation failed: {error}; this node tries again in {retry_s:.0f} s"
    state.note(Kind.FAILED, group.name, what, now=now)
    _release(group, state, now)
    candidacy.let_others(group, now, wait_s=retry_s)


def _dropped(group: Group, state: NodeState, now: float, ballot: Ballot) -> None:
    if group.is_disowned and not ballot.round:
        group.was_found = group.is_disowned = False
        state.urge()
    if group.state not in HAVING or group.attempt.tenure != ballot:
        return
    if group.state in HOLDING:  # activation let go by itself
        group.service.ends(now, state.settings.me)
        group.drop_began = now
        why = "without a request: a reload removed the group, or its lease ended before it was renewed"
        state.note(Kind.DROPPED, group.name, why, now=now)
    _release(group, state, now)


def _release(group: Group, state: NodeState, now: float) -> None:
    group.become(GroupState.IDLE)
    group.released, group.lease = group.attempt.ballot, None
    group.was_found = group.is_disowned = False
    arbitration.relinquish(group, state, group.released)
    group.voter.hear_release(group.beat(now), state.settings.me, state.boot)
    handover.redeem(group, state, now)
    group.held_since = NEVER
    group.candidacy.free_since = now
    # Whoever let go gives the others one lease's time to take it.
    group.candidacy.courteous_until = now + state.settings.lease_s
    group.conflict.since.clear()
    state.urge()


# ------------------------------------------------------------------ letting go


def expire(group: Group, state: NodeState, now: float) -> None:
    """Rule 1."""
    if group.state in HOLDING and now >= group.attempt.let_go_at:
        left_ms = 1000 * (group.attempt.ends_at - now)
        what = f"{left_ms:.0f} ms before the lease ends" if left_ms >= 0 else f"{-left_ms:.0f} ms too late"
        drop(group, state, now, f"no majority renewed the lease; releasing the group {what}")


def drop(group: Group, state: NodeState, now: float, why: str, *, yield_to: str = "") -> None:
    if group.state not in HOLDING:
        return
    if group.state is not GroupState.TAKING:
        group.service.ends(now, state.settings.me)
    group.become(GroupState.DROPPING)
    group.drop_began = now
    group.handover.to = yield_to or group.handover.to
    state.do(Drop(group.name, group.attempt.tenure, why))
    state.note(Kind.DROPPED, group.name, why, now=now)


def abandon(group: Group, state: NodeState, now: float) -> None:
    """Stop trying."""
    if group.state not in TRYING:
        return
    group.released = group.attempt.ballot  # some voter may have accepted: free it
    if group.state is GroupState.CLAIMING:
        arbitration.relinquish(group, state, group.released)
    group.voter.hear_release(group.beat(now), state.settings.me, state.boot)
    group.become(GroupState.IDLE)
    group.lease = None
    state.urge()


# ------------------------------------------------------------------ the fixed point of every step


def advance(group: Group, state: NodeState, now: float) -> None:
    _forget_failures(group, state, now)
    caution.advance(group, state, now)
    if group.state in HOLDING:
        _keep(group, state, now)
    elif group.state is not GroupState.DROPPING:
        _disown_leftovers(group, state, now)
        voting.reconsider_wants(group, state, now)
        _strive(group, state, now)


def _disown_leftovers(group: Group, state: NodeState, now: float) -> None:
    """Addresses of an earlier life are kept only while maintenance reserves the group for them."""
    if group.is_disowned or not group.was_found:
        return
    if not state.orders.in_maintenance or candidacy.holder_elsewhere(group, state, now):
        group.is_disowned = True
        state.do(Drop(group.name, Ballot(0, state.settings.me), "an earlier life of this agent left it here"))


def _forget_failures(group: Group, state: NodeState, now: float) -> None:
    if (version := state.orders.cleared(group.name)) != group.cleared:
        group.cleared = version
        group.failures.clear()
        group.candidacy.not_before = NEVER
    if not group.failures:
        return
    expiry_s = state.settings.failure_expiry_s
    group.failures = [instant for instant in group.failures if now < instant + expiry_s]


# --- as a candidate


def _strive(group: Group, state: NodeState, now: float) -> None:
    is_new = False
    if group.state is GroupState.IDLE:
        candidacy.reckon(group, state, now)
        is_new = now >= group.candidacy.try_at
    if is_new:
        _want(group, state, now)
    if group.state in TRYING:
        ownership.advance(group, state, now)
    if group.state is GroupState.WANTING:
        _collect_promises(group, state, now)
    if group.state is GroupState.CLAIMING:
        _collect_acceptances(group, state, now)
    if is_new and group.state in TRYING and candidacy.is_successor(group, state, now):
        state.do(Prepare(group.name))


def _want(group: Group, state: NodeState, now: float) -> None:
    ballot = Ballot(state.next_round(group), state.settings.me)
    group.become(GroupState.WANTING)
    group.lease = Lease.begin(state.settings, ballot)
    arbitration.begin(group)
    ownership.begin(group, state, now)
    group.cause = candidacy.explain(group, state, now)
    group.is_forced = candidacy.is_forced(group, state, now)
    state.urge()


def _collect_promises(group: Group, state: NodeState, now: float) -> None:
    is_taken = candidacy.is_claimed(group, now) and not candidacy.is_successor(group, state, now)
    if candidacy.obstacle(group, state, now) or is_taken:
        abandon(group, state, now)
        return
    if not state.votes_count:
        if not candidacy.is_claimed(group, now):  # else we are the successor, and the holder waits for our want
            _claim(group, state, now)
        return
    ballot = group.attempt.ballot
    voting.consider_want(group, state, now, ballot.node, GroupBeat(group.name, want=ballot))
    is_ahead = group.voter.promised is not None and group.voter.promised > ballot
    if is_ahead or counting.is_behind(group, state, now):
        _step_back(group, state, now)
    elif counting.has_promises(group, state, now):
        _claim(group, state, now)


def _claim(group: Group, state: NodeState, now: float) -> None:
    group.become(GroupState.CLAIMING)
    group.claim_deadline = now + state.settings.lease_s
    state.urge()


def _step_back(group: Group, state: NodeState, now: float) -> None:
    """Somebody else is ahead, or was: give it time, then try with a ballot above all seen."""
    abandon(group, state, now)
    wait_s = state.slot_s * (1 + state.rng.random()) + candidacy.patience_s(group, state, now)
    candidacy.let_others(group, now, wait_s=wait_s)


def _collect_acceptances(group: Group, state: NodeState, now: float) -> None:
    is_late = now >= group.claim_deadline
    if is_late or candidacy.obstacle(group, state, now) or counting.is_forestalled(group, state, now):
        _step_back(group, state, now)
        return
    counting.renew(group, state, now)
    if now < group.attempt.let_go_at and ownership.is_settled(group, state):
        ownership.advance(group, state, now)
        group.become(GroupState.TAKING)
        group.held_since, group.service.gap_s = now, None
        group.held_seq = state.next_seq
        group.handover, group.drop_began = Handover(), NEVER
        vanished, withheld = caution.vanished(group, state, now), ownership.withheld(group)
        state.do(Take(group.name, group.attempt.tenure, group.attempt.ends_at, vanished, withheld))
        state.urge()


# --- as the holder


def _keep(group: Group, state: NodeState, now: float) -> None:
    _extend(group, state, now)
    ownership.advance(group, state, now)
    # A witness that is not needed now is followed when a heartbeat is due, and not as fast as it likes.
    if counting.is_outbid(group, state, now) and (now >= state.next_beat or counting.is_behind(group, state, now)):
        _raise_ballot(group, state)
    if group.state is GroupState.TAKING and handover.why_leaving(group, state):
        drop(group, state, now, "this node is leaving")
    if group.state is GroupState.ACTIVE:
        _do(group, state, now, handover.consider(group, state, now))
    if group.state is GroupState.YIELDING:
        _do(group, state, now, handover.proceed(group, state, now))
    why_not = group.why_unfit or state.isolation(now)
    if why_not and group.state in HOLDING and not group.is_forced:
        drop(group, state, now, why_not, yield_to=handover.best_other(group, state, now))


def _extend(group: Group, state: NodeState, now: float) -> None:
    if counting.renew(group, state, now):
        state.do(Renew(group.name, group.attempt.ends_at))


def _raise_ballot(group: Group, state: NodeState) -> None:
    """Rule 5."""
    attempt = group.attempt
    attempt.ballot = Ballot(state.next_round(group), state.settings.me)
    if group.state is GroupState.CLAIMING:
        attempt.tenure = attempt.ballot  # nothing is held yet: what is taken later begins with this ballot
    state.urge()


# ------------------------------------------------------------------ what others ask


def holder(group: Group, state: NodeState, now: float) -> tuple[str, Peer | None]:
    """Who holds the group as far as we know: we, a peer that says so, or whom we are bound to."""
    if group.state in HAVING:
        return state.settings.me, None
    elsewhere = candidacy.holder_elsewhere(group, state, now)
    name = elsewhere or group.voter.holder(now) or arbitration.holder(group, now)
    return name, state.membership.peers.get(name)


def deadline(group: Group, state: NodeState, now: float) -> float:
    """When this group wants to be looked at again if nothing happens."""
    due = []
    if group.state in HOLDING:
        due.append(group.attempt.let_go_at)
    if group.state is GroupState.YIELDING:
        due.append(group.handover.deadline)
    if group.state is GroupState.CLAIMING:
        due.append(group.claim_deadline)
    if group.state in (GroupState.IDLE, GroupState.WANTING):
        due += [group.voter.bound_until, *candidacy.due(group), *caution.due(group, state)]
    return min([instant for instant in due if instant > now], default=float("inf"))


def vote_for_self(group: Group, state: NodeState, now: float, seq: int) -> None:
    """Our own acceptance of our own claim, bound to the heartbeat that is about to carry it."""
    if group.state in (GroupState.IDLE, GroupState.WANTING) or not state.may_vote_on(group, now):
        return
    arbitration.claim(group, state, now)
    named, offer = tuple(group.share.named), Accepted(group.attempt.ballot, state.boot, seq)
    if ownership.may_bind(group, state, now, (state.settings.me, state.boot), named):
        group.voter.accept(now, offer, lease_s=state.settings.lease_s, addresses=named)
    if group.state in HOLDING:
        _extend(group, state, now)  # nothing else has changed since this step's fixed point
    else:
        advance(group, state, now)
