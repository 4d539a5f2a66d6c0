"""Who is in sync, and who waits for it.

A ticket stands for a change, by its number in the stream, and waits for those peers that were waited for when it was
drawn. A peer is waited for from the moment at which nothing is missing there of what went before; it counts as in sync
when it has caught up with that moment. So at each instant a peer that is in sync has all that was ever answered, or
holds up the answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from haagent.core.store.comparison import Answers
from haagent.core.store.events import Action, Answer, Note, Outcome, ReplicaSettings
from haagent.core.store.stream import Reader

NEVER = float("inf")


@dataclass
class Peer:
    name: str
    number: int  # in stamps
    is_linked: bool = False
    has_greeted: bool = False
    is_ready: bool = False
    keys: int = 0
    life: int = 0  # the newest that we have heard of
    since: int = 0  # the first stamp of that life
    parted_at: float = NEVER
    # Of its stream
    heard: int = 0
    is_complete: bool = False  # nothing that it had before is missing here
    compared_at: float | None = None  # when we have last compared all
    # Of ours
    reader: Reader = field(default_factory=Reader)
    answers: Answers = field(default_factory=Answers)
    is_synced: bool = False  # it says that nothing is missing there
    target: int = 0  # it is in sync when it has this; 0: nobody waits for it
    is_in_sync: bool = False


@dataclass
class Ticket:
    number: int
    seq: int
    until: float
    waits: set[str]
    has_lost: bool = False  # one that was in sync


class InSync:
    def __init__(self, settings: ReplicaSettings, peers: Mapping[str, Peer], do: Callable[[Action], None]) -> None:
        self.dropped = 0
        self._settings = settings
        self._peers = peers
        self._do = do
        self._tickets: deque[Ticket] = deque()

    @property
    def names(self) -> set[str]:
        return {peer.name for peer in self._peers.values() if peer.is_in_sync}

    @property
    def deadline(self) -> float:
        return self._tickets[0].until if self._tickets else NEVER

    def draw(self, now: float, number: int, seq: int) -> None:
        """A ticket for the change with this number."""
        waits = {peer.name for peer in self._peers.values() if peer.target}
        if self._settings.is_strict and not self.names:
            self._do(Answer(number, Outcome.NO_REPLICAS))
        elif waits or self._tickets:
            self._tickets.append(Ticket(number, seq, now + self._settings.sync_timeout_s, waits))
        else:
            self._do(Answer(number, Outcome.OK))

    def settle(self, now: float, seq: int) -> None:
        for peer in self._peers.values():
            is_whole = peer.is_linked and peer.is_ready and peer.is_synced and peer.reader.is_reading
            if is_whole and not peer.target:
                peer.target = max(seq, 1)
            if is_whole and not peer.is_in_sync and peer.reader.acked >= min(peer.target, seq):
                peer.is_in_sync = True
                self._do(Note("in_sync", peer.name, "has all that was changed here"))
        if now >= self.deadline:
            first = self._tickets[0]
            for name in sorted(first.waits):
                if self._peers[name].reader.acked < first.seq:
                    self.drop(self._peers[name], "has not answered in time")
        while self._tickets:
            first = self._tickets[0]
            if any(self._peers[name].reader.acked < first.seq for name in first.waits):
                break
            self._tickets.popleft()
            has_failed = self._settings.is_strict and first.has_lost
            self._do(Answer(first.number, Outcome.NO_REPLICAS if has_failed else Outcome.OK))

    def drop(self, peer: Peer, why: str) -> None:
        """Nobody waits for it."""
        if peer.is_in_sync:
            self.dropped += 1
            self._do(Note("out_of_sync", peer.name, why))
        for ticket in self._tickets:
            if peer.name in ticket.waits:
                ticket.waits.discard(peer.name)
                ticket.has_lost = ticket.has_lost or peer.is_in_sync
        peer.is_in_sync, peer.target = False, 0
