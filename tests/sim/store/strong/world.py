"""A small world in which one store leads: voters with their registers, leases, stores, and what lies between them.

The lease is not the subject here, so it is granted and renewed in one instant; but by the rules of the real one: a
voter is bound to one holder for a time, has forgotten that after a restart, and is silent for as long. Heartbeats carry
what registers say, and may be late or lost. A node that is frozen does nothing, and then all that has come meanwhile.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from haagent.core.messages import Ballot
from haagent.core.store.events import HangUp, Linked, Note, Unlinked, Woke
from haagent.core.store.settings import StoreSettings
from haagent.core.store.store import Store
from haagent.core.store.strong.events import (
    Agreed,
    Answer,
    Appointed,
    Dismissed,
    Event,
    Outcome,
    Propose,
    Received,
    Renewed,
    Send,
    StrongSettings,
)
from haagent.core.store.strong.machine import Machine
from haagent.core.store.strong.messages import Message
from haagent.core.store.strong.record import Record, Register, Said
from tests.sim.store.links import Links

START_MS = 1_796_000_000_000
LEASE_S, LET_GO_S, INTERVAL_S = 1.0, 0.9, 0.1
FIRST = 1_000_000_000
STORE = StoreSettings(databases=1)
ENCODER, DECODER = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(Message)
SAID = msgspec.msgpack.Decoder(Said)


class Lost(Exception):
    """More has failed at once than may: what was answered is gone, and was said to be."""


@dataclass
class Node:
    name: str
    number: int
    has_store: bool
    boot: int = 0
    register: Register | None = None  # None: the agent is down
    machine: Machine | None = None
    held: Ballot | None = None  # its lease
    until: float = 0.0
    told: Record | None = None  # the newest that its store was told
    bound_to: Ballot | None = None
    bound_until: float = 0.0
    silent_until: float = 0.0
    shy_until: float = 0.0
    frozen_until: float = 0.0
    skew_ms: int = 0
    wakes: int = 0
    tickets: dict[int, Callable[[Outcome], None]] = field(default_factory=dict)


class World(Links):
    LINKED_WITHIN_S = 0.2

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.chance = random.Random(seed)
        self.now = 0.0
        self.count = 0
        self.round = 0
        self.lives = 0
        with_witness = self.chance.random() < 0.4
        self.nodes = {
            name: Node(name, number, has_store=name != "W")
            for number, name in enumerate("ABW" if with_witness else "ABC", 1)
        }
        self.settings = {
            "sync_timeout_s": self.chance.choice((0.2, 0.5)),
            "backlog_bytes": self.chance.choice((500, 20_000)),
            "window_bytes": self.chance.choice((300, 100_000)),
        }
        self.delay_s = dict.fromkeys(self.nodes, 0.001)
        self.loss = 0.0  # of heartbeats
        self.arrivals: dict[tuple[str, str], float] = {}
        self.agenda: list[tuple[float, int, Callable[[], None]]] = []
        self.beginnings: set[Ballot] = set()  # of which somebody was served
        self.begun = 0  # how often somebody has begun to lead
        for name in self.nodes:
            self.start_agent(name)
            self.nodes[name].silent_until = 0.0

    # Time

    def at(self, when: float, deed: Callable[[], None], *, is_first: bool = False) -> None:
        self.count += 1
        heapq.heappush(self.agenda, (when, self.count - (FIRST if is_first else 0), deed))

    def run(self, until: float) -> None:
        while self.agenda and self.agenda[0][0] <= until:
            self.now, _, deed = heapq.heappop(self.agenda)
            deed()
        self.now = until

    def on(self, node: Node, deed: Callable[[], None], *, is_first: bool = False) -> None:
        """As soon as it is not frozen; `is_first`: and before all else that has come, as from another socket."""
        if self.now < node.frozen_until:
            self.at(node.frozen_until, lambda: self.on(node, deed), is_first=is_first)
        else:
            deed()

    def now_ms(self, node: Node) -> int:
        return START_MS + int(self.now * 1000) + node.skew_ms

    # Lives

    def start_agent(self, name: str) -> None:
        node = self.nodes[name]
        node.boot += 1
        node.register = Register(name, tuple(self.nodes))
        node.bound_to, node.silent_until = None, self.now + LEASE_S
        boot = node.boot

        def beat() -> None:
            if node.boot == boot and node.register is not None:
                self.tick(node)
                self.at(max(self.now, node.frozen_until) + INTERVAL_S, lambda: self.on(node, beat))

        self.at(self.now + self.chance.random() * INTERVAL_S, lambda: self.on(node, beat))
        if node.has_store:
            self.start_store(name)

    def stop_agent(self, name: str) -> None:
        node = self.nodes[name]
        self.stop_store(name)
        node.register = node.held = node.told = None
        node.boot += 1

    def start_store(self, name: str) -> None:
        node = self.nodes[name]
        assert node.register is not None
        self.lives += 1
        store = Store(STORE, node_number=node.number, rng=random.Random(self.lives))
        settings = msgspec.convert({"me": name, **self.settings}, StrongSettings)
        node.machine = Machine(settings, store, life=self.lives)
        node.register.life, node.told = self.lives, None
        self.connect()

    def stop_store(self, name: str) -> None:
        node = self.nodes[name]
        node.machine = None
        if node.register is not None:
            node.register.life = 0
        for answer in list(node.tickets.values()):
            answer(Outcome.UNKNOWN)
        node.tickets.clear()
        self.connect()

    # Agents

    def can_hear(self, one: str, other: str) -> bool:
        pair = (min(one, other), max(one, other))
        return one == other or (pair not in self.cut and self.nodes[other].register is not None)

    def tick(self, node: Node) -> None:
        """Each interval: the lease, what the store has to know, and a heartbeat."""
        register = node.register
        assert register is not None
        votes = [voter for voter in self.nodes.values() if self.has_vote(node, voter)]
        if node.held is not None and (self.now >= node.until or register.is_barred):
            self.let_go(node)
        if 2 * len(votes) > len(self.nodes):
            if node.held is None and node.machine is not None and self.now >= node.shy_until:
                self.round += 1
                node.held = Ballot(self.round, node.name)
                register.hold(node.held)
            if node.held is not None:
                for voter in votes:
                    voter.bound_to, voter.bound_until = node.held, self.now + LEASE_S
                node.until = self.now + LET_GO_S
                self.tell(node, Renewed(node.until))
        self.show(node)
        said = ENCODER.encode(register.said)
        for peer in self.nodes.values():
            if peer is not node and self.can_hear(node.name, peer.name) and self.chance.random() >= self.loss:
                self.beat(node, peer, said)

    def has_vote(self, node: Node, voter: Node) -> bool:
        is_there = self.can_hear(node.name, voter.name) and self.now >= max(voter.frozen_until, voter.silent_until)
        is_free = voter.bound_to is None or self.now >= voter.bound_until or voter.bound_to == node.held
        return is_there and is_free

    def let_go(self, node: Node) -> None:
        assert node.register is not None
        node.register.let_go()
        if node.told is None:  # its store has not led: nobody has to wait for the end of the lease
            for voter in self.nodes.values():
                if voter.bound_to == node.held:
                    voter.bound_to = None
        node.held = node.told = None
        node.shy_until = self.now + self.chance.uniform(0.1, 1.0)
        self.tell(node, Dismissed())

    def beat(self, node: Node, peer: Node, said: bytes) -> None:
        boots = (node.boot, peer.boot)

        def arrive() -> None:
            if peer.register is not None and (node.boot, peer.boot) == boots:
                peer.register.hear(node.name, SAID.decode(said))
                self.show(peer)

        delay_s = (self.delay_s[node.name] + self.delay_s[peer.name]) * self.chance.uniform(0.5, 1.5)
        self.at(self.now + delay_s, lambda: self.on(peer, arrive))

    def show(self, node: Node) -> None:
        """Its store, what was agreed."""
        register, machine = node.register, node.machine
        if register is None or machine is None or register.agreed is None or register.agreed == node.told:
            return
        agreed, before, node.told = register.agreed, node.told, register.agreed
        if self.beginnings - {agreed.since}:
            raise Lost
        if before is None:
            self.tell(node, Appointed(agreed, node.until))
        else:
            self.tell(node, Agreed(agreed))

    def tell(self, node: Node, event: Event) -> None:
        machine = node.machine

        def arrive() -> None:
            if node.machine is machine is not None:
                self.step(node, event)

        self.at(self.now + 0.0005, lambda: self.on(node, arrive))

    # Stores

    def step(self, node: Node, event: Event) -> None:
        machine = node.machine
        assert machine is not None
        for action in machine.step(self.now, self.now_ms(node), event):
            match action:
                case Send():
                    self.carry(node.name, action)
                case Answer(ticket, outcome):
                    node.tickets.pop(ticket)(outcome)
                case Propose():
                    self.propose(node, action)
                case HangUp(peer):
                    self.unlink((min(node.name, peer), max(node.name, peer)))
                    self.connect()
                case Note("leads"):
                    assert machine._since is not None
                    self.beginnings.add(machine._since)
                    self.begun += 1
        self.wake(node)

    def propose(self, node: Node, action: Propose) -> None:
        machine = node.machine

        def arrive() -> None:
            if node.register is not None and node.machine is machine and node.held == action.epoch:
                node.register.propose(action.version, action.members)
                self.show(node)

        self.at(self.now + 0.0005, lambda: self.on(node, arrive))

    def wake(self, node: Node) -> None:
        machine = node.machine
        if machine is None or machine.deadline == float("inf"):
            return
        node.wakes += 1
        plan = node.wakes

        def ring() -> None:
            if node.machine is machine and node.wakes == plan:
                self.step(node, Woke())

        self.at(max(self.now, machine.deadline), lambda: self.on(node, ring))

    # Links

    def is_up(self, name: str) -> bool:
        return self.nodes[name].machine is not None

    def link(self, pair: tuple[str, str]) -> None:
        if not self.lacks(pair):
            return
        self.count += 1
        connection = self.links[pair] = self.count
        ends = [self.nodes[name] for name in pair]
        for node, peer in (ends, ends[::-1]):
            assert peer.machine is not None
            self.hear(node, Linked(peer.name, peer.machine.life), connection)

    def unlink(self, pair: tuple[str, str]) -> None:
        if pair not in self.links:
            return
        del self.links[pair]
        for me, peer in (pair, pair[::-1]):
            self.tell(self.nodes[me], Unlinked(peer))

    def hear(self, node: Node, event: Event, connection: int) -> None:
        machine = node.machine

        def arrive() -> None:
            if node.machine is machine is not None and connection in self.links.values():
                self.step(node, event)

        self.on(node, arrive)

    def carry(self, sender: str, action: Send) -> None:
        pair = (min(sender, action.peer), max(sender, action.peer))
        if (connection := self.links.get(pair)) is None:
            return
        way = (sender, action.peer)
        delay_s = (self.delay_s[sender] + self.delay_s[action.peer]) * self.chance.uniform(0.5, 1.5)
        arrives = self.arrivals[way] = max(self.now + delay_s, self.arrivals.get(way, 0.0))
        message = DECODER.decode(ENCODER.encode(action.message))
        self.at(arrives, lambda: self.hear(self.nodes[action.peer], Received(sender, message), connection))
