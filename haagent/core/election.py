"""One group on one node: when to try, when to take, when to let go.

    IDLE --want--> WANTING --majority promises--> CLAIMING --majority accepts--> TAKING --Taken--> ACTIVE
      ^                                                                            |                 |
      |                                                                            v                 v
      +----------------------------- released <-- Dropped -- DROPPING <--(lease, health)-- YIELDING (successor wants)

Rules, each of which some test would miss:

1.  Before anything else in every step, a holder whose proof is spent begins to let go (`expire`).
2.  A ballot is released only after the shell has said that no traffic can arrive any more (`Dropped`). Until then the
    claim stands and keeps the voters bound.
3.  The first candidate in the order of `placement` tries at once, the others wait a slot for each that is before them.
4.  A planned move names its successor (`yield_to`). The successor announces its want while the group is still served;
    that is how the holder knows that it is alive and ready. Only then does the holder let go, and the same heartbeat that
    releases carries the holder's promise for the waiting want.
5.  A holder that sees a living voter bound by a promise above its own ballot raises its ballot in place. It may: a voter
    bound to this holder accepts any higher ballot of the same holder, and nobody else can have a majority.
6.  Two holders after a healed partition (`available` only): of two, the one whose name sorts first decides for both by
    `placement.winner`. It lets go, or it stays. The other lets go when it sees the judge still claiming in a heartbeat
    that answers one in which it claimed itself. One decider, so never both and never neither. Where one does not hear
    the other, the one that hears lets go: nobody else can.
"""

from __future__ import annotations

from haagent.core import placement
from haagent.core.events import Announce, Drop, Renew, Take
from haagent.core.lease import Lease, acceptances
from haagent.core.membership import NEVER, Peer
from haagent.core.messages import Accepted, Ballot, GroupBeat, Heartbeat
from haagent.core.placement import Candidate, Contender
from haagent.core.scene import Scene
from haagent.core.settings import GroupSettings
from haagent.core.view import GroupState
from haagent.core.voter import Voter

HOLDING = (GroupState.TAKING, GroupState.ACTIVE, GroupState.YIELDING)
TRYING = (GroupState.WANTING, GroupState.CLAIMING)
RETRY_S = (1.0, 60.0)  # after failed activations: doubled from the first to the second


