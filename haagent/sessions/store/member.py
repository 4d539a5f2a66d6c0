"""A member of the replicated store: the door in front, the peers behind, and the machine between them.

The machine (`core.store.replica`) decides; here its events come about and its actions are done. All of it is in one
loop, so what a command has changed, the batch that ships it and the replies that wait for it keep their order.

What goes to a peer waits (outgoing.py) while its link has no room: no more than the machine allows to be under way, and
what answers a few questions of the peer. It is forgotten with the link. While the store is not ready the door says so
(`-LOADING`).
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

import msgspec

from haagent import peerlink
from haagent.core.store import events
from haagent.core.store.effects import Effect
from haagent.core.store.events import Answer, HangUp, Note, Outcome, Ready, ReplicaSettings, Send
from haagent.core.store.messages import Ask, Assembler, Behind, Compare, Hello, Resume, frames
from haagent.core.store.replica import Replica
from haagent.peerlink import LinkSettings, PeerLink
from haagent.sessions.messages import Facts, PeerFacts
from haagent.sessions.sockets import going_on
from haagent.sessions.store.outgoing import Outgoing
from haagent.sessions.store.replies import NO_REPLICAS
from haagent.sessions.store.server import Options, Server
from haagent.sessions.store.state import Ticket

LONGEST_WAIT_S = 60.0  # a deadline may be never
MAX_MESSAGE = 64 * 1024 * 1024  # of a peer; a value is at most a small part of it
QUESTIONS = (Ask, Behind, Compare, Hello, Resume)  # each makes us say something, and perhaps much

logger = logging.getLogger(__name__)


class MemberOptions(msgspec.Struct, frozen=True, kw_only=True):
    door: Options
    link: LinkSettings
    replica: ReplicaSettings


class Member:
    def __init__(self, options: MemberOptions) -> None:
        self.notes: deque[Note] = deque(maxlen=1000)  # for who asks what happened
        self.server = Server(options.door, replicate=self._wrote)
        self.link = PeerLink(options.link, self._heard)
        self.replica = Replica(
            options.replica,
            self.server.door.store,
            life=options.link.life,
            now=time.monotonic(),
            rng=random.Random(),  # noqa: S311 it spreads work, and guards nothing
        )
        self.on_change: Callable[[], None] = lambda: None  # it is ready, or there is one peer less
        self.on_note: Callable[[Note], None] = lambda note: None
        self._tickets: dict[int, Ticket] = {}
        self._last_ticket = 0
        self._assemblers: dict[str, Assembler] = {}
        self._outgoing: dict[str, Outgoing] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Clients may come; they are told to wait until the store is ready."""
        self.server.door.load(is_loading=not self.replica.is_ready)
        await self.server.open()
        self._tasks.append(going_on(self.link.run(), "the link to the peers"))
        self._step(events.Woke())

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self.server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    def configure(self, link: LinkSettings, peers: dict[str, int]) -> None:
        """Nodes come and go, keys change; its life goes on. Who comes is known before it is linked, and who goes until
        its link has ended."""
        self._step(events.Peered({name: peer.number for name, peer in self.replica.peers.items()} | peers))
        self.link.configure(msgspec.structs.replace(link, life=self.replica.life))
        self._step(events.Peered(peers))

    def lose(self, peers: Iterable[str]) -> None:
        """Their nodes are lost, as the agent knows before any link does."""
        for peer in peers:
            self._step(events.Died(peer))
            self.link.drop(peer, "its node is lost", cause=peerlink.Cause.LOST)

    def find(self, peers: Iterable[str]) -> None:
        """Their nodes are heard, after a while or for the first time."""
        for peer in peers:
            self.link.redial(peer)

    def facts(self) -> Facts:
        door, replica = self.server.door, self.replica
        peers = {status.peer: _facts_of(replica, status, time.monotonic()) for status in self.link.status()}
        counts = {**door.counts, **{f"link_{cause}": count for cause, count in self.link.counts.items()}}
        counts |= {f"replica_{name}": count for name, count in replica.counters.items()}
        return Facts(replica.is_ready, len(door.clients), door.store.count, door.store.bytes_used(), peers, counts)

    # ------------------------------------------------------------------ what happens

    def _wrote(self, effects: list[Effect]) -> Ticket | None:
        if not effects:
            return None
        if not self.replica.settings.is_sync:
            self._step(events.Wrote(effects))
            return None
        self._last_ticket += 1
        ticket = self._tickets[self._last_ticket] = asyncio.get_running_loop().create_future()
        self._step(events.Wrote(effects, self._last_ticket))
        return None if ticket.done() and ticket.result() is None else ticket

    def _heard(self, event: peerlink.Linked | peerlink.Unlinked | peerlink.Received | peerlink.HasRoom) -> None:
        match event:
            case peerlink.Linked(peer, life, _):
                self._assemblers[peer] = Assembler(MAX_MESSAGE)
                self._outgoing[peer] = Outgoing(partial(self.link.send, peer))
                self._step(events.Linked(peer, life))
            case peerlink.Unlinked(peer, _):
                self._assemblers.pop(peer, None)
                self._outgoing.pop(peer, None)
                self._step(events.Unlinked(peer))
                self.on_change()
            case peerlink.Received(peer, frame):
                self._receive(peer, frame)
            case peerlink.HasRoom(peer):
                if (outgoing := self._outgoing.get(peer)) is not None:
                    outgoing.flush()

    def _receive(self, peer: str, frame: bytes) -> None:
        if (assembler := self._assemblers.get(peer)) is None:
            return
        try:
            message = assembler.feed(frame)
        except (ValueError, RecursionError) as error:  # the first is msgspec's too
            self.link.drop(peer, f"it says what no store says: {error}")
            return
        if message is None:
            return
        self._step(events.Received(peer, message))
        if (outgoing := self._outgoing.get(peer)) is not None:
            if isinstance(message, QUESTIONS):
                outgoing.answered()
            if outgoing.is_too_much:
                self.link.drop(peer, "it asks for more than it takes in")

    # ------------------------------------------------------------------ what is to be done

    def _step(self, event: events.Event) -> None:
        nonsense: list[HangUp] = []
        for action in self.replica.step(time.monotonic(), self.server.door.tick(), event):
            match action:
                case Send(peer, message):
                    if (outgoing := self._outgoing.get(peer)) is not None:
                        outgoing.put(frames(message))
                case HangUp():
                    nonsense.append(action)
                case Answer(number, outcome):
                    self._answer(number, outcome)
                case Ready():
                    self.server.door.load(is_loading=False)
                    self.on_change()
                case Note():
                    self.notes.append(action)
                    self.on_note(action)
                    logger.info("%s %s: %s", action.kind, action.peer, action.text)
        self._wake_at(self.replica.deadline)
        for peer, why in nonsense:  # last: it is heard of at once, and what is done then must not come in between
            self.link.drop(peer, f"it says what no store says: {why}")

    def _answer(self, number: int, outcome: Outcome) -> None:
        ticket = self._tickets.pop(number)
        if not ticket.done():  # its client may be gone
            ticket.set_result(None if outcome is Outcome.OK else NO_REPLICAS)

    def _wake_at(self, deadline: float) -> None:
        if self._timer is not None:
            if self._due == deadline:
                return
            self._timer.cancel()
        self._due = deadline
        wait_s = min(max(0.0, deadline - time.monotonic()), LONGEST_WAIT_S)
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._step(events.Woke())


def _facts_of(replica: Replica, status: peerlink.LinkStatus, now: float) -> PeerFacts:
    peer, stream = replica.peers[status.peer], replica.stream
    queue_bytes, since = stream.lacking(peer.reader)
    acks_ms = sorted(took_s * 1000 for took_s in peer.reader.acks_s)
    return PeerFacts(
        linked=status.is_linked,
        in_sync=peer.is_in_sync,
        queue=stream.seq - peer.reader.acked,
        queue_bytes=queue_bytes,
        lag_ms=0.0 if since is None else (now - since) * 1000,
        ack_p50_ms=acks_ms[len(acks_ms) // 2] if acks_ms else None,
        ack_p99_ms=acks_ms[len(acks_ms) * 99 // 100] if acks_ms else None,
        last_full_sync=None if peer.compared_at is None else now - peer.compared_at,
        why=status.why,
    )
