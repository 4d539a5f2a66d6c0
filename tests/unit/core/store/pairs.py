"""Replicas whose messages are delivered at once, or held up: a network without time."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

from haagent.core.store.events import (
    Action,
    Answer,
    HangUp,
    Linked,
    Note,
    Outcome,
    Ready,
    Received,
    ReplicaSettings,
    Send,
    Unlinked,
    Woke,
    Wrote,
)
from haagent.core.store.messages import Message
from haagent.core.store.replica import Replica
from haagent.core.store.settings import StoreSettings
from tests.unit.core.store.worlds import NOW, SETTINGS, store

NUMBERS = {"A": 1, "B": 2, "C": 3}


class Pair:
    """Replicas whose messages are delivered at once, unless their link is slow."""

    def __init__(self, names: str = "AB", *, keeping: StoreSettings = SETTINGS, **settings: object) -> None:
        self.now = 0.0
        self.settings, self.keeping = settings, keeping
        self.names = names
        self.replicas: dict[str, Replica] = {}
        self.slow: set[str] = set()  # what these receive waits
        self.waiting: list[tuple[str, str, Message]] = []
        self.queue: deque[tuple[str, str, Message]] = deque()
        self.answers: dict[int, Outcome] = {}
        self.sent: list[Message] = []
        self.hung_up: list[tuple[str, str, str]] = []  # who, on whom, and why
        self.notes: list[tuple[str, str, str]] = []  # who, kind, about whom
        self.texts: list[str] = []  # of the notes
        self.ready: set[str] = set()
        self.lives = dict.fromkeys(names, 0)
        for name in names:
            self.begin(name)

    def ms(self) -> int:
        return NOW + int(self.now * 1000)

    def begin(self, name: str) -> None:
        self.lives[name] += 1
        self.ready.discard(name)
        peers = {peer: NUMBERS[peer] for peer in self.names if peer != name}
        settings = ReplicaSettings(me=name, number=NUMBERS[name], peers=peers, **self.settings)  # type: ignore[arg-type]
        life = self.lives[name]
        self.replicas[name] = Replica(
            settings, store(NUMBERS[name], self.keeping), life=life, now=self.now, rng=random.Random(NUMBERS[name])
        )

    def step(self, name: str, event: object) -> None:
        self.take(name, event)
        while self.queue:
            to, sender, message = self.queue.popleft()
            self.take(to, Received(sender, message))

    def take(self, name: str, event: object) -> None:
        replica = self.replicas[name]
        self.perform(name, replica.step(self.now, self.ms(), event))  # type: ignore[arg-type]
        if replica.deadline <= self.now:
            self.perform(name, replica.step(self.now, self.ms(), Woke()))

    def flow(self) -> None:
        """What has waited arrives."""
        self.slow = set()
        waiting, self.waiting = self.waiting, []
        for to, sender, message in waiting:
            self.step(to, Received(sender, message))

    def perform(self, name: str, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Send):
                self.sent.append(action.message)
            match action:
                case Send(peer, message) if peer in self.slow:
                    self.waiting.append((peer, name, message))
                case Send(peer, message):
                    self.queue.append((peer, name, message))
                case HangUp(peer, why):
                    self.hung_up.append((name, peer, why))
                case Answer(ticket, outcome):
                    self.answers[ticket] = outcome
                case Note(kind, peer, text):
                    self.notes.append((name, kind, peer))
                    self.texts.append(text)
                case Ready():
                    self.ready.add(name)

    def link(self, one: str, other: str) -> None:
        self.take(one, Linked(other, self.lives[other]))
        self.step(other, Linked(one, self.lives[one]))

    def unlink(self, one: str, other: str) -> None:
        self.waiting = [item for item in self.waiting if {item[0], item[1]} != {one, other}]
        self.step(one, Unlinked(other))
        self.step(other, Unlinked(one))

    def put(self, name: str, key: bytes, value: bytes, ticket: int | None = None) -> None:
        s = self.replicas[name].store
        s.put(self.ms(), 0, key, value, self.ms() + 3_600_000)
        self.step(name, Wrote(s.take_effects(), ticket))

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while (next_at := min(replica.deadline for replica in self.replicas.values())) <= end:
            self.now = max(self.now, next_at)
            for name, replica in self.replicas.items():
                if replica.deadline <= self.now:
                    self.step(name, Woke())
        self.now = end

    def find(self, name: str, key: bytes) -> object:
        return self.replicas[name].store.find(self.ms(), 0, key)


def joined(**settings: Any) -> Pair:
    pair = Pair(**settings)
    pair.link("A", "B")
    assert pair.ready == {"A", "B"}
    return pair