class Election:
    def __init__(self, scene: Scene, group: GroupSettings, now: float) -> None:
        self.scene = scene
        self.group = group
        self.voter = Voter(scene.round)
        self.state = GroupState.IDLE
        self.lease: Lease | None = None
        self.released: Ballot | None = None
        self.why_unfit = ""  # the checks' word on this node
        self.failures: list[float] = []
        self.cleared = 0
        self.cause = ""  # why this tenure began
        self.was_found = False  # an earlier life left the addresses here
        self.not_before = NEVER  # we have just failed or let go: others first
        self.free_since = now
        self.try_at = float("inf")  # when this node's turn comes, once the group is free
        self.held_since = NEVER
        self.active_since_wall: float | None = None
        self.claim_seq = 0  # first heartbeat that carries the present claim
        self.claim_deadline = NEVER
        self.yield_to = ""
        self.yield_deadline = NEVER
        self.drop_began = NEVER
        self.served_at = NEVER  # when clients were last known to be served, by anybody
        self.served_by = ""
        self.served_is_exact = False  # the last server said when it stopped; otherwise we know when we last heard it
        self.gap_s: float | None = None
        self.claims: dict[str, float] = {}  # who has claimed it lately, and until when that may be worth something
        self.rivals: dict[str, float] = {}  # who claims to hold it too, and since when we have heard that
        self.better_since: dict[str, float] = {}  # failback: since when each preferred node has been fit

    # ------------------------------------------------------------------ hearing

    def hear(self, now: float, sender: Heartbeat, beat: GroupBeat) -> None:
        """A new view of a confirmed life. `sender` may be ourselves: our own votes go the same way."""
        scene = self.scene
        is_peer = sender.node != scene.settings.me
        if self.voter.hear_release(beat, sender.node):
            self.free_since = now
        if is_peer:
            self._follow_service(now, sender, beat)
            if beat.claim is not None:
                self.claims[sender.node] = now + sender.lease_ms / 1000
            else:
                self.claims.pop(sender.node, None)
        if scene.may_vote(now):
            if self.voter.hear_claim(now, beat, sender):
                scene.urge()
            self._consider_want(now, sender.node, beat)
        if is_peer:
            self._watch_rival(now, sender, beat)

    def _consider_want(self, now: float, node: str, beat: GroupBeat) -> None:
        if self.state in HOLDING or self.state is GroupState.DROPPING:
            return
        if self.scene.orders.in_maintenance and self.served_by not in ("", node):
            return  # frozen: only who had it may have it back
        if self.voter.hear_want(now, beat, node):
            self.scene.urge()

    def _follow_service(self, now: float, sender: Heartbeat, beat: GroupBeat) -> None:
        if beat.claim is not None and beat.active:
            self.served_at, self.served_by, self.served_is_exact = now, sender.node, False
        elif beat.claim is None and self.served_by == sender.node and beat.down_ms >= 0 and not self.served_is_exact:
            self.served_at, self.served_is_exact = now - beat.down_ms / 1000, True

    def _watch_rival(self, now: float, sender: Heartbeat, beat: GroupBeat) -> None:
        rival_holds = beat.claim is not None and beat.held_ms > 0
        if not rival_holds:
            if self.rivals.pop(sender.node, None) is not None and self.state in HOLDING:
                self._announce(f"{sender.node} had claimed it too and has let go")
            return
        if self.state not in HOLDING or self.lease is None:
            return
        if sender.node not in self.rivals:
            self.rivals[sender.node] = now
            self._note(now, "conflict", f"{sender.node} claims {self.group.name} as well")
        if self._loses_to(now, sender, beat):
            self.drop(now, f"{sender.node} holds it too and keeps it", yield_to=sender.node)
        else:
            self._announce(f"{sender.node} claims it too")

    def _loses_to(self, now: float, rival: Heartbeat, beat: GroupBeat) -> bool:
        me = self.scene.settings.me
        if not self.scene.membership.peers[rival.node].is_alive(now) and now >= (
            self.rivals[rival.node] + self.scene.settings.lease_s
        ):
            return True  # it does not hear us, so only we can end this
        if me < rival.node:
            mine = Contender(me, self.scene.gateway, now - self.held_since)
            theirs = Contender(rival.node, rival.gateway, beat.held_ms / 1000)
            resolution_s = 2 * self.scene.settings.lease_s
            return placement.winner(self.group, mine, theirs, resolution_s=resolution_s) != me
        echo = rival.heard.get(me)
        return echo is not None and echo.boot == self.scene.boot and echo.seq >= self.claim_seq

    def _note(self, now: float, kind: str, text: str) -> None:
        self.scene.note(kind, self.group.name, text, now=now)

    def _announce(self, why: str) -> None:
        self.scene.do(Announce(self.group.name, why))

    # ------------------------------------------------------------------ what the shell reports

    def taken(self, now: float, ballot: Ballot) -> None:
        if self.state is not GroupState.TAKING or self.lease is None or self.lease.tenure != ballot:
            return  # the answer to a take that was dropped meanwhile
        self.state = GroupState.ACTIVE
        self.active_since_wall = self.scene.wall(now)
        self.gap_s = now - self.served_at if self.served_at > NEVER else None
        self.served_at, self.served_by, self.was_found = now, self.scene.settings.me, False
        least = "" if self.served_is_exact else "at most "
        gap = "" if self.gap_s is None else f"; clients were without it for {least}{1000 * self.gap_s:.1f} ms"
        self._note(now, "taken", f"active here: {self.cause}{gap}")
        self.scene.urge()

    def take_failed(self, now: float, ballot: Ballot, error: str) -> None:
        if self.lease is None or self.lease.tenure != ballot or self.state not in HOLDING:
            return
        self.failures.append(now)
        retry_s = min(RETRY_S[1], RETRY_S[0] * 2.0 ** (len(self.failures) - 1))
        self._note(now, "failed", f"activation failed: {error}; this node tries again in {retry_s:.0f} s")
        self._release(now)
        self.not_before = now + retry_s

    def dropped(self, now: float, ballot: Ballot) -> None:
        if self.state is not GroupState.DROPPING or self.lease is None or self.lease.tenure != ballot:
            return
        self._release(now)

    def _release(self, now: float) -> None:
        assert self.lease is not None
        self.released, self.lease, self.state = self.lease.ballot, None, GroupState.IDLE
        self.voter.hear_release(self.beat(now), self.scene.settings.me)
        self.held_since = NEVER
        self.free_since = now
        # Whoever let go gives the others one lease's time to take it.
        self.not_before = max(self.not_before, now + self.scene.settings.lease_s)
        self.rivals.clear()
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
            self.served_at, self.served_by, self.served_is_exact = now, self.scene.settings.me, True
        self.state, self.drop_began, self.yield_to = GroupState.DROPPING, now, yield_to or self.yield_to
        self.scene.do(Drop(self.group.name, self.lease.tenure, why))
        self._note(now, "dropped", why)

    def abandon(self, now: float) -> None:
        """Stop trying."""
        if self.state not in TRYING or self.lease is None:
            return
        if self.state is GroupState.CLAIMING:
            self.released = self.lease.ballot  # some voter may have accepted: free it
            self.voter.hear_release(self.beat(now), self.scene.settings.me)
        self.lease, self.state = None, GroupState.IDLE
        self.scene.urge()

    # ------------------------------------------------------------------ the fixed point of every step

    def advance(self, now: float) -> None:
        self._forget_failures(now)
        if self.state in HOLDING:
            self._keep(now)
        elif self.state is not GroupState.DROPPING:
            self._disown_leftovers(now)
            self._reconsider_wants(now)
            self._strive(now)

    def _disown_leftovers(self, now: float) -> None:
        """Addresses of an earlier life are kept only while maintenance reserves the group for them."""
        if self.was_found and (not self.scene.orders.in_maintenance or self.holder_elsewhere(now)):
            self.was_found = False
            ballot = Ballot(0, self.scene.settings.me)
            self.scene.do(Drop(self.group.name, ballot, "an earlier life of this agent left it here"))

    def _forget_failures(self, now: float) -> None:
        if (version := self.scene.orders.cleared(self.group.name)) != self.cleared:
            self.cleared = version
            self.failures.clear()
            self.not_before = NEVER
        expiry_s = self.scene.settings.failure_expiry_s
        self.failures = [instant for instant in self.failures if now < instant + expiry_s]

    def _reconsider_wants(self, now: float) -> None:
        """A want that came while we were bound is granted the moment we are free."""
        if not self.scene.may_vote(now) or self.voter.is_bound(now):
            return
        wanting = [(peer.name, beat) for peer, beat in self.scene.beats(now, self.group.name) if beat.want]
        for node, beat in sorted(wanting, key=lambda item: item[1].want or Ballot(0, ""), reverse=True):
            self._consider_want(now, node, beat)

    # --- as a candidate

    def _strive(self, now: float) -> None:
        if self.state is GroupState.IDLE and self._may_try(now):
            self._want(now)
        if self.state is GroupState.WANTING:
            self._collect_promises(now)
        if self.state is GroupState.CLAIMING:
            self._collect_acceptances(now)

    def obstacle(self, now: float) -> str:
        """Why this node would not take the group at present; empty: it would."""
        scene = self.scene
        if not scene.is_fit(scene.settings.me, now):
            return scene.unfitness(scene.settings.me, now)
        if self.why_unfit and not self._is_forced(now):
            return self.why_unfit
        if scene.orders.in_maintenance and not self.was_found:
            return "maintenance is on"
        if not scene.may_vote(now):
            return "it has just started and waits for votes of its earlier life to run out"
        if now < scene.listen_until:
            return "it was not running for a while and listens first"
        if not scene.may_act_alone(now):
            return "it hears no other node and waits for alone_after"
        if not scene.membership.is_quorate(now):
            alive, total = len(scene.membership.alive(now)) + 1, len(scene.settings.nodes)
            return f"it sees {alive} of {total} voters and needs {scene.settings.majority}"
        return ""

    def _is_forced(self, now: float) -> bool:
        order = self.scene.orders.move(now, self.group.name)
        return order is not None and order.forced and order.target == self.scene.settings.me

    def _may_try(self, now: float) -> bool:
        self.try_at = float("inf")
        if self.obstacle(now):
            self.free_since = now
            return False
        if self._is_successor(now):
            return True
        # A claim that we heard while we had no vote to give (restart silence) counts as well: in `available` its
        # holder may be declared dead, and leave the electorate, before its lease ends.
        spent_at = max([self.voter.bound_until, *self.claims.values()])
        if self.voter.is_bound(now) or self.holder_elsewhere(now) or any(now < end for end in self.claims.values()):
            self.free_since = now
            return False
        # The patience counts from when the group became free, not from when we came to look.
        self.free_since = min(now, max(self.free_since, spent_at))
        self.try_at = max(self.not_before, self.free_since + self._patience_s(now))
        return now >= self.try_at

    def _is_successor(self, now: float) -> bool:
        """A holder is about to let go in our favour (rule 4)."""
        me = self.scene.settings.me
        return any(
            beat.yield_to == me and (beat.claim is not None or self._is_free_after(now, beat))
            for _, beat in self.scene.beats(now, self.group.name)
        )

    def _is_free_after(self, now: float, beat: GroupBeat) -> bool:
        """Its release is the last word on the group that we know of."""
        if beat.released is None:
            return False
        promises = [self.voter.promised]
        promises += [other.promised for _, other in self.scene.beats(now, self.group.name)]
        return all(promised is None or promised <= beat.released for promised in promises)

    def holder_elsewhere(self, now: float) -> str:
        """A living peer that says it holds the group."""
        for peer, beat in self.scene.beats(now, self.group.name):
            if beat.claim is not None and beat.held_ms > 0:
                return peer.name
        return ""

    def _patience_s(self, now: float) -> float:
        """Rule 3: a slot for each node that is before us."""
        me = self.scene.settings.me
        ranked = placement.order(self.group, self.candidates(now))
        rank = ranked.index(me) if me in ranked else len(ranked)
        return rank * self.scene.slot_s

    def candidates(self, now: float) -> list[Candidate]:
        """Every living node, as far as it may hold this group."""
        me = self.scene.settings.me
        fit = self.scene.is_fit(me, now) and not self.why_unfit
        found = [Candidate(me, fit, len(self.failures), self.scene.held_by(me, now))]
        for peer, beat in self.scene.beats(now, self.group.name):
            fit = self.scene.is_fit(peer.name, now) and beat.eligible
            found.append(Candidate(peer.name, fit, beat.failures, self.scene.held_by(peer.name, now)))
        return found

    def _want(self, now: float) -> None:
        ballot = Ballot(self.scene.next_round(self.voter), self.scene.settings.me)
        self.lease, self.state = Lease(self.scene.settings, ballot), GroupState.WANTING
        self.cause = self._explain(now)
        self.scene.urge()

    def _explain(self, now: float) -> str:
        if self.was_found:
            return "it was active here before the agent restarted"
        for peer, beat in self.scene.beats(now, self.group.name):
            if beat.yield_to == self.scene.settings.me:
                return f"{peer.name} handed it over"
        if not self.served_by:
            return "nobody held it and this node is the first choice"
        if self.served_by in self.voter.released and self.served_by in self.scene.membership.alive_names(now):
            return f"{self.served_by} let it go"
        return f"{self.served_by} is gone" if self.served_by != self.scene.settings.me else "nobody else took it"

    def _collect_promises(self, now: float) -> None:
        assert self.lease is not None
        if self.obstacle(now) or (self.holder_elsewhere(now) and not self._is_successor(now)):
            self.abandon(now)
            return
        ballot = self.lease.ballot
        mine = GroupBeat(self.group.name, want=ballot)
        self._consider_want(now, ballot.node, mine)
        promises = {self.scene.settings.me: self.voter.promised}
        promises |= {peer.name: beat.promised for peer, beat in self.scene.beats(now, self.group.name)}
        if any(promised is not None and promised > ballot for promised in promises.values()):
            self._step_back(now)
            return
        electorate, needed = self.scene.electorate(now)
        if sum(promises.get(name) == ballot for name in electorate) >= needed:
            self.state = GroupState.CLAIMING
            self.claim_seq = self.scene.next_seq
            self.claim_deadline = now + self.scene.settings.lease_s
            self.scene.urge()

    def _step_back(self, now: float) -> None:
        """Somebody else is ahead, or was: give it time, then try with a ballot above all seen."""
        self.abandon(now)
        slot_s = self.scene.slot_s
        self.not_before = now + slot_s * (1 + self.scene.rng.random()) + self._patience_s(now)

    def _collect_acceptances(self, now: float) -> None:
        assert self.lease is not None
        if self.obstacle(now) or now >= self.claim_deadline:
            self._step_back(now)
            return
        if self._renew(now):
            self.state, self.held_since, self.gap_s = GroupState.TAKING, now, None
            self.yield_to, self.drop_began = "", NEVER
            self.scene.do(Take(self.group.name, self.lease.tenure, self.lease.ends_at))
            self.scene.urge()

    # --- as the holder

    def _renew(self, now: float) -> bool:
        """Count the acceptances. True when the lease grew."""
        assert self.lease is not None
        votes: list[tuple[str, Accepted | None]] = [(self.scene.settings.me, self.voter.accepted)]
        votes += [(peer.name, beat.accepted) for peer, beat in self.scene.beats(now, self.group.name)]
        electorate, needed = self.scene.electorate(now)
        return self.lease.count(acceptances(self.lease, self.scene.membership, votes), electorate, needed=needed)

    def _keep(self, now: float) -> None:
        assert self.lease is not None
        if self._renew(now):
            self.scene.do(Renew(self.group.name, self.lease.ends_at))
        self._raise_ballot(now)
        if self.state is GroupState.TAKING and self._must_leave:
            self.drop(now, "this node is leaving")
        if self.state is GroupState.ACTIVE:
            self._consider_yielding(now)
        if self.state is GroupState.YIELDING:
            self._yield(now)
        if self.why_unfit and self.state in HOLDING and not self._is_forced(now):
            self.drop(now, self.why_unfit, yield_to=self._best_other(now))

    def _raise_ballot(self, now: float) -> None:
        """Rule 5."""
        assert self.lease is not None
        promised = [beat.promised for _, beat in self.scene.beats(now, self.group.name)]
        if any(ballot is not None and ballot > self.lease.ballot for ballot in promised):
            self.lease.ballot = Ballot(self.scene.next_round(self.voter), self.scene.settings.me)
            self.scene.urge()

    def _best_other(self, now: float) -> str:
        me = self.scene.settings.me
        others = [name for name in placement.order(self.group, self.candidates(now)) if name != me]
        return others[0] if others else ""

    def _consider_yielding(self, now: float) -> None:
        scene = self.scene
        if self._must_leave:
            why = "this node is stopping" if scene.is_stopping else "this node is in standby"
            if successor := self._best_other(now):
                self._begin_yield(now, successor, patience_s=max(1.0, 3 * scene.settings.interval_s))
            else:
                self.drop(now, f"{why}; no other node can take it")
            return
        if scene.orders.in_maintenance:
            return
        if successor := self._ordered_successor(now):
            order = scene.orders.move(now, self.group.name)
            self._begin_yield(now, successor, patience_s=order.ttl_ms / 1000 if order else 0.0)
        elif successor := self._failback(now):
            self._begin_yield(now, successor, patience_s=max(1.0, 3 * scene.settings.interval_s))

    @property
    def _must_leave(self) -> bool:
        return self.scene.is_stopping or self.scene.orders.is_standby(self.scene.settings.me)

    def _ordered_successor(self, now: float) -> str:
        order = self.scene.orders.move(now, self.group.name)
        if order is None or order.ballot is None or self.lease is None:
            return ""
        is_ours = self.lease.tenure <= order.ballot <= self.lease.ballot
        return order.target if is_ours and order.target != self.scene.settings.me else ""

    def _failback(self, now: float) -> str:
        after_s = self.group.failback_after_s
        if after_s is None:
            return ""
        better = placement.should_yield(self.group, self.scene.settings.me, self.candidates(now))
        if not better:
            self.better_since.clear()
            return ""
        since = self.better_since.setdefault(better, now)
        if now < since + after_s:
            return ""
        self.better_since[better] = now  # if it does not take now, ask again after the same time
        return better

    def _begin_yield(self, now: float, successor: str, *, patience_s: float) -> None:
        self.state, self.yield_to = GroupState.YIELDING, successor
        self.yield_deadline = now + patience_s
        self._note(now, "yielding", f"handing over to {successor}")
        self.scene.urge()

    def _yield(self, now: float) -> None:
        """Rule 4: let go as soon as the successor wants."""
        assert self.lease is not None
        for peer, beat in self.scene.beats(now, self.group.name):
            if peer.name == self.yield_to and beat.want is not None and beat.want > self.lease.ballot:
                self.drop(now, f"{self.yield_to} is ready")
                return
        if now < self.yield_deadline and self.scene.is_fit(self.yield_to, now):
            return
        if self._must_leave:
            self.drop(now, f"leaving; {self.yield_to} did not get ready in time")
            return
        self._note(now, "stays", f"{self.yield_to} did not get ready; the group stays here")
        self.state, self.yield_to = GroupState.ACTIVE, ""
        self.scene.orders.give(now, f"move/{self.group.name}", on=False)
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
            yield_to=self.yield_to,
            gap_ms=-1.0 if self.gap_s is None else 1000 * self.gap_s,
            down_ms=1000 * (now - self.drop_began) if self.drop_began > NEVER else -1.0,
            cause=self.cause if holds else "",
        )

    def holder(self, now: float) -> tuple[str, Peer | None]:
        """Who holds the group as far as we know: we, a peer that says so, or whom we are bound to."""
        if self.state in HOLDING or self.state is GroupState.DROPPING:
            return self.scene.settings.me, None
        name = self.holder_elsewhere(now) or self.voter.holder(now)
        return name, self.scene.membership.peers.get(name)

    def deadline(self, now: float) -> float:
        """When this group wants to be looked at again if nothing happens."""
        due = []
        if self.lease is not None and self.state in HOLDING:
            due.append(self.lease.let_go_at)
        if self.state is GroupState.YIELDING:
            due.append(self.yield_deadline)
        if self.state is GroupState.CLAIMING:
            due.append(self.claim_deadline)
        if self.state in (GroupState.IDLE, GroupState.WANTING):
            due += [*self.claims.values(), self.voter.bound_until, self.not_before, self.try_at]
        return min((instant for instant in due if instant > now), default=float("inf"))

    def vote_for_self(self, now: float, sender: Heartbeat) -> None:
        """Our own acceptance of our own claim, bound to the heartbeat that is about to carry it."""
        if self.state in HOLDING or self.state in (GroupState.DROPPING, GroupState.CLAIMING):
            self.voter.hear_claim(now, self.beat(now), sender)
