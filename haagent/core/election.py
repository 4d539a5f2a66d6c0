"""One group on one node: when to try, when to take, when to let go.

`haagent.core.group.transitions` has the states and the arcs between them. Rules, each of which some test would miss:

1.  Before anything else in every step, a holder whose proof is spent begins to let go (`expire`).
2.  A ballot is released only after the shell has said that no traffic can arrive any more (`Dropped`). Until then the
    claim stands and keeps the voters bound.
3.  The first candidate in the order of `placement` tries at once, the others wait a slot for each that is before them.
4.  A planned move names its successor (`yield_to`). The successor announces its want while the group is still served;
    that is how the holder knows that it is alive and ready. Only then does the holder let go, and the same heartbeat
    that releases carries the holder's vote for the waiting want (`Handover.farewell`).
5.  A holder that sees a living voter bound by a promise above its own ballot raises its ballot in place. It may: a
    voter bound to this holder accepts any higher ballot of the same holder, and nobody else can have a majority.
6.  Two holders after a healed partition (`available` only): see `rivalry`.
7.  Who has let go in favour of a successor accepts that one's want at once, in the heartbeat that releases, instead of
    only promising: with its own vote the successor then has a majority of two or three, one message after the release
    instead of three. So does a voter whom a holder's release has freed (its last words as well), for the node that is
    its own first choice. That binds this voter as any acceptance does, from the receipt of the want; so a want that is
    given up is released like a claim.
"""

from __future__ import annotations

from haagent.core.arbitration import Arbitration
from haagent.core.campaign import Campaign
from haagent.core.caution import Caution
from haagent.core.events import Drop, Prepare, Renew, Take
from haagent.core.group.transitions import HOLDING, TRYING, GroupState, become
from haagent.core.handover import Handover
from haagent.core.lease import Lease, acceptances
from haagent.core.membership import NEVER, Peer
from haagent.core.messages import Accepted, Ballot, GroupBeat, Heartbeat
from haagent.core.rivalry import Rivalry
from haagent.core.scene import Scene
from haagent.core.service import Service
from haagent.core.settings import GroupSettings
from haagent.core.voter import Voter

RETRY_S = (1.0, 60.0)  # after failed activations: doubled from the first to the second


