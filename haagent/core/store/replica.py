"""Replication: one machine a node, over ordered and reliable links that come and go.

Every node is linked to every other one, and ships what was changed on it to all of them: nobody passes on what it has
heard. A peer says how far it has our stream (`Resume`); what the backlog no longer has, and what never was in a stream,
a comparison brings (comparison.py).

A life that begins is not ready. It finds a ready peer, drops what it has kept of an earlier life, for the peer does not
confirm it, takes the peer's store, and compares once more; then it is ready, and compares with the others. Where all
peers are there and none is ready, the one with the most keys is. Who meets nobody for `join_timeout_s` is ready alone.

A peer that is linked and does not go on answering is hung up on: another one may be asked meanwhile.

A peer that was away for longer than removals are remembered may hold what was removed here, and we what was removed
there. What each has seen tells (seen.py).

`sync`: who counts and who waits is in insync.py. Whoever does not answer in time is dropped, loudly, and comes in again
when nothing is missing there. A new life is out at once.

Locks belong to a life. They are removed when it is over: its successor says hello, it was away for `dead_after_s`, or
somebody says that its node is lost (`Died`); then it is waited for no longer, too.
"""

from __future__ import annotations

import random

from haagent.core.store.bounds import Nonsense, check
from haagent.core.store.comparison import Comparison
from haagent.core.store.events import (
    Action,
    Answer,
    Died,
    Event,
    HangUp,
    Linked,
    Note,
    Outcome,
    Peered,
    Ready,
    Received,
    ReplicaSettings,
    Send,
    Unlinked,
    Wrote,
)
from haagent.core.store.insync import NEVER, InSync, Peer
from haagent.core.store.messages import (
    VERSION,
    Ack,
    Ask,
    Batch,
    Behind,
    Compare,
    Digests,
    Hello,
    Joined,
    Message,
    Resume,
    Slice,
    Synced,
)
from haagent.core.store.seen import Seen
from haagent.core.store.store import Store
from haagent.core.store.stream import Stream

LATEST = 1 << 64  # later than any stamp
RETRY_S = 5.0  # after a comparison that has failed: the clocks differ
ANSWER_S = 30.0  # until a peer that does not go on telling what it has is given up: one that lives takes milliseconds


