"""A small world for stores: virtual time, links that come and go, nodes that crash and return, clocks that differ.

What the clients were told is kept, and checked: at every answer, now and then, and at the end, when all is well again.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from haagent.core.store.effects import Effect, Put, Remove
from haagent.core.store.events import (
    Action,
    Answer,
    Event,
    HangUp,
    Linked,
    Outcome,
    Ready,
    Received,
    ReplicaSettings,
    Send,
    Unlinked,
    Woke,
    Wrote,
)
from haagent.core.store.messages import Assembler, Batch, Slice, frames
from haagent.core.store.replica import Replica
from haagent.core.store.settings import StoreSettings
from haagent.core.store.store import Store
from tests.sim.store.links import Links

START_MS = 1_796_000_000_000
HORIZON_MS = 2_000  # and twice the drift of the clocks
STORE = StoreSettings(databases=1, horizon_ms=HORIZON_MS, max_drift_ms=5_000)
MAX_MESSAGE = 64 * 1024 * 1024


class Violation(Exception):
    """Something that was promised is not so."""


@dataclass
class Written:
    """A value that a client was told is safe."""

    key: bytes
    born: int
    stamp: int
    origin: tuple[str, int]  # node and life
    keepers: set[tuple[str, int]]  # node and life: while one of them lives, or who has it from one of them


@dataclass
class Node:
    name: str
    number: int
    skew_ms: int = 0
    life: int = 0
    replica: Replica | None = None  # None: it is down
    is_ready: bool = False
    wakes: int = 0  # the newest plan to wake; older ones are void
    tickets: dict[int, Put] = field(default_factory=dict)
    removed: set[bytes] = field(default_factory=set)  # sessions that were deleted here in this life

    @property
    def store(self) -> Store:
        assert self.replica is not None
        return self.replica.store


class World(Links):
    LINKED_WITHIN_S = 0.3

    def __init__(self, seed: int, **settings: object) -> None:
        super().__init__()
        self.chance = random.Random(seed)
        self.now = 0.0
        self.count = 0
        names = "ABC"[: self.chance.choice((2, 3, 3))]
        self.nodes = {name: Node(name, number) for number, name in enumerate(names, 1)}
        self.is_sync = self.chance.random() < 0.6
        self.keeping = msgspec.structs.replace(STORE, max_removals=self.chance.choice((100_000, 5)))
        self.settings = {
            "is_sync": self.is_sync,
            "is_strict": self.chance.random() < 0.3,
            "compare_every_s": 15.0,
            "join_timeout_s": 8.0,
            "dead_after_s": 5.0,
            "touch_every_s": 2.0,
            "backlog_bytes": self.chance.choice((2_000, 20_000, 1_000_000)),
            "window_bytes": self.chance.choice((500, 5_000, 1_000_000)),
            **settings,
        }
        self.delay_s = dict.fromkeys(self.nodes, 0.001)
        self.arrivals: dict[tuple[str, str], float] = {}
        self.assemblers: dict[tuple[str, str, int], Assembler] = {}
        self.answered: list[Written] = []
        self.removals: dict[bytes, int] = {}  # what anybody has removed, whatever became of it
        self.puts: dict[bytes, set[tuple[int, int, int]]] = {}  # born, stamp and expiry
        self.agenda: list[tuple[float, int, Callable[[], None]]] = []
        for name in self.nodes:
            self.start(name)

    # Time

    def at(self, when: float, deed: Callable[[], None]) -> None:
        self.count += 1
        heapq.heappush(self.agenda, (when, self.count, deed))

    def run(self, until: float) -> None:
        while self.agenda and self.agenda[0][0] <= until:
            self.now, _, deed = heapq.heappop(self.agenda)
            deed()
        self.now = until

    def wall_ms(self, node: Node) -> int:
        return START_MS + int(self.now * 1000) + node.skew_ms

    @property
    def are_clocks_right(self) -> bool:
        """Else what one changes does not count with another one yet, which then does not know what it has missed."""
        skews_ms = [node.skew_ms for node in self.nodes.values()]
        return max(skews_ms) - min(skews_ms) <= STORE.max_drift_ms

    # Nodes

    def start(self, name: str, kept: Store | None = None) -> None:
        """A new life, with an empty store or that of an earlier life."""
        node = self.nodes[name]
        node.life += 1
        others = {other.name: other.number for other in self.nodes.values() if other.name != name}
        settings = msgspec.convert(
            {"me": name, "number": node.number, "peers": others, **self.settings}, ReplicaSettings
        )
        rng = random.Random(self.chance.random())
        store = kept or Store(self.keeping, node_number=node.number, rng=rng)
        node.replica = Replica(settings, store, life=node.life, now=self.now, rng=rng)
        node.is_ready, node.tickets, node.removed = False, {}, set()
        self.wake(node)
        self.connect()

    def crash(self, name: str) -> Store:
        node = self.nodes[name]
        assert node.replica is not None
        me, heirs = (name, node.life), self.in_sync_with(node)
        for written in self.answered:
            if me in written.keepers:
                written.keepers = written.keepers - {me} | (heirs if me == written.origin else set())
        kept = node.store
        node.replica = None
        self.connect()
        return kept

    def in_sync_with(self, node: Node) -> set[tuple[str, int]]:
        """The lives that it counts on, and that are not over without its knowledge."""
        assert node.replica is not None
        lives = {(name, node.replica.peers[name].life) for name in node.replica.in_sync}
        return {life for life in lives if self.is_alive(*life)}

    def is_alive(self, name: str, life: int) -> bool:
        return self.nodes[name].replica is not None and self.nodes[name].life == life

    def step(self, node: Node, event: Event) -> None:
        if node.replica is not None:
            stream = node.replica.stream
            before, actions = stream.seq, node.replica.step(self.now, self.wall_ms(node), event)
            for seq in range(max(before, stream.first) + 1, stream.seq + 1):
                self.note_removal(stream._backlog[seq][0])  # also what no client has asked for: locks, for instance
            for action in actions:
                self.perform(node, action)
            self.wake(node)

    def wake(self, node: Node) -> None:
        assert node.replica is not None
        node.wakes += 1
        life, plan = node.life, node.wakes

        def ring() -> None:
            if self.is_alive(node.name, life) and node.wakes == plan:
                self.step(node, Woke())

        if node.replica.deadline < float("inf"):
            self.at(max(self.now, node.replica.deadline), ring)

    def perform(self, node: Node, action: Action) -> None:
        match action:
            case Send():
                self.carry(node.name, action)
            case HangUp(peer, why):
                raise Violation(f"{self.now:.3f} {node.name} does not understand {peer}: {why}")
            case Ready():
                node.is_ready = True
            case Answer():
                put = node.tickets.pop(action.ticket)
                if action.outcome is Outcome.OK and self.is_sync:
                    keepers = self.in_sync_with(node) | {(node.name, node.life)}
                    written = Written(put.key, put.born, put.stamp, (node.name, node.life), keepers)
                    self.answered.append(written)
                    for name, _ in keepers:
                        self.check_has(name, written, "when it was answered")

    # Links

    def is_up(self, name: str) -> bool:
        return self.nodes[name].replica is not None

    def link(self, pair: tuple[str, str]) -> None:
        if not self.lacks(pair):
            return
        self.count += 1
        self.links[pair] = self.count
        for me, peer in (pair, pair[::-1]):
            self.step(self.nodes[me], Linked(peer, self.nodes[peer].life))

    def unlink(self, pair: tuple[str, str]) -> None:
        del self.links[pair]
        for me, peer in (pair, pair[::-1]):
            node, life = self.nodes[me], self.nodes[me].life

            def tell(node: Node = node, life: int = life, peer: str = peer) -> None:
                if self.is_alive(node.name, life):
                    self.step(node, Unlinked(peer))

            tell()

    def carry(self, sender: str, action: Send) -> None:
        pair = (min(sender, action.peer), max(sender, action.peer))
        connection = self.links.get(pair)
        if connection is None:
            return
        way = (sender, action.peer)
        delay_s = self.delay_s[sender] + self.delay_s[action.peer]
        arrives = max(self.now + delay_s * self.chance.uniform(0.5, 1.5), self.arrivals.get(way, 0.0))
        self.arrivals[way] = arrives
        for effect in action.message.effects if isinstance(action.message, Batch | Slice) else ():
            self.note_removal(effect)  # also those that no client has asked for: locks, and what was found to be gone
        data = frames(action.message)

        def arrive() -> None:
            if self.links.get(pair) != connection:
                return
            assembler = self.assemblers.setdefault((*way, connection), Assembler(MAX_MESSAGE))
            for frame in data:
                message = assembler.feed(frame)
            assert message is not None
            self.step(self.nodes[action.peer], Received(sender, message))

        self.at(arrives, arrive)

    # Clients

    def ship(self, node: Node) -> None:
        effects = node.store.take_effects()
        puts = [effect for effect in effects if isinstance(effect, Put) and not effect.key.endswith(b"_LOCK")]
        for effect in effects:
            self.note_removal(effect)
        for put in puts:
            self.puts.setdefault(put.key, set()).add((put.born, put.stamp, put.expires_ms))
        ticket = None
        if puts and self.is_sync:
            self.count += 1
            ticket = self.count
            node.tickets[ticket] = puts[-1]
        if effects:
            self.step(node, Wrote(effects, ticket))

    def note_removal(self, effect: Effect) -> None:
        if isinstance(effect, Remove):
            self.removals[effect.key] = max(self.removals.get(effect.key, 0), effect.stamp)

    # What was promised

    def check_has(self, name: str, written: Written, when: str) -> None:
        """It has this version or a later one, unless somebody has removed it, or its time is over."""
        node = self.nodes[name]
        entry = node.store.spaces[0].entry(written.key)
        if entry is not None and (entry[2], entry[1]) >= (written.born, written.stamp):
            return
        is_gone = max(self.removals.get(written.key, 0), node.store.spaces[0].floor) >= written.born
        later = {put for put in self.puts.get(written.key, ()) if put[:2] >= (written.born, written.stamp)}
        soonest_ms = min((expires_ms for _, _, expires_ms in later if expires_ms), default=1 << 60)
        if not is_gone and soonest_ms > self.wall_ms(node) + 10_000:
            raise Violation(f"{self.now:.3f} {name} lacks {written} {when}")

    def check(self) -> None:
        for node in self.nodes.values():
            if node.replica is None:
                continue
            space = node.store.spaces[0]
            for key in node.removed:  # nobody makes a session of this name again, but who has not heard of it saves it
                if space.entry(key) is not None:
                    raise Violation(f"{self.now:.3f} {node.name} has {key!r} again, that was deleted there")
            if not self.is_sync:
                continue
            me = (node.name, node.life)
            for peer, _ in self.in_sync_with(node):
                for written in self.answered[-300:]:
                    if me == written.origin:
                        self.check_has(peer, written, f"and is in sync with {node.name}")

    def check_end(self) -> None:
        first = next(iter(self.nodes.values()))
        for node in self.nodes.values():
            if not node.is_ready:
                raise Violation(f"{node.name} is not ready")
            if node.store.digests() != first.store.digests():
                raise Violation(f"{node.name} and {first.name} differ")
            missing = set(node.replica.peers) - node.replica.in_sync if node.replica else set()
            if missing:
                raise Violation(f"{node.name} is not in sync with {missing}")
        self.check()
        for written in self.answered:
            if any(self.is_alive(*keeper) for keeper in written.keepers):
                for name in self.nodes:
                    self.check_has(name, written, "at the end")