class Election:
    def __init__(self, scene: Scene, group: GroupSettings, now: float, *, silent_until: float = NEVER) -> None:
        self.scene = scene
        self.group = group
        self.voter = Voter(scene.round)
        self.silent_until = silent_until  # of this group alone; the node's own silence comes on top
        self.state = GroupState.IDLE
        self.lease: Lease | None = None
        self.released: Ballot | None = None
        self.why_unfit = ""  # the checks' word on this node
        self.failures: list[float] = []
        self.cleared = 0
        self.is_forced = False  # this tenure was ordered although the checks say that we are not fit
        self.cause = ""  # why this tenure began
        self.was_found = False  # an earlier life left the addresses here
        self.held_since = NEVER
        self.held_seq = 0  # first heartbeat that says we hold it
        self.claim_deadline = NEVER
        self.drop_began = NEVER
        self.service = Service()
        self.arbitration = Arbitration(self)
        self.caution = Caution(self)
        self.campaign = Campaign(self, now)
        self.handover = Handover(self)
        self.rivalry = Rivalry(self)

    # ------------------------------------------------------------------ hearing

    def hear(self, now: float, sender: Heartbeat, beat: GroupBeat) -> None:
        """A new view of a confirmed life. `sender` may be ourselves: our own votes go the same way."""
        scene = self.scene
        is_peer = sender.node != scene.settings.me
        if self.voter.hear_release(beat, sender.node):
            self.campaign.free_since = now
        if is_peer:
            self.service.hear(now, sender.node, beat)
            self.campaign.hear(now, sender, beat)
            self.caution.hear(sender, beat)
            self.arbitration.hear(sender, beat)
        if self.may_vote(now):
            if self.voter.hear_claim(now, beat, sender):
                scene.urge()
            self._consider_want(now, sender.node, beat)
        if is_peer:
            self.rivalry.hear(now, sender, beat)

    def may_vote(self, now: float) -> bool:
        return now >= self.silent_until and self.scene.may_vote(now)

    def _consider_want(self, now: float, node: str, beat: GroupBeat) -> None:
        if self.state in HOLDING or self.state is GroupState.DROPPING:
            return
        if self.scene.orders.in_maintenance and self.service.by not in ("", node):
            return  # frozen: only who had it may have it back
        if self.voter.hear_want(now, beat, node):
            self.scene.urge()
            self._favour(now, node)

    def _favour(self, now: float, node: str) -> None:
        """Rule 7."""
        is_chosen = node == self.handover.to and now < self.campaign.courteous_until
        is_first = self.voter.was_freed and node == self.campaign.first_choice(now)
        peer = self.scene.membership.peers.get(node)
        if not (is_chosen or is_first) or peer is None or peer.boot is None or peer.beat is None:
            return
        assert self.voter.promised is not None  # this very want
        offer = Accepted(self.voter.promised, peer.boot, peer.seq)
        self.voter.accept(now, offer, lease_s=peer.beat.lease_ms / 1000)

    def note(self, now: float, kind: str, text: str) -> None:
        self.scene.note(kind, self.group.name, text, now=now)

    # ------------------------------------------------------------------ what the shell reports

    def taken(self, now: float, ballot: Ballot) -> None:
        if self.state is not GroupState.TAKING or self.lease is None or self.lease.tenure != ballot:
            return  # the answer to a take that was dropped meanwhile
        become(self, GroupState.ACTIVE)
        self.was_found = False
        self.caution.held(ballot)
        gap = self.service.begins(now, self.scene.settings.me)
        self.note(now, "taken", f"active here: {self.cause}{gap}")
        self.scene.urge()

    def take_failed(self, now: float, ballot: Ballot, error: str) -> None:
        if self.lease is None or self.lease.tenure != ballot or self.state not in HOLDING:
            return
        self.failures.append(now)
        retry_s = min(RETRY_S[1], RETRY_S[0] * 2.0 ** min(len(self.failures) - 1, 16))
        self.note(now, "failed", f"activation failed: {error}; this node tries again in {retry_s:.0f} s")
        self._release(now)
        self.campaign.let_others(now, wait_s=retry_s)

    def dropped(self, now: float, ballot: Ballot) -> None:
        if self.lease is None or self.lease.tenure != ballot:
            return
        if self.state in HOLDING:
            # Activation let go by itself.
            self.service.ends(now, self.scene.settings.me)
            self.drop_began = now
            self.note(
                now, "dropped", "unasked: a reload removed the group, or its time was up before the lease was renewed"
            )
        elif self.state is not GroupState.DROPPING:
            return
        self._release(now)

    def _release(self, now: float) -> None:
        assert self.lease is not None
        become(self, GroupState.IDLE)
        self.released, self.lease = self.lease.ballot, None
        self.arbitration.relinquish(self.released)
        self.voter.hear_release(self.beat(now), self.scene.settings.me)
        self.handover.redeem(now)
        self.held_since = NEVER
        self.campaign.free_since = now
        # Whoever let go gives the others one lease's time to take it.
        self.campaign.courteous_until = now + self.scene.settings.lease_s
        self.rivalry.since.clear()
        self.scene.urge()

    # ------------------------------------------------------------------ letting go

    def expire(self, now: float) -> None:
        """Rule 1."""
        if self.state in HOLDING and self.lease is not None and now >= self.lease.let_go_at:
            left_ms = 1000 * (self.lease.ends_at - now)
            what = f"{left_ms:.0f} ms before the lease ends" if left_ms >= 0 else f"{-left_ms:.0f} ms too late"
            self.drop(now, f"no majority has renewed the lease; letting go {what}")

    def drop(self, now: float, why: str, *, yield_to: str = "") -> None:
        if self.state not in HOLDING or self.lease is None:
            return
        if self.state is not GroupState.TAKING:
            self.service.ends(now, self.scene.settings.me)
        become(self, GroupState.DROPPING)
        self.drop_began = now
        self.handover.to = yield_to or self.handover.to
        self.scene.do(Drop(self.group.name, self.lease.tenure, why))
        self.note(now, "dropped", why)

    def abandon(self, now: float) -> None:
        """Stop trying."""
        if self.state not in TRYING or self.lease is None:
            return
        self.released = self.lease.ballot  # some voter may have accepted: free it
        if self.state is GroupState.CLAIMING:
            self.arbitration.relinquish(self.released)
        self.voter.hear_release(self.beat(now), self.scene.settings.me)
        become(self, GroupState.IDLE)
        self.lease = None
        self.scene.urge()

    # ------------------------------------------------------------------ the fixed point of every step

    def advance(self, now: float) -> None:
        self._forget_failures(now)
        self.caution.advance(now)
        if self.state in HOLDING:
            self._keep(now)
        elif self.state is not GroupState.DROPPING:
            self._disown_leftovers(now)
            self._reconsider_wants(now)
            self._strive(now)

    def _disown_leftovers(self, now: float) -> None:
        """Addresses of an earlier life are kept only while maintenance reserves the group for them."""
        if self.was_found and (not self.scene.orders.in_maintenance or self.campaign.holder_elsewhere(now)):
            self.was_found = False
            ballot = Ballot(0, self.scene.settings.me)
            self.scene.do(Drop(self.group.name, ballot, "an earlier life of this agent left it here"))

    def _forget_failures(self, now: float) -> None:
        if (version := self.scene.orders.cleared(self.group.name)) != self.cleared:
            self.cleared = version
            self.failures.clear()
            self.campaign.not_before = NEVER
        if not self.failures:
            return
        expiry_s = self.scene.settings.failure_expiry_s
        self.failures = [instant for instant in self.failures if now < instant + expiry_s]

    def _reconsider_wants(self, now: float) -> None:
        """A want that came while we were bound is granted the moment we are free."""
        if not self.may_vote(now) or self.voter.is_bound(now):
            return
        wanting = [(peer.name, beat) for peer, beat in self.scene.beats(now, self.group.name) if beat.want]
        for node, beat in sorted(wanting, key=lambda item: item[1].want or Ballot(0, ""), reverse=True):
            self._consider_want(now, node, beat)

    # --- as a candidate

    def _strive(self, now: float) -> None:
        is_new = self.state is GroupState.IDLE and self.campaign.may_try(now)
        if is_new:
            self._want(now)
        if self.state is GroupState.WANTING:
            self._collect_promises(now)
        if self.state is GroupState.CLAIMING:
            self._collect_acceptances(now)
        if is_new and self.state in TRYING and self.campaign.is_successor(now):
            self.scene.do(Prepare(self.group.name))

    def _want(self, now: float) -> None:
        ballot = Ballot(self.scene.next_round(self.voter), self.scene.settings.me)
        become(self, GroupState.WANTING)
        self.lease = Lease(self.scene.settings, ballot)
        self.arbitration.begin()
        self.cause = self.campaign.explain(now)
        self.is_forced = self.campaign.is_forced(now)
        self.scene.urge()

    def _collect_promises(self, now: float) -> None:
        assert self.lease is not None
        is_taken = self.campaign.is_claimed(now) and not self.campaign.is_successor(now)
        if self.campaign.obstacle(now) or is_taken:
            self.abandon(now)
            return
        if not self.scene.votes_count:
            if not self.campaign.is_claimed(now):  # else we are the successor, and the holder waits for our want
                self._claim(now)
            return
        ballot = self.lease.ballot
        mine = GroupBeat(self.group.name, want=ballot)
        self._consider_want(now, ballot.node, mine)
        promises = {self.scene.settings.me: self.voter.promised}
        promises |= {peer.name: beat.promised for peer, beat in self.scene.beats(now, self.group.name)}
        if any(promised is not None and promised > ballot for promised in promises.values()):
            self.step_back(now)
            return
        electorate, needed = self.scene.electorate(now, self.group.name, is_held=False)
        if sum(promises.get(name) == ballot for name in electorate) >= needed:
            self._claim(now)

    def _claim(self, now: float) -> None:
        become(self, GroupState.CLAIMING)
        self.claim_deadline = now + self.scene.settings.lease_s
        self.scene.urge()

    def step_back(self, now: float) -> None:
        """Somebody else is ahead, or was: give it time, then try with a ballot above all seen."""
        self.abandon(now)
        slot_s = self.scene.slot_s
        wait_s = slot_s * (1 + self.scene.rng.random()) + self.campaign.patience_s(now)
        self.campaign.let_others(now, wait_s=wait_s)

    def _collect_acceptances(self, now: float) -> None:
        assert self.lease is not None
        if self.campaign.obstacle(now) or self._is_forestalled(now) or now >= self.claim_deadline:
            self.step_back(now)
            return
        if self._renew(now) and now < self.lease.let_go_at:
            become(self, GroupState.TAKING)
            self.held_since, self.service.gap_s = now, None
            self.held_seq = self.scene.next_seq
            self.handover.to, self.drop_began = "", NEVER
            self.scene.do(Take(self.group.name, self.lease.tenure, self.lease.ends_at, self.caution.vanished(now)))
            self.scene.urge()

    def _is_forestalled(self, now: float) -> bool:
        """Somebody else is ahead. Of two that claim at once the arbiter chooses; voters may choose neither."""
        assert self.lease is not None
        if not self.scene.votes_count:
            return bool(self.campaign.holder_elsewhere(now))
        promised = [beat.promised for _, beat in self.scene.beats(now, self.group.name)]
        is_outbid = any(ballot is not None and ballot > self.lease.ballot for ballot in promised)
        return is_outbid or self.campaign.is_claimed(now)

    # --- as the holder

    def _renew(self, now: float) -> bool:
        """Count the acceptances. True when the lease grew."""
        assert self.lease is not None
        if not self.scene.votes_count:
            return self.lease.count({"": self.arbitration.granted_at}, [""], needed=1)
        votes: list[tuple[str, Accepted | None]] = [(self.scene.settings.me, self.voter.accepted)]
        votes += [(peer.name, beat.accepted) for peer, beat in self.scene.beats(now, self.group.name)]
        sent = acceptances(self.lease, self.scene.membership, votes)
        if max(sent.values(), default=NEVER) <= self.lease.proved_at:
            return False
        electorate, needed = self.scene.electorate(now, self.group.name, is_held=self.state in HOLDING)
        if self.arbitration.is_in_force(now):  # no vote is worth more than the arbiter's
            sent = {name: min(at, self.arbitration.granted_at) for name, at in sent.items()}
        return self.lease.count(sent, electorate, needed=needed)

    def _keep(self, now: float) -> None:
        self._extend(now)
        self._raise_ballot(now)
        if self.state is GroupState.TAKING and self.handover.must_leave:
            self.drop(now, "this node is leaving")
        if self.state is GroupState.ACTIVE:
            self.handover.consider(now)
        if self.state is GroupState.YIELDING:
            self.handover.proceed(now)
        why_not = self.why_unfit or self.scene.isolation(now)
        if why_not and self.state in HOLDING and not self.is_forced:
            self.drop(now, why_not, yield_to=self.handover.best_other(now))

    def _extend(self, now: float) -> None:
        assert self.lease is not None
        if self._renew(now):
            self.scene.do(Renew(self.group.name, self.lease.ends_at))

    def _raise_ballot(self, now: float) -> None:
        """Rule 5."""
        assert self.lease is not None
        promised = [beat.promised for _, beat in self.scene.beats(now, self.group.name)]
        if any(ballot is not None and ballot > self.lease.ballot for ballot in promised):
            self.raise_ballot()

    def raise_ballot(self) -> None:
        assert self.lease is not None
        self.lease.ballot = Ballot(self.scene.next_round(self.voter), self.scene.settings.me)
        if self.state is GroupState.CLAIMING:
            self.lease.tenure = self.lease.ballot  # nothing is held yet: what is taken later begins with this ballot
        self.scene.urge()

    # ------------------------------------------------------------------ what we say

    def beat(self, now: float) -> GroupBeat:
        lease, state = self.lease, self.state
        holds = state in HOLDING or state is GroupState.DROPPING
        return GroupBeat(
            name=self.group.name,
            promised=self.voter.promised,
            accepted=self.voter.accepted if self.voter.is_bound(now) else None,
            want=lease.ballot if lease and state is GroupState.WANTING else None,
            claim=lease.ballot if lease and (holds or state is GroupState.CLAIMING) else None,
            released=self.released,
            tenure=lease.tenure if lease and holds else None,
            active=state in (GroupState.ACTIVE, GroupState.YIELDING),
            eligible=not self.why_unfit,
            why_not=self.why_unfit,
            failures=len(self.failures),
            held_ms=max(1, int(1000 * (now - self.held_since))) if holds else 0,
            yield_to=self.handover.to,
            gap_ms=-1.0 if self.service.gap_s is None else 1000 * self.service.gap_s,
            down_ms=1000 * (now - self.drop_began) if self.drop_began > NEVER else -1.0,
            cause=self.cause if holds else "",
            leaving=state is GroupState.DROPPING,
        )

    def holder(self, now: float) -> tuple[str, Peer | None]:
        """Who holds the group as far as we know: we, a peer that says so, or whom we are bound to."""
        if self.state in HOLDING or self.state is GroupState.DROPPING:
            return self.scene.settings.me, None
        name = self.campaign.holder_elsewhere(now) or self.voter.holder(now) or self.arbitration.holder(now)
        return name, self.scene.membership.peers.get(name)

    def deadline(self, now: float) -> float:
        """When this group wants to be looked at again if nothing happens."""
        due = []
        if self.lease is not None and self.state in HOLDING:
            due.append(self.lease.let_go_at)
        if self.state is GroupState.YIELDING:
            due.append(self.handover.deadline)
        if self.state is GroupState.CLAIMING:
            due.append(self.claim_deadline)
        if self.state in (GroupState.IDLE, GroupState.WANTING):
            due += [self.voter.bound_until, *self.campaign.due(), *self.caution.due()]
        return min((instant for instant in due if instant > now), default=float("inf"))

    def vote_for_self(self, now: float, seq: int) -> None:
        """Our own acceptance of our own claim, bound to the heartbeat that is about to carry it."""
        if self.lease is None or self.state in (GroupState.IDLE, GroupState.WANTING) or not self.may_vote(now):
            return
        self.arbitration.claim(now)
        self.voter.accept(now, Accepted(self.lease.ballot, self.scene.boot, seq), lease_s=self.scene.settings.lease_s)
        if self.state in HOLDING:
            self._extend(now)  # nothing else has changed since this step's fixed point
        else:
            self.advance(now)
