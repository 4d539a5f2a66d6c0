"""Merging: whatever the order, whatever comes twice."""

from __future__ import annotations

import random
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haagent.core.store.comparison import Answers
from haagent.core.store.effects import Floor, Flush, Put, PutFields, Remove, Touch
from haagent.core.store.merging import MAX_EARLY
from haagent.core.store.messages import Ask
from haagent.core.store.snapshot import held
from haagent.core.store.space import ENTRY_BYTES, MASK, WORD, Hash, size
from haagent.core.store.stamps import SHIFT
from tests.unit.core.store.worlds import DEEDS, NOW, contents, perform, store

KEY = b"sess:1"


def at(ms: int) -> int:
    """A stamp."""
    return (NOW + ms) << SHIFT


@settings(max_examples=150, deadline=None)
@given(st.lists(DEEDS, max_size=40), st.randoms(use_true_random=False))
def test_every_order_gives_the_same_contents_and_digests(deeds: list, chance: random.Random) -> None:
    stores = [store(number) for number in (1, 2, 3)]
    effects = [effect for shipped in perform(stores, deeds) for effect in shipped]
    results = []
    for s in [*stores, store(4), store(5)]:
        order = effects + chance.sample(effects, len(effects) // 2)
        chance.shuffle(order)
        for effect in order:
            assert s.apply(NOW + 1000, effect)
        results.append(s)
    first = contents(results[0])
    for s in results[1:]:
        assert contents(s) == first
        assert s.digests() == results[0].digests()


@settings(max_examples=60, deadline=None)
@given(st.lists(DEEDS, max_size=60))
def test_digests_bytes_and_counts_are_those_of_what_is_there(deeds: list) -> None:
    stores = [store(number) for number in (1, 2, 3)]
    perform(stores, deeds)
    for s in stores:
        for space in s.spaces:
            entries = [(key, entry) for shard in space.shards for key, entry in shard.items()]
            assert space.keys == len(entries)
            assert space.bytes == sum(len(key) + ENTRY_BYTES + size(entry[0]) for key, entry in entries)
            assert sum(space.digests) & WORD == sum(space.mark(key, entry) for key, entry in entries) & WORD
            for _, entry in entries:
                if isinstance(entry[0], Hash):
                    again = Hash()
                    for name, field in entry[0].items():
                        again.set(name, field)
                    assert (again.mark, again.bytes) == (entry[0].mark, entry[0].bytes)


def test_a_removed_session_stays_removed_whoever_writes_it_late() -> None:
    a, b = store(1), store(2)
    a.put(NOW, 0, KEY, b"v", NOW + 10_000)
    (put,) = a.take_effects()
    b.apply(NOW, put)
    a.remove(NOW + 1, 0, KEY)
    b.put(NOW + 500, 0, KEY, b"the slow request", NOW + 10_000)
    for effect in b.take_effects():
        a.apply(NOW + 500, effect)
    for effect in a.take_effects():
        b.apply(NOW + 501, effect)
    assert a.find(NOW + 501, 0, KEY) is b.find(NOW + 501, 0, KEY) is None
    assert a.late == 1


def test_of_other_keys_the_last_writer_wins_also_over_a_removal() -> None:
    a, b = store(1), store(2)
    a.put(NOW, 0, b"k", b"v", 0)
    for effect in a.take_effects():
        b.apply(NOW, effect)
    a.remove(NOW + 1, 0, b"k")
    b.put(NOW + 500, 0, b"k", b"later", 0)
    for effect in b.take_effects():
        a.apply(NOW + 500, effect)
    assert a.find(NOW + 500, 0, b"k") == b"later"


def test_a_session_that_comes_again_after_its_removal_was_heard_is_a_new_one() -> None:
    a, b = store(1), store(2)
    a.put(NOW + 900, 0, KEY, b"v", 0)
    a.remove(NOW + 900, 0, KEY)
    a.put(NOW + 900, 0, KEY, b"v", 0)
    a.take_effects()
    a.remove(NOW + 900, 0, KEY)
    (remove,) = a.take_effects()
    b.apply(NOW, remove)
    b.put(NOW, 0, KEY, b"new", 0)  # its clock is behind
    for effect in b.take_effects():
        a.apply(NOW + 900, effect)
    assert a.find(NOW + 900, 0, KEY) == b"new"


def test_a_slow_write_of_fields_does_not_bring_half_a_session_back() -> None:
    a, b = store(1), store(2)
    a.put_fields(NOW, 0, KEY, {b"f": b"1", b"g": b"2"})
    for effect in a.take_effects():
        b.apply(NOW, effect)
    b.put_fields(NOW + 9, 0, KEY, {b"f": b"3"})
    a.remove(NOW + 1, 0, KEY)
    for effect in b.take_effects():
        a.apply(NOW + 9, effect)
    assert a.find(NOW + 9, 0, KEY) is None


def test_fields_that_were_written_on_two_sides_are_both_there() -> None:
    a, b = store(1), store(2)
    a.put_fields(NOW, 0, KEY, {b"f": b"1"})
    b.put_fields(NOW + 1, 0, KEY, {b"g": b"2"})
    for one, other in ((a, b), (b, a)):
        for effect in one.effects:
            other.apply(NOW + 1, effect)
    assert contents(a) == contents(b)
    found = a.find(NOW + 1, 0, KEY)
    assert isinstance(found, Hash)
    assert set(found) == {b"f", b"g"}


def test_a_shorter_life_is_not_undone_by_the_longer_one_that_comes_late() -> None:
    a, b = store(1), store(2)
    a.put(NOW, 0, KEY, b"v", NOW + 1_000_000)
    (longer,) = a.take_effects()
    a.expire(NOW, 0, KEY, NOW + 1000)
    for effect in a.take_effects():
        b.apply(NOW, effect)
    b.expire_some(NOW + 2000, 100)
    b.apply(NOW + 2000, longer)
    assert b.find(NOW + 2000, 0, KEY) is None


@pytest.mark.parametrize("kind", ["string", "hash"])
def test_a_shorter_life_is_one_change_which_counts_whole_or_not_at_all(kind: str) -> None:
    ahead, behind = store(1), store(2)
    if kind == "hash":
        ahead.put_hash(NOW, 0, KEY, {b"f": b"1"}, NOW + 1_000_000)
    else:
        ahead.put(NOW, 0, KEY, b"v", NOW + 1_000_000)
    for effect in ahead.take_effects():
        assert behind.apply(NOW, effect)
    before = contents(behind)
    ahead.expire(NOW + 15_000, 0, KEY, NOW + 500_000)
    (shorter,) = ahead.take_effects()
    assert not behind.apply(NOW, shorter)
    assert contents(behind) == before
    assert behind.apply(NOW + 5_000, shorter)
    assert contents(behind) == contents(ahead)
    assert behind.spaces[0].floors == ahead.spaces[0].floors != {}


def test_a_release_that_says_the_floor_first_and_then_the_value_is_understood() -> None:
    one, other = store(1), store(2)
    for s in (one, other):
        s.apply(NOW, Put(0, KEY, b"old", NOW + 1_000_000, at(-9), at(-9)))
    one.apply(NOW, Floor(0, KEY, at(0), at(-9)))
    one.apply(NOW, Put(0, KEY, b"v", NOW + 1_000, at(0), at(-9)))
    other.apply(NOW, Put(0, KEY, b"v", NOW + 1_000, at(0), at(-9), (at(-9), at(0))))
    assert contents(one) == contents(other)
    assert one.spaces[0].floors == other.spaces[0].floors


def test_who_lacks_a_shorter_life_is_told_its_floor_with_it() -> None:
    one, other = store(1), store(2)
    for s in (one, other):
        s.apply(NOW, Put(0, KEY, b"old", NOW + 1_000_000, at(-9), at(-9)))
    one.expire(NOW, 0, KEY, NOW + 10_000)
    answers = Answers()
    answers.digests(one, 1, with_traces=True)
    shard = crc32(KEY) & MASK
    (part,) = answers.slices(one, NOW, Ask(1, shard, held(other.spaces, NOW, shard), {}, 0))
    assert [type(effect) for effect in part.effects] == [Put]
    for effect in part.effects:
        other.apply(NOW, effect)
    assert contents(one) == contents(other)
    assert one.spaces[0].floors == other.spaces[0].floors


@pytest.mark.parametrize("how", ["put", "expire", "hash"])
def test_a_slow_request_that_also_shortens_the_life_does_not_undo_a_logout(how: str) -> None:
    a, b = store(1), store(2)
    if how == "hash":
        a.put_hash(NOW, 0, KEY, {b"f": b"1"}, NOW + 1_000_000)
    else:
        a.put(NOW, 0, KEY, b"v", NOW + 1_000_000)
    for effect in a.take_effects():
        b.apply(NOW, effect)
    a.remove(NOW + 1, 0, KEY)
    if how == "put":
        b.put(NOW + 500, 0, KEY, b"late", NOW + 500_000)
    else:
        b.expire(NOW + 500, 0, KEY, NOW + 500_000)
    for effect in b.take_effects():
        a.apply(NOW + 500, effect)
    for effect in a.take_effects():
        b.apply(NOW + 500, effect)
    assert a.find(NOW + 500, 0, KEY) is b.find(NOW + 500, 0, KEY) is None


def test_a_longer_life_may_come_before_its_version() -> None:
    s = store(1)
    s.apply(NOW, Touch(0, KEY, NOW + 9000, at(0), at(0)))
    s.apply(NOW, Put(0, KEY, b"v", NOW + 1000, at(0), at(0)))
    assert s.expires_ms(NOW, 0, KEY) == NOW + 9000
    for number in range(MAX_EARLY + 10):
        s.apply(NOW, Touch(0, b"k%d" % number, NOW + 9000, at(1), at(0)))
    assert len(s.spaces[0].early) == MAX_EARLY


def test_a_flush_is_a_floor_also_for_what_comes_late() -> None:
    a, b = store(1), store(2)
    b.apply(NOW, Put(0, b"new", b"v", 0, at(9), at(9)))
    b.apply(NOW, Put(0, b"old", b"v", 0, at(1), at(1)))
    b.apply(NOW, Put(1, b"old", b"v", 0, at(1), at(1)))
    for s in (a, b):
        assert s.apply(NOW, Flush(0, at(5)))
        s.apply(NOW, Put(0, b"older", b"v", 0, at(8), at(4)))
    assert list(a.keys(NOW, 0)) == []
    assert (list(b.keys(NOW, 0)), list(b.keys(NOW, 1))) == ([b"new"], [b"old"])


@pytest.mark.parametrize("ahead_ms", [10_001, 3_600_000])
def test_what_lies_in_the_future_does_not_count(ahead_ms: int) -> None:
    s = store(1)
    stamp = at(ahead_ms)
    for effect in (
        Put(0, KEY, b"v", 0, stamp, at(0)),
        Remove(0, KEY, stamp),
        Flush(0, stamp),
        PutFields(0, KEY, {b"f": (b"v", stamp, at(0))}, 0, at(0), at(0)),
    ):
        assert not s.apply(NOW, effect)
    assert (list(s.keys(NOW, 0)), s.clock.refused) == ([], 4)
    s.put(NOW, 0, KEY, b"v", 0)
    (put,) = s.take_effects()
    assert isinstance(put, Put)
    assert put.stamp < at(1), "and our clock has not followed"
    assert s.apply(NOW + ahead_ms, Put(0, b"k", b"v", 0, stamp, stamp))


def test_removals_are_forgotten_after_the_horizon() -> None:
    s = store(1)
    s.put(NOW, 0, KEY, b"v", 0)
    s.take_effects()
    s.remove(NOW, 0, KEY)
    s.put_fields(NOW, 0, b"h", {b"f": b"1", b"g": b"1"})
    s.remove_fields(NOW, 0, b"h", [b"f"])
    s.expire_some(NOW + 3_600_000, 100)
    assert (len(s.spaces[0].graves), len(s.spaces[0].field_graves)) == (1, 1)
    s.expire_some(NOW + 3_621_000, 100)
    assert (len(s.spaces[0].graves), len(s.spaces[0].field_graves)) == (0, 0)


def test_a_removal_that_was_one_too_many_still_wins_over_who_has_not_heard_of_it() -> None:
    """It was forgotten early, and with nobody away."""
    s = store(1)
    for key in (KEY, b"sess:2"):
        s.put(NOW, 0, key, b"v", 0)
    puts = {effect.key: effect for effect in s.take_effects() if isinstance(effect, Put)}
    for key in (KEY, b"sess:2"):
        s.remove(NOW, 0, key)
    s.seen.add(1, 0, s.clock.last)
    s.spaces[0].forget(NOW - 1000, 1, 100)
    assert s.spaces[0].graves.keys() == {b"sess:2"}
    born = puts[KEY].born
    s.apply(NOW + 500, Put(0, KEY, b"a slow request's", 0, at(500), born))
    assert s.spaces[0].entry(KEY) is None
