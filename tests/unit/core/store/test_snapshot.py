"""The store as effects: what was removed, and what somebody lacks of it."""

from __future__ import annotations

import random
from itertools import chain

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from haagent.core.store.comparison import Answers
from haagent.core.store.effects import Effect, Remove
from haagent.core.store.messages import Ask
from haagent.core.store.snapshot import SLICE_BYTES, held, missing, shard_of, slices, traces, weight
from haagent.core.store.space import SHARDS
from haagent.core.store.store import Store
from tests.unit.core.store.worlds import DEEDS, NOW, contents, perform, store

LATER = NOW + 1000


def different(a: Store, b: Store) -> list[int]:
    return [shard for shard, (mine, theirs) in enumerate(zip(a.digests(), b.digests(), strict=True)) if mine != theirs]


@settings(max_examples=60, deadline=None)
@given(st.lists(DEEDS, max_size=40))
def test_what_somebody_lacks_who_has_nothing_is_all_and_what_was_removed(deeds: list) -> None:
    stores = [store(number) for number in (1, 2, 3)]
    shipped = perform(stores, deeds)
    copy = store(9)
    spaces = stores[0].spaces
    for effect in chain(
        traces(spaces), *(missing(spaces, LATER, shard, [], lambda _: False) for shard in range(SHARDS))
    ):
        copy.apply(LATER, effect)
    assert contents(copy) == contents(stores[0])
    assert not different(copy, stores[0])
    for effects in shipped:
        for effect in effects:
            copy.apply(LATER, effect)
            stores[0].apply(LATER, effect)
    assert contents(copy) == contents(stores[0])


@settings(max_examples=60, deadline=None)
@given(st.lists(DEEDS, max_size=40))
def test_two_stores_that_tell_each_other_what_is_missing_are_equal(deeds: list) -> None:
    one, other, _ = stores = [store(number) for number in (1, 2, 3)]
    perform(stores, deeds)
    for _ in range(3):  # what one tells the other may take away what that one has told before
        for a, b in ((one, other), (other, one)):
            for shard in different(a, b):
                for effect in list(missing(a.spaces, LATER, shard, held(b.spaces, LATER, shard), lambda _: False)):
                    b.apply(LATER, effect)
    assert not different(one, other)
    assert contents(one) == contents(other)


def test_slices_are_small_and_go_on_while_the_store_changes() -> None:
    a, b = store(1), store(2)
    for number in range(3000):
        a.put(NOW, 0, b"k%d" % number, bytes(1000), 0)
    a.remove(NOW, 0, b"k0")
    parts = slices(a.spaces, NOW)
    a.take_effects()
    late: list[Effect] = []
    for step, part in enumerate(parts):
        assert sum(map(weight, part)) <= SLICE_BYTES + 1100
        assert len(msgspec.msgpack.encode(part)) <= SLICE_BYTES + 1100
        for effect in part:
            b.apply(NOW, effect)
        a.remove(NOW, 0, b"k%d" % step)
        a.put(NOW, 0, b"new%d" % step, b"v", 0)
        late += a.take_effects()
    for effect in late:
        b.apply(NOW, effect)
    assert contents(a) == contents(b)
    assert not different(a, b)


def test_slices_of_what_is_missing_are_small() -> None:
    a, b = store(1), store(2)
    keys = (b"k%d" % number for number in range(100_000))
    shard = 7
    for key in [key for key in keys if shard_of(Remove(0, key, 0)) == shard][:60]:
        a.put(NOW, 0, key, bytes(10_000), 0)
    parts = list(Answers().slices(a, NOW, Ask(1, shard, [], {}, 0)))
    assert [part.is_last for part in parts] == [False, False, True]
    for part in parts:
        assert sum(map(weight, part.effects)) <= SLICE_BYTES + 10_100
        assert len(msgspec.msgpack.encode(part)) <= SLICE_BYTES + 10_100
        for effect in part.effects:
            b.apply(NOW, effect)
    assert contents(a) == contents(b)


def test_a_weight_is_what_the_wire_takes_or_a_little_more() -> None:
    stores = [store(number) for number in (1, 2, 3)]
    chance = random.Random(1)
    names = ("put", "touch", "shorten", "remove", "fields", "drop", "hash", "flush")
    keys = (b"sess:1", b"plain")
    deeds = [(chance.randrange(3), chance.choice(names), chance.choice(keys), chance.randrange(4)) for _ in range(300)]
    for effects in perform(stores, deeds):
        for effect in effects:
            assert len(msgspec.msgpack.encode(effect)) <= weight(effect)
