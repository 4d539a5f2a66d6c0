"""One group on one node: when to try, when to take, when to let go.

`haagent.core.group.transitions` has the states and the arcs between them. Rules, each of which some test would miss:

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

from haagent.core.event_kinds import Kind
from haagent.core.events import (
    AddressFound,
    AnyGroupEvent,
    Denied,
    Drop,
    Dropped,
    Granted,
    Guarded,
    HealthChanged,
    Prepare,
    Renew,
    Take,
    TakeFailed,
    Taken,
)
from haagent.core.group import arbitration, candidacy, caution, conflict, counting, handover, voting, word
from haagent.core.group.lease import Lease
from haagent.core.group.state import Group, Handover
from haagent.core.group.transitions import HOLDING, TRYING, GroupState, become
from haagent.core.group.wants import HandOver, LetGo, RaiseBallot, Stay, StepBack, Want
from haagent.core.limits import MAX_TEXT
from haagent.core.membership import NEVER, Peer
from haagent.core.messages import Accepted, Ballot, GroupBeat, Heartbeat
from haagent.core.node_state import NodeState

RETRY_S = (1.0, 60.0)  # after failed activations: doubled from the first to the second


class Election:
    """What becomes of the group: `group` is all that is known of it, and whoever decides returns what it wants."""

    def __init__(self, state: NodeState, group: Group) -> None:
        self.state = state
        self.group = group

    # ------------------------------------------------------------------ hearing

    def hear(self, now: float, sender: Heartbeat, beat: GroupBeat) -> None:
        """A new view of a confirmed life. `sender` may be ourselves: our own votes go the same way."""
        group, state = self.group, self.state
        is_peer = sender.node != state.settings.me
        if group.voter.hear_release(beat, sender.node):
            group.candidacy.free_since = now
        if is_peer:
            group.service.hear(now, sender.node, beat)
            candidacy.hear(group, now, sender, beat)
            caution.hear(group, sender, beat)
            arbitration.hear(group, state, sender, beat)
        voting.hear(group, state, now, sender, beat)
        if is_peer:
            self._do(now, conflict.hear(group, state, now, sender, beat))

    def note(self, now: float, kind: Kind, text: str) -> None:
        self.state.note(kind, self.group.name, text, now=now)

    # ------------------------------------------------------------------ what was decided

    def _do(self, now: float, want: Want | None) -> None:
        match want:
            case LetGo(why, yield_to):
                self.drop(now, why, yield_to=yield_to)
            case HandOver():
                become(self.group, GroupState.YIELDING)
                handover.begin(self.group, self.state, now, want)
            case Stay():
                become(self.group, GroupState.ACTIVE)
                handover.end(self.group, self.state, now)
            case StepBack():
                self._step_back(now)
            case RaiseBallot():
                self._raise_ballot()

    # ------------------------------------------------------------------ what the shell reports

    def told(self, now: float, event: AnyGroupEvent) -> None:
        group, state = self.group, self.state
        match event:
            case HealthChanged(_, ok, why, penalty):
                self._judge_health(now, "" if ok else why[:MAX_TEXT] or "a check fails", penalty)
            case Taken(_, ballot):
                self._taken(now, ballot)
            case TakeFailed(_, ballot, error):
                self._take_failed(now, ballot, error)
            case Dropped(_, ballot):
                self._dropped(now, ballot)
            case AddressFound():
                group.was_found = True
            case Guarded(_, why):
                caution.hear_word(group, why[:MAX_TEXT])
            case Granted(_, ballot, asked_at):
                arbitration.grant(group, state, ballot, asked_at)
            case Denied(_, ballot, stored, is_bound):
                self._do(now, arbitration.deny(group, state, now, ballot, stored, is_bound=is_bound))

    def _judge_health(self, now: float, why_unfit: str, penalty: int) -> None:
        group = self.group
        if group.why_unfit != why_unfit:
            text = f"not fit to hold it: {why_unfit}" if why_unfit else "fit to hold it again"
            self.note(now, Kind.UNFIT if why_unfit else Kind.FIT, text)
        if (group.why_unfit, group.penalty) != (why_unfit, penalty):
            group.why_unfit, group.penalty = why_unfit, penalty
            self.state.urge()

    def _taken(self, now: float, ballot: Ballot) -> None:
        group = self.group
        if group.state is not GroupState.TAKING or group.lease is None or group.lease.tenure != ballot:
            return  # the answer to a take that was dropped meanwhile
        become(group, GroupState.ACTIVE)
        group.was_found = False
        caution.held(group, ballot)
        gap = group.service.begins(now, self.state.settings.me)
        self.note(now, Kind.TAKEN, f"active here: {group.cause}{gap}")
        self.state.urge()

    def _take_failed(self, now: float, ballot: Ballot, error: str) -> None:
        group = self.group
        if group.lease is None or group.lease.tenure != ballot or group.state not in HOLDING:
            return
        group.failures.append(now)
        retry_s = min(RETRY_S[1], RETRY_S[0] * 2.0 ** min(len(group.failures) - 1, 16))
        self.note(now, Kind.FAILED, f"activation failed: {error}; this node tries again in {retry_s:.0f} s")
        self._release(now)
        candidacy.let_others(group, now, wait_s=retry_s)

    def _dropped(self, now: float, ballot: Ballot) -> None:
        group = self.group
        if group.lease is None or group.lease.tenure != ballot:
            return
        if group.state in HOLDING:
            # Activation let go by itself.
            group.service.ends(now, self.state.settings.me)
            group.drop_began = now
            self.note(
                now,
                Kind.DROPPED,
                "without a request: a reload removed the group, or its lease ended before it was renewed",
            )
        elif group.state is not GroupState.DROPPING:
            return
        self._release(now)

    def _release(self, now: float) -> None:
        group, state = self.group, self.state
        assert group.lease is not None
        become(group, GroupState.IDLE)
        group.released, group.lease = group.lease.ballot, None
        arbitration.relinquish(group, state, group.released)
        group.voter.hear_release(word.beat(group, now), state.settings.me)
        handover.redeem(group, state, now)
        group.held_since = NEVER
        group.candidacy.free_since = now
        # Whoever let go gives the others one lease's time to take it.
        group.candidacy.courteous_until = now + state.settings.lease_s
        group.conflict.since.clear()
        state.urge()

    # ------------------------------------------------------------------ letting go

    def expire(self, now: float) -> None:
        """Rule 1."""
        group = self.group
        if group.state in HOLDING and group.lease is not None and now >= group.lease.let_go_at:
            left_ms = 1000 * (group.lease.ends_at - now)
            what = f"{left_ms:.0f} ms before the lease ends" if left_ms >= 0 else f"{-left_ms:.0f} ms too late"
            self.drop(now, f"no majority renewed the lease; releasing the group {what}")

    def drop(self, now: float, why: str, *, yield_to: str = "") -> None:
        group = self.group
        if group.state not in HOLDING or group.lease is None:
            return
        if group.state is not GroupState.TAKING:
            group.service.ends(now, self.state.settings.me)
        become(group, GroupState.DROPPING)
        group.drop_began = now
        group.handover.to = yield_to or group.handover.to
        self.state.do(Drop(group.name, group.lease.tenure, why))
        self.note(now, Kind.DROPPED, why)

    def abandon(self, now: float) -> None:
        """Stop trying."""
        group = self.group
        if group.state not in TRYING or group.lease is None:
            return
        group.released = group.lease.ballot  # some voter may have accepted: free it
        if group.state is GroupState.CLAIMING:
            arbitration.relinquish(group, self.state, group.released)
        group.voter.hear_release(word.beat(group, now), self.state.settings.me)
        become(group, GroupState.IDLE)
        group.lease = None
        self.state.urge()

    # ------------------------------------------------------------------ the fixed point of every step

    def advance(self, now: float) -> None:
        group = self.group
        self._forget_failures(now)
        caution.advance(group, self.state, now)
        if group.state in HOLDING:
            self._keep(now)
        elif group.state is not GroupState.DROPPING:
            self._disown_leftovers(now)
            voting.reconsider_wants(group, self.state, now)
            self._strive(now)

    def _disown_leftovers(self, now: float) -> None:
        """Addresses of an earlier life are kept only while maintenance reserves the group for them."""
        group, state = self.group, self.state
        if group.was_found and (not state.orders.in_maintenance or candidacy.holder_elsewhere(group, state, now)):
            group.was_found = False
            state.do(Drop(group.name, Ballot(0, state.settings.me), "an earlier life of this agent left it here"))

    def _forget_failures(self, now: float) -> None:
        group = self.group
        if (version := self.state.orders.cleared(group.name)) != group.cleared:
            group.cleared = version
            group.failures.clear()
            group.candidacy.not_before = NEVER
        if not group.failures:
            return
        expiry_s = self.state.settings.failure_expiry_s
        group.failures = [instant for instant in group.failures if now < instant + expiry_s]

    # --- as a candidate

    def _strive(self, now: float) -> None:
        group, state = self.group, self.state
        is_new = False
        if group.state is GroupState.IDLE:
            candidacy.reckon(group, state, now)
            is_new = candidacy.may_try(group, now)
        if is_new:
            self._want(now)
        if group.state is GroupState.WANTING:
            self._collect_promises(now)
        if group.state is GroupState.CLAIMING:
            self._collect_acceptances(now)
        if is_new and group.state in TRYING and candidacy.is_successor(group, state, now):
            state.do(Prepare(group.name))

    def _want(self, now: float) -> None:
        group, state = self.group, self.state
        ballot = Ballot(state.next_round(group.voter), state.settings.me)
        become(group, GroupState.WANTING)
        group.lease = Lease.begin(state.settings, ballot)
        arbitration.begin(group)
        group.cause = candidacy.explain(group, state, now)
        group.is_forced = candidacy.is_forced(group, state, now)
        state.urge()

    def _collect_promises(self, now: float) -> None:
        group, state = self.group, self.state
        assert group.lease is not None
        is_taken = candidacy.is_claimed(group, now) and not candidacy.is_successor(group, state, now)
        if candidacy.obstacle(group, state, now) or is_taken:
            self.abandon(now)
            return
        if not state.votes_count:
            if not candidacy.is_claimed(group, now):  # else we are the successor, and the holder waits for our want
                self._claim(now)
            return
        ballot = group.lease.ballot
        voting.consider_want(group, state, now, ballot.node, GroupBeat(group.name, want=ballot))
        is_ahead = group.voter.promised is not None and group.voter.promised > ballot
        if is_ahead or counting.is_outbid(group, state, now):
            self._step_back(now)
        elif counting.has_promises(group, state, now):
            self._claim(now)

    def _claim(self, now: float) -> None:
        become(self.group, GroupState.CLAIMING)
        self.group.claim_deadline = now + self.state.settings.lease_s
        self.state.urge()

    def _step_back(self, now: float) -> None:
        """Somebody else is ahead, or was: give it time, then try with a ballot above all seen."""
        self.abandon(now)
        wait_s = self.state.slot_s * (1 + self.state.rng.random()) + candidacy.patience_s(self.group, self.state, now)
        candidacy.let_others(self.group, now, wait_s=wait_s)

    def _collect_acceptances(self, now: float) -> None:
        group, state = self.group, self.state
        assert group.lease is not None
        is_late = now >= group.claim_deadline
        if is_late or candidacy.obstacle(group, state, now) or counting.is_forestalled(group, state, now):
            self._step_back(now)
            return
        if counting.renew(group, state, now) and now < group.lease.let_go_at:
            become(group, GroupState.TAKING)
            group.held_since, group.service.gap_s = now, None
            group.held_seq = state.next_seq
            group.handover, group.drop_began = Handover(), NEVER
            vanished = caution.vanished(group, state, now)
            state.do(Take(group.name, group.lease.tenure, group.lease.ends_at, vanished))
            state.urge()

    # --- as the holder

    def _keep(self, now: float) -> None:
        group, state = self.group, self.state
        self._extend(now)
        if counting.is_outbid(group, state, now):
            self._raise_ballot()
        if group.state is GroupState.TAKING and handover.must_leave(group, state):
            self.drop(now, "this node is leaving")
        if group.state is GroupState.ACTIVE:
            self._do(now, handover.consider(group, state, now))
        if group.state is GroupState.YIELDING:
            self._do(now, handover.proceed(group, state, now))
        why_not = group.why_unfit or state.isolation(now)
        if why_not and group.state in HOLDING and not group.is_forced:
            self.drop(now, why_not, yield_to=handover.best_other(group, state, now))

    def _extend(self, now: float) -> None:
        assert self.group.lease is not None
        if counting.renew(self.group, self.state, now):
            self.state.do(Renew(self.group.name, self.group.lease.ends_at))

    def _raise_ballot(self) -> None:
        """Rule 5."""
        group = self.group
        assert group.lease is not None
        group.lease.ballot = Ballot(self.state.next_round(group.voter), self.state.settings.me)
        if group.state is GroupState.CLAIMING:
            group.lease.tenure = group.lease.ballot  # nothing is held yet: what is taken later begins with this ballot
        self.state.urge()

    # ------------------------------------------------------------------ what others ask

    def holder(self, now: float) -> tuple[str, Peer | None]:
        """Who holds the group as far as we know: we, a peer that says so, or whom we are bound to."""
        group, state = self.group, self.state
        if group.state in HOLDING or group.state is GroupState.DROPPING:
            return state.settings.me, None
        elsewhere = candidacy.holder_elsewhere(group, state, now)
        name = elsewhere or group.voter.holder(now) or arbitration.holder(group, now)
        return name, state.membership.peers.get(name)

    def deadline(self, now: float) -> float:
        """When this group wants to be looked at again if nothing happens."""
        group, due = self.group, []
        if group.lease is not None and group.state in HOLDING:
            due.append(group.lease.let_go_at)
        if group.state is GroupState.YIELDING:
            due.append(group.handover.deadline)
        if group.state is GroupState.CLAIMING:
            due.append(group.claim_deadline)
        if group.state in (GroupState.IDLE, GroupState.WANTING):
            due += [group.voter.bound_until, *candidacy.due(group), *caution.due(group, self.state)]
        return min([instant for instant in due if instant > now], default=float("inf"))

    def vote_for_self(self, now: float, seq: int) -> None:
        """Our own acceptance of our own claim, bound to the heartbeat that is about to carry it."""
        group, state = self.group, self.state
        if group.lease is None or group.state in (GroupState.IDLE, GroupState.WANTING):
            return
        if not group.may_vote(state, now):
            return
        arbitration.claim(group, state, now)
        group.voter.accept(now, Accepted(group.lease.ballot, state.boot, seq), lease_s=state.settings.lease_s)
        if group.state in HOLDING:
            self._extend(now)  # nothing else has changed since this step's fixed point
        else:
            self.advance(now)
