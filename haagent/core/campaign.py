"""When this node tries to take a group: what keeps it from trying, and when its turn comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from haagent.core import placement
from haagent.core.membership import NEVER
from haagent.core.messages import GroupBeat, Heartbeat
from haagent.core.placement import Candidate

if TYPE_CHECKING:
    from haagent.core.election import Election


class Campaign:
    def __init__(self, election: Election, now: float) -> None:
        self.election = election
        self.free_since = now
        self.not_before = NEVER  # we have just failed: others first
        self.courteous_until = NEVER  # we have just let go: others first, until one of them has it
        self.try_at = float("inf")  # when this node's turn comes, once the group is free
        self.claims: dict[str, float] = {}  # who has claimed it lately, and until when that may be worth something

    def hear(self, now: float, sender: Heartbeat, beat: GroupBeat) -> None:
        if beat.claim is not None:
            self.claims[sender.node] = now + sender.lease_ms / 1000
            if beat.held_ms:
                self.courteous_until = NEVER
        else:
            self.claims.pop(sender.node, None)

    def let_others(self, now: float, *, wait_s: float) -> None:
        self.not_before = max(self.not_before, now + wait_s)

    def obstacle(self, now: float) -> str:
        """Why this node would not take the group at present; empty: it would."""
        scene = self.election.scene
        if not scene.is_fit(scene.settings.me, now):
            return scene.unfitness(scene.settings.me, now)
        if self.election.why_unfit and not self.is_forced(now):
            return self.election.why_unfit
        was_ours = self.election.was_found or self.election.service.by == scene.settings.me
        if scene.orders.in_maintenance and not was_ours:
            return "maintenance is on"
        if not self.election.may_vote(now):
            return "it has just started and waits for votes of its earlier life to run out"
        if now < scene.listen_until:
            return "it was not running for a while and listens first"
        if not scene.may_act_alone(now):
            return "it hears no other node and waits for alone_after"
        if why := scene.isolation(now) or self.election.caution.obstacle(now):
            return why
        if scene.settings.arbiter:
            return scene.arbiter_fault if scene.settings.consistent else ""
        if not scene.membership.is_quorate(now):
            alive, total = len(scene.membership.alive(now)) + 1, len(scene.settings.nodes)
            return f"it sees {alive} of {total} voters and needs {scene.settings.majority}"
        return ""

    def is_forced(self, now: float) -> bool:
        order = self.election.scene.orders.move(now, self.election.group.name)
        return order is not None and order.forced and order.target == self.election.scene.settings.me

    def may_try(self, now: float) -> bool:
        self.try_at = float("inf")
        is_successor = self.is_successor(now)
        is_settled = self.election.voter.is_bound(now) and not is_successor
        if is_settled or self.obstacle(now):
            self.free_since = now
            return False
        if is_successor:
            return True
        # A claim that we heard while we had no vote to give (restart silence) counts as well: in `available` its
        # holder may be declared dead, and leave the electorate, before its lease ends.
        spent_at = max([self.election.voter.bound_until, self.election.arbitration.bound_until, *self.claims.values()])
        is_held = self.holder_elsewhere(now) or self.is_claimed(now)
        if is_held or self.election.arbitration.holder(now):
            self.free_since = now
            return False
        if self._has_promised(now):
            self.try_at = now + self.election.scene.slot_s
            return False
        # The patience counts from when the group became free, not from when we came to look.
        self.free_since = min(now, max(self.free_since, spent_at))
        self.try_at = max(self.not_before, self.courteous_until, self.free_since + self.patience_s(now))
        return now >= self.try_at

    def is_successor(self, now: float) -> bool:
        """A holder is about to let go in our favour (rule 4)."""
        me = self.election.scene.settings.me
        return any(
            beat.yield_to == me and (beat.claim is not None or self._is_free_after(now, beat))
            for _, beat in self.election.scene.beats(now, self.election.group.name)
        )

    def _is_free_after(self, now: float, beat: GroupBeat) -> bool:
        """Its release is the last word on the group that we know of."""
        if beat.released is None:
            return False
        promises = [self.election.voter.promised]
        promises += [other.promised for _, other in self.election.scene.beats(now, self.election.group.name)]
        return all(promised is None or promised <= beat.released for promised in promises)

    def _has_promised(self, now: float) -> bool:
        """Our vote is with somebody's present want: let it win."""
        promised, beats = self.election.voter.promised, self.election.scene.beats(now, self.election.group.name)
        return any(beat.want is not None and beat.want == promised for _, beat in beats)

    def is_claimed(self, now: float) -> bool:
        """Somebody has claimed it lately enough to hold it still, whether or not it hears us."""
        return any(now < end for end in self.claims.values())

    def holder_elsewhere(self, now: float) -> str:
        """A living peer that says it holds the group."""
        for peer, beat in self.election.scene.beats(now, self.election.group.name):
            if beat.claim is not None and beat.held_ms > 0:
                return peer.name
        return ""

    def patience_s(self, now: float) -> float:
        """Rule 3: a slot for each node that is before us."""
        me, ranked = self.election.scene.settings.me, self._ranked(now)
        rank = ranked.index(me) if me in ranked else len(ranked)
        return rank * self.election.scene.slot_s

    def first_choice(self, now: float) -> str:
        return next(iter(self._ranked(now)), "")

    def _ranked(self, now: float) -> list[str]:
        return placement.order(self.election.group, self.candidates(now))

    def candidates(self, now: float, *, may_wait: bool = False) -> list[Candidate]:
        """Every living node, as far as it may hold this group; without `may_wait`, now."""
        me = self.election.scene.settings.me
        fit = self.election.scene.is_fit(me, now) and not self.election.why_unfit
        fit = fit and not self.election.scene.isolation(now)
        found = [Candidate(me, fit, len(self.election.failures), self.election.scene.held_by(me, now))]
        for peer, beat in self.election.scene.beats(now, self.election.group.name):
            has_vote = peer.beat is not None and peer.beat.silent_ms < 1000 * self.election.scene.slot_s
            has_vote = has_vote or may_wait
            fit = self.election.scene.is_fit(peer.name, now) and beat.eligible and has_vote
            fit = fit and not self.election.scene.isolation(now, peer.name)
            found.append(Candidate(peer.name, fit, beat.failures, self.election.scene.held_by(peer.name, now)))
        return found

    def explain(self, now: float) -> str:
        if self.election.was_found:
            return "it was active here before the agent restarted"
        for peer, beat in self.election.scene.beats(now, self.election.group.name):
            if beat.yield_to == self.election.scene.settings.me:
                return f"{peer.name} handed it over"
        scene, last = self.election.scene, self.election.service
        if not last.by:
            return "nobody held it and this node is the first choice"
        if last.by == scene.settings.me:
            return "nobody else took it" if last.at > NEVER else "it was active here before the agent restarted"
        has_let_go = last.by in self.election.voter.released and last.by in scene.membership.alive_names(now)
        return f"{last.by} let it go" if has_let_go else f"{last.by} is gone"

    def due(self) -> list[float]:
        waits = (self.not_before, self.courteous_until, self.try_at)
        return [*self.claims.values(), self.election.arbitration.bound_until, *waits]
