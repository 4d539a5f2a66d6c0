"""Handing a group over while it is served: to whom, why, and when to let go.

The holder names its successor; the successor announces its want while the group is still served here, which shows that
it is alive and ready. Only then does the holder let go.

What it will say when it has let go is known before: that the group is released, and that its vote is now the
successor's. These words are left with the shell (`farewell`), which says them the moment the addresses are shut. What
they state is true from the next decision on: the vote is given when `Dropped` comes (`redeem`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from haagent.core import placement
from haagent.core.events import Prepare
from haagent.core.group.transitions import GroupState, become
from haagent.core.membership import NEVER, Peer
from haagent.core.messages import Accepted, Ballot, GroupBeat

if TYPE_CHECKING:
    from haagent.core.election import Election


class Handover:
    def __init__(self, election: Election) -> None:
        self.election = election
        self.to = ""  # stays named after the release, so that the others let it go first
        self.deadline = NEVER
        self.better_since: dict[str, float] = {}  # failback: since when each preferred node has been fit
        self._pledge: tuple[Accepted, float, float] | None = None  # our vote after the release, since when, how long

    def best_other(self, now: float, *, may_wait: bool = False) -> str:
        """`may_wait`: also one that has just started and has no vote yet."""
        campaign, me = self.election.campaign, self.election.scene.settings.me
        others = placement.order(self.election.group, campaign.candidates(now, may_wait=may_wait))
        return next((name for name in others if name != me), "")

    def consider(self, now: float) -> None:
        scene = self.election.scene
        if self.must_leave:
            why = "this node is stopping" if scene.is_stopping else "this node is in standby"
            if successor := self.best_other(now):
                self._begin(now, successor, patience_s=self._patience_s)
            elif successor := self.best_other(now, may_wait=True):
                self._begin(now, successor, patience_s=self._patience_s + self._silence_s(successor))
            else:
                self.election.drop(now, f"{why}; no other node can take it")
            return
        if scene.orders.in_maintenance:
            return
        if successor := self._ordered_successor(now):
            order = scene.orders.move(now, self.election.group.name)
            self._begin(now, successor, patience_s=order.ttl_ms / 1000 if order else 0.0)
        elif successor := self._failback(now):
            self._begin(now, successor, patience_s=self._patience_s)

    @property
    def _patience_s(self) -> float:
        """With a successor that nobody has ordered."""
        return max(1.0, 3 * self.election.scene.settings.interval_s)

    def _silence_s(self, name: str) -> float:
        peer = self.election.scene.membership.peers.get(name)
        return 0.0 if peer is None or peer.beat is None else peer.beat.silent_ms / 1000

    @property
    def must_leave(self) -> bool:
        scene = self.election.scene
        if scene.orders.in_maintenance:
            return False  # nothing moves; a stop leaves everything in place
        return scene.is_stopping or scene.orders.is_standby(scene.settings.me)

    def _ordered_successor(self, now: float) -> str:
        order = self.election.scene.orders.move(now, self.election.group.name)
        if order is None or order.ballot is None or self.election.lease is None:
            return ""
        is_ours = self.election.lease.tenure <= order.ballot <= self.election.lease.ballot
        return order.target if is_ours and order.target != self.election.scene.settings.me else ""

    def _failback(self, now: float) -> str:
        after_s = self.election.group.failback_after_s
        if after_s is None:
            return ""
        better = placement.should_yield(
            self.election.group, self.election.scene.settings.me, self.election.campaign.candidates(now)
        )
        if not better:
            self.better_since.clear()
            return ""
        since = self.better_since.setdefault(better, now)
        if now < since + after_s:
            return ""
        self.better_since[better] = now  # if it does not take now, ask again after the same time
        return better

    def _begin(self, now: float, successor: str, *, patience_s: float) -> None:
        become(self.election, GroupState.YIELDING)
        self.to = successor
        self.deadline = now + patience_s
        self.election.note(now, "yielding", f"handing over to {successor}")
        self.election.scene.do(Prepare(self.election.group.name))
        self.election.scene.urge()

    def proceed(self, now: float) -> None:
        """Rule 4: let go as soon as the successor wants."""
        assert self.election.lease is not None
        for peer, beat in self.election.scene.beats(now, self.election.group.name):
            if peer.name == self.to and beat.want is not None and beat.want > self.election.lease.ballot:
                self._pledge_vote(now, peer, beat.want)
                self.election.drop(now, f"{self.to} is ready")
                return
        if now < self.deadline and self.election.scene.is_fit(self.to, now):
            return
        if self.must_leave:
            self.election.drop(now, f"leaving; {self.to} did not get ready in time")
            return
        self.election.note(now, "stays", f"{self.to} did not get ready; the group stays here")
        order = self.election.scene.orders.move(now, self.election.group.name)
        if order is not None and order.target == self.to:  # not a newer one, to somebody else
            self.election.scene.order(now, f"move/{self.election.group.name}", on=False)
        become(self.election, GroupState.ACTIVE)
        self.to = ""
        self.election.scene.urge()

    def _pledge_vote(self, now: float, peer: Peer, want: Ballot) -> None:
        election = self.election
        if peer.beat is None or peer.boot is None or not election.may_vote(now):
            return
        if election.voter.may_be_handed(want):
            self._pledge = Accepted(want, peer.boot, peer.seq), now, peer.beat.lease_ms / 1000

    def farewell(self, now: float) -> GroupBeat | None:
        """What `Election.beat` will say of the group as soon as it is let go; None: that is not known."""
        if self._pledge is None or self.election.lease is None:
            return None
        vote, _, _ = self._pledge
        return msgspec.structs.replace(
            self.election.beat(now),
            promised=vote.ballot,
            accepted=vote,
            claim=None,
            released=self.election.lease.ballot,
            tenure=None,
            held_ms=0,
            cause="",
            leaving=False,
        )

    def redeem(self, now: float) -> None:
        """The group is released: the vote that was pledged for that moment.

        It took some time. So it goes to what the successor has said last, if that one still wants the group; else it
        binds us for no longer than the successor can count on it: from when it was pledged.
        """
        if self._pledge is None:
            return
        (vote, since, lease_s), self._pledge = self._pledge, None
        for peer, beat in self.election.scene.beats(now, self.election.group.name):
            if (peer.name, peer.boot, beat.want) == (vote.ballot.node, vote.boot, vote.ballot):
                vote, since = Accepted(vote.ballot, vote.boot, peer.seq), now
        self.election.voter.accept(since, vote, lease_s=lease_s)
