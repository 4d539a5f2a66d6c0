"""Before one group is taken: who may still have it, although no vote says so?

A majority's word is proof in `consistent`. In `available` a node that hears nobody counts alone, and the holder that it
does not hear may well be alive. Three witnesses outside the heartbeats are asked:

* the neighbours (`Watch`, `Guarded`): while anybody still answers for the group's addresses, it is not taken;
* the gateway (`GatewayChanged`): who alone cannot reach it is the one that is cut off, lets go and does not take;
* the fence: a member that vanished without releasing what it held is named in `Take.vanished`, so that the activation
  fences it first. `Fenced`, or the operator's word that it is down, ends that until the member is heard again.

A release, or a living peer that claims nothing, needs no caution: who can say so has let go, and whoever is first takes
it at once. But a node that nobody hears may be that first one. While there is such a node the neighbours are asked
after a release as well, and their answer is waited for unless the release is of this very moment.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from haagent.core.events import Watch
from haagent.core.group.transitions import TRYING, GroupState
from haagent.core.membership import NEVER, SUSPECT_INTERVALS, Peer
from haagent.core.messages import Ballot, GroupBeat, Heartbeat
from haagent.core.settings import LEADER

if TYPE_CHECKING:
    from haagent.core.election import Election

MAY_TAKE = (GroupState.IDLE, *TRYING)


class Caution:
    def __init__(self, election: Election) -> None:
        self.election = election
        self.last_held: Ballot | None = None  # highest ballot that anybody was heard, or seen by us, to hold with
        self.watched_since = NEVER
        self.word: str | None = None  # the neighbours': empty: nobody answers; None: not asked, or not answered yet
        self.is_watching = False
        self.free_since = NEVER  # nobody holds it any more, by the word of who did

    def hear(self, sender: Heartbeat, beat: GroupBeat) -> None:
        if beat.claim is not None and beat.held_ms > 0 and beat.claim.node == sender.node:
            self.held(beat.claim)

    def held(self, ballot: Ballot) -> None:
        self.last_held = ballot if self.last_held is None else max(self.last_held, ballot)

    # --- who may have it

    def lost_holder(self, now: float) -> str:
        """The last holder, if it went silent without a release and nobody has made sure that it is down."""
        election, last = self.election, self.last_held
        if last is None or last.node == election.scene.settings.me or election.scene.orders.is_down(last.node):
            return ""
        released = election.voter.released.get(last.node)
        if released is not None and released >= last:
            return ""
        peer = election.scene.membership.peers.get(last.node)
        return last.node if peer is not None and not self._disclaims(peer, now) else ""

    def _is_somebody_lost(self, now: float) -> bool:
        """One that could take what is free, and that we would not hear doing so."""
        witnesses = self.election.scene.witnesses
        return any(
            peer.name not in witnesses and not (peer.beat is not None and peer.beat.stopping)
            for peer in self._missing(now)
        )

    def _missing(self, now: float) -> Iterator[Peer]:
        """Who is not heard, and not known to be down."""
        scene = self.election.scene
        for peer in scene.membership.peers.values():
            if not peer.is_alive(now) and not scene.orders.is_down(peer.name):
                yield peer

    def _disclaims(self, peer: Peer, now: float) -> bool:
        beat = peer.groups.get(self.election.group.name)
        return peer.is_alive(now) and (beat is None or beat.claim is None)

    def vanished(self, now: float) -> tuple[str, ...]:
        """Whom to fence before taking. A node that we have never heard may hold it as well: we know nothing of it."""
        scene = self.election.scene
        if self.election.group.name == LEADER:
            return ()
        lost = self.lost_holder(now)
        return tuple(
            peer.name
            for peer in self._missing(now)
            if peer.name in scene.settings.fenced and (peer.name == lost or peer.heard_at == NEVER)
        )

    def _unheard(self, now: float) -> str:
        """Hosts that boot together must not fence each other: the first one up gives the others time to be heard."""
        scene = self.election.scene
        if now >= scene.born + scene.settings.alone_after_s:
            return ""
        peers = scene.membership.peers
        names = [name for name in self.vanished(now) if peers[name].heard_at == NEVER]
        return f"it waits to hear {' and '.join(names)} before it would fence" if names else ""

    # --- the neighbours

    def hear_word(self, word: str) -> None:
        if self.is_watching:
            self.word = word

    def obstacle(self, now: float) -> str:
        if self.election.campaign.is_successor(now):
            return ""
        if why := self._unheard(now):
            return why
        if not self.is_watching:
            return ""
        if self.word is None:
            is_late = now >= self.watched_since + self.election.scene.settings.lease_s
            is_fresh = now < self.free_since + self.election.scene.slot_s and self.last_held is not None
            return "" if is_late or is_fresh else "it asks whether anybody still answers for the addresses"
        return self.word

    def advance(self, now: float) -> None:
        may_take, lost = self.election.state in MAY_TAKE, self.lost_holder(now)
        if lost or not may_take:
            self.free_since = NEVER
        elif self.free_since == NEVER:
            self.free_since = now
        wanted = may_take and self._is_doubtful(now, lost)
        if wanted == self.is_watching:
            return
        self.is_watching, self.word, self.watched_since = wanted, None, now
        self.election.scene.do(Watch(self.election.group.name, wanted))

    def _is_doubtful(self, now: float, lost: str) -> bool:
        election, scene = self.election, self.election.scene
        settings = scene.settings
        if not settings.arp_guard or settings.consistent or election.group.name == LEADER:
            return False
        if not scene.is_fit(settings.me, now):
            return False
        if self.last_held is None:
            return not election.was_found
        if lost:
            return now >= self._suspect_at()
        return not election.why_unfit and self._is_somebody_lost(now)

    def _suspect_at(self) -> float:
        scene = self.election.scene
        peer = scene.membership.peers.get(self.last_held.node) if self.last_held is not None else None
        return NEVER if peer is None else peer.heard_at + SUSPECT_INTERVALS * scene.settings.interval_s

    def due(self) -> list[float]:
        scene, settings = self.election.scene, self.election.scene.settings
        due = [scene.born + settings.alone_after_s] if settings.fenced else []
        if settings.arp_guard and not settings.consistent:
            due += [self._suspect_at(), self.watched_since + settings.lease_s]
        return due
