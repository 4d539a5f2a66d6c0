"""Two holders of one group: who lets go.

It happens in `available` only, to nodes that were cut from each other. Of two, the one whose name sorts first decides
for both by `placement.winner`: it lets go, or it stays. The other lets go when it sees the judge still claiming in a
heartbeat that answers one in which it claimed itself. One decider, so never both and never neither. Where one does not
hear the other, the one that hears lets go: nobody else can.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from haagent.core import placement
from haagent.core.events import Announce
from haagent.core.group.transitions import HOLDING
from haagent.core.membership import NEVER
from haagent.core.messages import Ballot, GroupBeat, Heartbeat
from haagent.core.placement import Contender

if TYPE_CHECKING:
    from haagent.core.election import Election


class Rivalry:
    def __init__(self, election: Election) -> None:
        self.election = election
        self.since: dict[str, float] = {}  # who claims to hold it too, and since when we have heard that
        self.heard_at: dict[str, float] = {}  # and when last
        self.answers: dict[str, int] = {}  # our first heartbeat that answers such a claim, and so shows that we hear it

    def hear(self, now: float, sender: Heartbeat, beat: GroupBeat) -> None:
        rival_holds = beat.claim is not None and beat.held_ms > 0 and not beat.leaving
        if not rival_holds:
            if self.since.pop(sender.node, None) is not None and self.election.state in HOLDING:
                self._announce(f"{sender.node} had claimed it too and has let go")
            return
        if self.election.state not in HOLDING or self.election.lease is None:
            return
        silence_s = now - self.heard_at.get(sender.node, NEVER)
        self.heard_at[sender.node] = now
        is_news = sender.node not in self.since or silence_s > self.election.scene.settings.lease_s
        if is_news:
            self.since[sender.node] = now
            self.answers[sender.node] = self.election.scene.next_seq
            self.election.scene.urge()  # the rival decides by what our next heartbeat echoes
            self.election.note(now, "conflict", f"{sender.node} claims {self.election.group.name} as well")
        if self._loses_to(now, sender, beat):
            self.election.drop(now, f"{sender.node} holds it too and keeps it", yield_to=sender.node)
        elif is_news:
            self._announce(f"{sender.node} claims it too")

    def _loses_to(self, now: float, rival: Heartbeat, beat: GroupBeat) -> bool:
        me = self.election.scene.settings.me
        if self.election.scene.settings.consistent:
            return False  # our lease is proved, so its own has run out: it is late, or its word is
        if not self.election.scene.membership.peers[rival.node].is_alive(now):
            # Its word may be an old one; or it does not hear us, and then only we can end this.
            return now >= self.since[rival.node] + self.election.scene.settings.lease_s
        if me < rival.node:
            tenure = self.election.lease.tenure if self.election.lease is not None else Ballot(0, me)
            their_tenure = beat.tenure or beat.claim or Ballot(0, rival.node)
            mine = Contender(me, self.election.scene.gateway, tenure.round)
            theirs = Contender(rival.node, rival.gateway, their_tenure.round)
            return placement.winner(self.election.group, mine, theirs) != me
        echo = rival.heard.get(me)
        judged_from = max(self.election.held_seq, self.answers[rival.node])
        return echo is not None and echo.boot == self.election.scene.boot and echo.seq >= judged_from

    def _announce(self, why: str) -> None:
        self.election.scene.do(Announce(self.election.group.name, why))
