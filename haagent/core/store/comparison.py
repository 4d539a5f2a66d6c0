"""A comparison with one peer: its digests, and then, shard by shard, what we lack. By who asks, and by who answers.

It is the one way in which a store gets what the stream does not bring: an empty store at the join, one that has fallen
behind, one that has missed something, and all of them once a minute. Only a few shards are under way at a time, so
neither side holds more than those, and the stream goes on beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from haagent.core.store.effects import Effect, Floor, Put, PutFields, Remove
from haagent.core.store.messages import Ask, Digests, Message, Slice
from haagent.core.store.seen import Ranges, is_gone
from haagent.core.store.snapshot import SLICE_BYTES, held, missing, shard_of, traces, weight
from haagent.core.store.store import Store

SHARDS_AT_ONCE = 4


@dataclass
class Comparison:
    """What we ask of a peer, and how far we are."""

    peer: str
    round: int
    is_first: bool  # of a join: one more follows
    seen: Ranges = field(default_factory=dict)  # by the peer
    forgotten: int = 0
    horizons: list[int] = field(default_factory=list)
    todo: list[int] = field(default_factory=list)
    under_way: set[int] = field(default_factory=set)
    refused: int = 0
    is_void: bool = False  # it was asked for what was there before something of the stream was lost
    differed: int = 0  # shards

    def hear_digests(self, store: Store, message: Digests) -> None:
        different = {shard for shard, mine in enumerate(store.digests()) if mine != message.digests[shard]}
        self.differed = len(different)
        self.seen, self.forgotten, self.horizons = message.seen, message.forgotten, message.horizons
        self.todo = sorted(different | set(message.traced), reverse=True)

    def end(self, store: Store) -> None:
        """What the peer knows, this store knows now."""
        store.seen.merge(self.seen)
        store.forgotten = max(store.forgotten, self.forgotten)
        for space, horizon in zip(store.spaces, self.horizons, strict=False):
            space.horizon = max(space.horizon, horizon)

    def asks(self, store: Store, now_ms: int) -> Iterator[Message]:
        while self.todo and len(self.under_way) < SHARDS_AT_ONCE:
            shard = self.todo.pop()
            self.under_way.add(shard)
            yield Ask(self.round, shard, held(store.spaces, now_ms, shard), store.seen.ranges, store.forgotten)

    def hear_slice(self, store: Store, now_ms: int, message: Slice) -> None:
        for effect in message.effects:
            self.refused += not store.apply(now_ms, effect)
        for db, key in message.absent:
            entry = store.spaces[db].entry(key)
            if entry is not None and is_gone(self.seen, self.forgotten, entry):
                store.apply(now_ms, Remove(db, key, entry[2]))
        if message.is_last:
            self.under_way.discard(message.shard)

    @property
    def is_done(self) -> bool:
        return not self.todo and not self.under_way


class Answers:
    """What we tell one peer that asks."""

    def __init__(self) -> None:
        self._traces: dict[int, list[Effect]] = {}

    def digests(self, store: Store, number: int, *, with_traces: bool) -> Digests:
        self._traces = {}
        if with_traces:
            for effect in traces(store.spaces):
                self._traces.setdefault(shard_of(effect), []).append(effect)
        horizons = [] if store.evicted else [space.horizon for space in store.spaces]
        return Digests(number, store.digests(), sorted(self._traces), store.seen.ranges, store.forgotten, horizons)

    def slices(self, store: Store, now_ms: int, ask: Ask) -> Iterator[Slice]:
        given = list(
            missing(store.spaces, now_ms, ask.shard, ask.held, lambda entry: is_gone(ask.seen, ask.forgotten, entry))
        )
        with_floors = {(effect.db, effect.key) for effect in given if isinstance(effect, Put | PutFields)}
        # A floor alone would take what is there before its successor comes, or though that is refused.
        effects = [
            effect
            for effect in self._traces.pop(ask.shard, [])
            if not (isinstance(effect, Floor) and (effect.db, effect.key) in with_floors)
        ]
        effects += given
        absent = [(db, key) for db, key, _ in ask.held if store.find(now_ms, db, key) is None]
        part: list[Effect] = []
        filled = 0
        for effect in effects:
            if filled >= SLICE_BYTES:
                yield Slice(ask.round, ask.shard, part, is_last=False)
                part, filled = [], 0
            part.append(effect)
            filled += weight(effect)
        yield Slice(ask.round, ask.shard, part, is_last=True, absent=absent)