class Replica:
    def __init__(self, settings: ReplicaSettings, store: Store, *, life: int, now: float, rng: random.Random) -> None:
        self.settings = settings
        self.store = store
        self.life = life
        self.peers = {name: Peer(name, number) for name, number in settings.peers.items()}
        self.is_ready = False
        self.stream = Stream(settings.backlog_bytes, settings.window_bytes, settings.touch_every_s)
        self.deadline = now
        self.counters = dict.fromkeys(("compared", "differed", "behind", "refused", "locks", "nonsense"), 0)
        self._sync = InSync(settings, self.peers, self._do)
        self._comparison: Comparison | None = None
        self._answer_by = NEVER  # of a comparison
        self._round = 0
        self._join_by = now + settings.join_timeout_s
        self._joins_since: float | None = None
        self._next_check = now + settings.compare_every_s * (0.5 + rng.random())
        self._queue: list[str] = []  # whom to compare with next
        self._actions: list[Action] = []
        self._not_before = now  # no comparison, after one has failed
        self._since = 0  # the first stamp of this life
        store.seen = Seen()

    def step(self, now: float, now_ms: int, event: Event) -> list[Action]:
        self._actions, self.stream.now = [], now
        self._since = self._since or self.store.clock.next(now_ms)
        self.store.seen.add(self.settings.number, self._since, self.store.clock.last)
        match event:
            case Wrote():  # shipped with all that this turn of the caller brings
                self._wrote(now, now_ms, event)
                self.deadline = now
                return self._actions
            case Received():
                peer = self.peers[event.peer]
                if peer.is_linked:
                    self._heard(now, now_ms, peer, event.message)
            case Linked():
                self._linked(now_ms, self.peers[event.peer], event.life)
            case Unlinked():
                self._unlinked(now, self.peers[event.peer])
            case Peered():
                self._peered(event.peers)
            case Died():
                self._died(now, now_ms, event.peer)
        self._tick(now, now_ms)
        return self._actions

    @property
    def in_sync(self) -> set[str]:
        """The peers that have, or get before they are dropped, all that was answered here."""
        return self._sync.names

    # What happens

    def _wrote(self, now: float, now_ms: int, event: Wrote) -> None:
        has_values = self.stream.add(now_ms, event.effects)
        if event.ticket is None:
            return
        if has_values and self.settings.is_sync:
            self._sync.draw(now, event.ticket, self.stream.seq)
        else:
            self._do(Answer(event.ticket, Outcome.OK))

    def _linked(self, now_ms: int, peer: Peer, life: int) -> None:
        if life != peer.life:
            self._sync.drop(peer, "has a new life")
        peer.is_linked, peer.has_greeted, peer.is_synced = True, False, False
        peer.parted_at = NEVER
        peer.reader.is_reading = False
        stream = self.stream
        hello = Hello(VERSION, self.life, self.is_ready, self.store.count, stream.first, stream.seq, self._since)
        self._send(peer, hello)

    def _unlinked(self, now: float, peer: Peer) -> None:
        peer.is_linked = peer.has_greeted = peer.is_synced = False
        peer.reader.is_reading = False
        peer.parted_at = now
        self.store.seen.end_link()
        if self._comparison is not None and self._comparison.peer == peer.name:
            self._comparison = None

    def _peered(self, peers: dict[str, int]) -> None:
        """Who goes is no longer waited for; its link has ended before. Who comes is linked after."""
        for name in self.peers.keys() - peers.keys():
            self._sync.drop(self.peers[name], "is no longer in the configuration")
            del self.peers[name]
        for name in peers.keys() - self.peers.keys():
            self.peers[name] = Peer(name, peers[name])
        self._queue = [name for name in self._queue if name in peers]

    def _died(self, now: float, now_ms: int, name: str) -> None:
        peer = self.peers.get(name)
        if peer is None:
            return
        if peer.is_linked:  # the kernel may take it for living for a while yet
            self._unlinked(now, peer)
        self._sync.drop(peer, "its node is lost")
        self._end_locks(now, now_ms, peer, LATEST)

    def _heard(self, now: float, now_ms: int, peer: Peer, message: Message) -> None:
        try:
            check(message, peer, seq=self.stream.seq, databases=len(self.store.spaces))
        except Nonsense as nonsense:
            self.counters["nonsense"] += 1
            self._unlinked(now, peer)
            self._do(HangUp(peer.name, str(nonsense)))
        else:
            self._received(now, now_ms, peer, message)
            self.stream.add(now_ms, self.store.take_effects())

    def _received(self, now: float, now_ms: int, peer: Peer, message: Message) -> None:
        match message:
            case Hello():
                self._greeted(now, now_ms, peer, message)
            case Joined():
                peer.is_ready = True
                peer.is_complete = peer.is_complete and not message.has_kept
            case Resume():
                if not message.is_complete:
                    self._sync.drop(peer, "lacks something of what was changed here")
                peer.reader.start(message.seq)
                peer.is_synced = message.is_complete
            case Batch():
                refused = sum(not self.store.apply(now_ms, effect) for effect in message.effects)
                peer.heard = message.seq
                if peer.is_complete and not refused:
                    newest = max(effect.stamp for effect in message.effects)
                    self.store.seen.add(peer.number, peer.since, newest)
                if refused:
                    self.counters["refused"] += refused
                    self._lost_something(peer)
                if self.store.is_full():
                    self.store.evict(now_ms, 1_000)
                self._send(peer, Ack(message.seq, refused))
            case Ack():
                peer.reader.ack(now, message.seq)
                if message.refused:
                    peer.is_synced = False
                    self._sync.drop(peer, "refuses what was changed here: the clocks differ too much")
            case Behind():
                self.counters["behind"] += 1
                self._begin_anew(peer, message.seq)
            case Compare():
                self.stream.release_touches()
                self._pump(peer)
                self.store.expire_some(now_ms, 10_000)
                self._send(peer, peer.answers.digests(self.store, message.round, with_traces=message.traces))
            case Ask():
                for part in peer.answers.slices(self.store, now_ms, message):
                    self._send(peer, part)
            case Digests() | Slice():
                self._compared(now, now_ms, peer, message)
            case Synced():
                peer.is_synced = True

    def _greeted(self, now: float, now_ms: int, peer: Peer, hello: Hello) -> None:
        is_known = hello.life == peer.life
        if not is_known:
            self._end_locks(now, now_ms, peer, hello.since)
            peer.life, peer.heard, peer.since = hello.life, hello.seq, hello.since
            # It drops what it has kept, or says so when it is ready. We, before we are, may have to drop what we hear.
            peer.is_complete = self.is_ready and not hello.is_ready
        peer.has_greeted, peer.is_ready, peer.keys = True, hello.is_ready, hello.keys
        if hello.first <= peer.heard and peer.is_complete:
            self._send(peer, Resume(peer.heard, is_complete=True))
            return
        self._begin_anew(peer, hello.seq)

    def _begin_anew(self, peer: Peer, seq: int) -> None:
        """From here on we have its stream; what was before, a comparison brings."""
        peer.heard = seq
        self._lost_something(peer)
        self._send(peer, Resume(seq, is_complete=False))

    def _lost_something(self, peer: Peer) -> None:
        peer.is_complete = False
        if self._comparison is not None and self._comparison.peer == peer.name:
            self._comparison.is_void = True

    def _end_locks(self, now: float, now_ms: int, peer: Peer, before: int) -> None:
        if peer.life:
            self.counters["locks"] += self.store.remove_locks(now_ms, peer.number, before)
            self.stream.add(now_ms, self.store.take_effects())

    # Comparing

    def _start_comparison(self, now: float, now_ms: int) -> None:
        there = [peer for peer in self.peers.values() if peer.has_greeted]
        if not self.is_ready:
            donors = [peer for peer in there if peer.is_ready]
            if donors:
                donor = max(donors, key=lambda peer: (peer.keys, peer.name))
                if self._joins_since is None:
                    self._joins_since = now
                    self._note("joins", donor.name, "has the sessions that are taken over")
                self.store.clear()
                self._compare(now_ms, donor, with_traces=True)
            elif len(there) == len(self.peers) and self._is_first(there):
                self._become_ready("all peers are here, and none is ready")
            elif now >= self._join_by and all(peer.has_greeted for peer in self.peers.values() if peer.is_linked):
                self._become_ready("no ready peer was found in time")
            return
        if now >= self._next_check:
            self._next_check = now + self.settings.compare_every_s
            # Who has evicted something would take it again each time.
            self._queue = [peer.name for peer in there if peer.is_ready and not self.store.evicted]
        for peer in there:
            if peer.is_ready and not peer.is_complete:
                self._compare(now_ms, peer, with_traces=True)
                return
        while self._queue:
            peer = self.peers[self._queue.pop()]
            if peer.has_greeted:
                self._compare(now_ms, peer, with_traces=False)
                return

    def _is_first(self, there: list[Peer]) -> bool:
        return all((self.store.count, self.settings.me) > (peer.keys, peer.name) for peer in there)

    def _compare(self, now_ms: int, peer: Peer, *, with_traces: bool) -> None:
        self._round += 1
        self._comparison = Comparison(peer.name, self._round, with_traces and not self.is_ready)
        self._answer_by = self.stream.now + ANSWER_S
        self.stream.release_touches()
        self._pump(peer)
        self.store.expire_some(now_ms, 10_000)
        self._send(peer, Compare(self._round, with_traces))

    def _compared(self, now: float, now_ms: int, peer: Peer, message: Digests | Slice) -> None:
        comparison = self._comparison
        if comparison is None or (peer.name, message.round) != (comparison.peer, comparison.round):
            return  # an answer to one that was given up
        self._answer_by = now + ANSWER_S
        if isinstance(message, Digests):
            comparison.hear_digests(self.store, message)
        else:
            comparison.hear_slice(self.store, now_ms, message)
        for ask in comparison.asks(self.store, now_ms):
            self._send(peer, ask)
        if not comparison.is_done:
            return
        self._comparison = None
        self.counters["compared"] += 1
        self.counters["differed"] += comparison.differed
        self.counters["refused"] += comparison.refused
        if comparison.refused or comparison.is_void:
            self._not_before = now + RETRY_S if comparison.refused else now
            return
        comparison.end(self.store)
        if comparison.is_first:
            self._compare(now_ms, peer, with_traces=False)  # once more, for what has changed meanwhile
            return
        peer.is_complete, peer.compared_at = True, now
        self._send(peer, Synced())
        if not self.is_ready:
            assert self._joins_since is not None
            took_ms = 1000 * (now - self._joins_since)
            why = f"{self.store.count} keys were taken over from {peer.name} in {took_ms:.0f} ms"
            self._become_ready(why, has_kept=False)

    def _become_ready(self, why: str, *, has_kept: bool = True) -> None:
        self.is_ready = True
        has_kept = has_kept and self.store.count > 0
        self._note("ready", self.settings.me, why)
        self._do(Ready())
        for peer in self.peers.values():
            if has_kept:
                peer.is_synced = False
                self._sync.drop(peer, "does not have what was kept here")
            if peer.is_linked:
                self._send(peer, Joined(has_kept))

    # Time

    def _tick(self, now: float, now_ms: int) -> None:
        if now >= self.stream.touches_due:
            self.stream.release_touches()
        for peer in self.peers.values():
            if now >= peer.parted_at + self.settings.dead_after_s:
                peer.parted_at = NEVER
                self._end_locks(now, now_ms, peer, LATEST)
        if self._comparison is not None and now >= self._answer_by:
            peer = self.peers[self._comparison.peer]
            self._unlinked(now, peer)
            self._do(HangUp(peer.name, "nothing, where it was asked what it has"))
        if self._comparison is None and now >= self._not_before:
            self._start_comparison(now, now_ms)
        for peer in self.peers.values():
            self._pump(peer)
        self._sync.settle(now, self.stream.seq)
        self.store.is_apart = not all(peer.is_synced and peer.is_complete for peer in self.peers.values())
        self._plan(now)

    def _pump(self, peer: Peer) -> None:
        for message in self.stream.read(peer.reader) if peer.is_linked else ():
            if isinstance(message, Behind):
                self.counters["behind"] += 1
                peer.is_synced = False
                self._sync.drop(peer, "is too far behind")
            self._send(peer, message)

    def _plan(self, now: float) -> None:
        lacking = any(peer.has_greeted and peer.is_ready and not peer.is_complete for peer in self.peers.values())
        compare_at = now if lacking else self._next_check if self.is_ready else self._join_by
        compare_at = max(compare_at, self._not_before)
        self.deadline = min(
            self.stream.touches_due,
            self._answer_by if self._comparison is not None else compare_at if compare_at > now else NEVER,
            self._sync.deadline,
            *(peer.parted_at + self.settings.dead_after_s for peer in self.peers.values()),
        )

    # Out

    def _do(self, action: Action) -> None:
        self._actions.append(action)

    def _send(self, peer: Peer, message: Message) -> None:
        self._do(Send(peer.name, message))

    def _note(self, kind: str, peer: str, text: str) -> None:
        self._do(Note(kind, peer, text))
