"""What commands read and change in the store of one node."""

from __future__ import annotations

import random

import msgspec
import pytest

from haagent.core.store.effects import ALL, Flush, Put, PutFields, Remove, RemoveFields, Touch
from haagent.core.store.settings import StoreSettings
from haagent.core.store.space import Hash
from haagent.core.store.store import KEEP, Store, TooLarge

NOW = 1_796_000_000_000
KEY = b"sess:1"


def store(**settings: object) -> Store:
    return Store(msgspec.convert(settings, StoreSettings), node_number=1, rng=random.Random(1))


def kinds(of: Store) -> list[type]:
    return [type(effect) for effect in of.take_effects()]


def test_what_was_put_is_found_until_it_expires() -> None:
    s = store()
    s.put(NOW, 0, KEY, b"v", NOW + 1000)
    assert s.find(NOW + 999, 0, KEY) == b"v"
    assert s.expires_ms(NOW, 0, KEY) == NOW + 1000
    assert s.find(NOW, 1, KEY) is None, "it is in another database"
    assert s.find(NOW + 1000, 0, KEY) is None
    assert (s.size(NOW, 0), s.expired, s.bytes_used()) == (0, 1, 0)
    assert s.expires_ms(NOW + 1000, 0, KEY) is None


def test_an_expiry_is_kept_replaced_or_taken_away() -> None:
    s = store()
    s.put(NOW, 0, KEY, b"1", NOW + 1000)
    s.put(NOW, 0, KEY, b"2", KEEP)
    assert s.expires_ms(NOW, 0, KEY) == NOW + 1000
    s.put(NOW, 0, KEY, b"3", 0)
    assert s.expires_ms(NOW, 0, KEY) == 0
    assert s.expire(NOW, 0, KEY, NOW + 5)
    assert s.expires_ms(NOW, 0, KEY) == NOW + 5
    assert not s.expire(NOW, 0, b"none", NOW + 5)


@pytest.mark.parametrize("past", [NOW, NOW - 1, 1])
def test_an_expiry_in_the_past_removes(past: int) -> None:
    s = store()
    s.put(NOW, 0, KEY, b"v", 0)
    assert s.expire(NOW, 0, KEY, past)
    assert s.find(NOW, 0, KEY) is None
    s.put(NOW, 0, KEY, b"v", 0)
    s.put(NOW, 0, KEY, b"w", past)
    assert s.find(NOW, 0, KEY) is None


def test_each_change_makes_another_stamp() -> None:
    s = store()
    seen = {s.stamp(NOW, 0, KEY)}
    for change in (
        lambda: s.put(NOW, 0, KEY, b"1", NOW + 1000),
        lambda: s.put(NOW, 0, KEY, b"2", NOW + 1000),
        lambda: s.expire(NOW, 0, KEY, NOW + 2000),
        lambda: s.expire(NOW, 0, KEY, NOW + 500),
        lambda: s.expire(NOW, 0, KEY, 0),
        lambda: s.put_hash(NOW, 0, KEY, {b"f": b"1", b"g": b"1"}, 0),
        lambda: s.put_fields(NOW, 0, KEY, {b"f": b"2"}),
        lambda: s.remove_fields(NOW, 0, KEY, [b"f"]),
    ):
        change()
        stamp = s.stamp(NOW, 0, KEY)
        assert stamp not in seen
        seen.add(stamp)
    assert s.remove(NOW, 0, KEY)
    assert s.stamp(NOW, 0, KEY) == 0


def test_effects_say_what_changed_and_no_more() -> None:
    s = store()
    s.put(NOW, 0, KEY, b"v", NOW + 1000)
    (put,) = s.take_effects()
    assert put == Put(0, KEY, b"v", NOW + 1000, put.stamp, put.stamp)
    s.put(NOW, 0, KEY, b"v", NOW + 1000)
    assert s.take_effects() == [], "it is as it was"
    s.put(NOW, 0, KEY, b"v", NOW + 3000)
    s.expire(NOW, 0, KEY, NOW + 4000)
    assert s.take_effects() == [Touch(0, KEY, at, put.stamp, put.born) for at in (NOW + 3000, NOW + 4000)]
    s.put(NOW, 0, KEY, b"w", NOW + 4000)
    (second,) = s.take_effects()
    assert isinstance(second, Put)
    assert (second.born, second.stamp > put.stamp) == (put.born, True)
    s.remove(NOW, 0, KEY)
    assert not s.remove(NOW, 0, KEY)
    assert kinds(s) == [Remove]


def test_a_key_that_is_no_session_is_born_anew_by_each_change() -> None:
    s = store()
    for key in (b"cache", b"sess:1_LOCK"):
        s.put(NOW, 0, key, b"1", 0)
        s.take_effects()
        s.put(NOW, 0, key, b"2", 0)
        (put,) = s.take_effects()
        assert isinstance(put, Put)
        assert put.born == put.stamp


def test_what_shortens_a_life_sets_a_floor_and_the_key_is_born_no_later() -> None:
    s = store()
    s.put(NOW, 0, KEY, b"v", 0)
    s.take_effects()
    s.expire(NOW, 0, KEY, NOW + 1000)
    (put,) = s.take_effects()
    assert isinstance(put, Put)
    assert put.floor == (put.born, put.stamp)
    assert put.born < put.stamp
    s.put_hash(NOW, 0, KEY, {b"f": b"1"}, NOW + 5000)
    s.take_effects()
    s.expire(NOW, 0, KEY, NOW + 1000)
    (fields,) = s.take_effects()
    assert isinstance(fields, PutFields)
    assert fields.floor == (fields.born, fields.stamp)
    assert list(fields.fields) == [b"f"]


def test_a_hash_that_is_too_large_leaves_what_it_would_have_replaced() -> None:
    s = store()
    s.put(NOW, 0, KEY, b"v", 0)
    with pytest.raises(TooLarge):
        s.put_hash(NOW, 0, KEY, {b"f": bytes(s.settings.max_value_bytes)}, 0)
    assert s.find(NOW, 0, KEY) == b"v"


def test_what_nobody_has_seen_yet_needs_no_removal() -> None:
    s = store()
    s.put(NOW, 0, KEY, b"v", 0)
    s.expire(NOW, 0, KEY, NOW + 1000)
    (put,) = s.take_effects()
    assert put == Put(0, KEY, b"v", NOW + 1000, put.stamp, put.born)


def test_what_others_have_seen_is_removed_also_when_it_was_written_again_since() -> None:
    for key in (KEY, b"plain"):
        s = store()
        s.put(NOW, 0, key, b"1", NOW + 9000)
        s.take_effects()
        s.put(NOW, 0, key, b"2", NOW + 9000)
        s.expire(NOW, 0, key, NOW + 1000)
        *_, shorter = s.take_effects()
        assert isinstance(shorter, Put)
        assert shorter.floor is not None
    s = store()
    s.apply(NOW, Put(0, KEY, b"theirs", 0, NOW << 19 | 7, NOW << 19 | 7))
    assert s.remove(NOW, 0, KEY)
    assert kinds(s) == [Remove]


def test_hashes() -> None:
    s = store()
    assert s.put_fields(NOW, 0, KEY, {b"f": b"1", b"g": b"2"}) == 2
    assert s.put_fields(NOW, 0, KEY, {b"f": b"3", b"h": b"4"}) == 1
    found = s.find(NOW, 0, KEY)
    assert isinstance(found, Hash)
    assert {name: field[0] for name, field in found.items()} == {b"f": b"3", b"g": b"2", b"h": b"4"}
    assert s.remove_fields(NOW, 0, KEY, [b"f", b"f", b"none"]) == 1
    assert kinds(s) == [PutFields, PutFields, RemoveFields]
    assert s.remove_fields(NOW, 0, KEY, [b"g", b"h"]) == 2
    assert s.find(NOW, 0, KEY) is None, "with its last field a hash is gone"
    assert s.spaces[0].bytes == 0


def test_a_flush_leaves_nothing_and_its_memory_is_freed_by_and_by() -> None:
    s = store()
    for number in range(100):
        s.put(NOW, number % 2, b"k%d" % number, b"v", NOW + 1000)
    s.take_effects()
    s.flush(NOW, 0)
    assert (s.size(NOW, 0), s.size(NOW, 1)) == (0, 50)
    s.flush(NOW)
    assert s.size(NOW, 1) == s.bytes_used() == 0
    one, every = s.take_effects()
    assert isinstance(one, Flush)
    assert isinstance(every, Flush)
    assert (one.db, every.db) == (0, ALL)
    while s.expire_some(NOW, 10) == 10:
        pass
    assert not s._rubbish


def test_a_scan_returns_each_key_that_stays_once() -> None:
    s = store()
    stays = {b"k%d" % number for number in range(3000)}
    for key in stays:
        s.put(NOW, 0, key, b"v", 0)
    s.put(NOW, 0, b"gone", b"v", NOW + 1)
    found: list[bytes] = []
    cursor, calls = 0, 0
    while True:
        cursor, keys = s.scan(NOW + 1, 0, cursor, 10)
        found += keys
        calls += 1
        s.put(NOW, 0, b"new%d" % calls, b"v", 0)
        if not cursor:
            break
    assert sorted(key for key in found if key.startswith(b"k")) == sorted(stays)
    assert b"gone" not in found
    assert calls > 100
    assert stays <= set(s.keys(NOW, 0))


def test_what_is_due_is_freed_wherever_its_expiry_has_moved() -> None:
    s = store()
    for number in range(1000):
        s.put(NOW, 0, b"k%d" % number, b"v", NOW + 1000 + number * 10)
    s.expire(NOW, 0, b"k0", NOW + 60_000)
    s.expire(NOW, 0, b"k999", NOW + 1000)
    s.expire(NOW, 0, b"k998", 0)
    assert s.expire_some(NOW + 999, 10_000) == 0
    assert s.expire_some(NOW + 13_000, 10) == 10
    while s.expire_some(NOW + 13_000, 100) == 100:
        pass
    assert set(s.keys(NOW, 0)) == {b"k0", b"k998"}
    assert s.expired == 998
    s.expire_some(NOW + 61_000, 10_000)
    assert set(s.keys(NOW, 0)) == {b"k998"}


def test_too_large_a_key_or_value_is_refused_and_changes_nothing() -> None:
    s = store(max_key_bytes=10, max_value_bytes=20)
    with pytest.raises(TooLarge):
        s.put(NOW, 0, b"k" * 11, b"v", 0)
    with pytest.raises(TooLarge):
        s.put(NOW, 0, b"k", b"v" * 21, 0)
    s.put_fields(NOW, 0, b"h", {b"f": b"1"})
    with pytest.raises(TooLarge):
        s.put_fields(NOW, 0, b"h", {b"g": b"1" * 20})
    assert list(s.keys(NOW, 0)) == [b"h"]


def test_the_guard_drops_what_writes_a_session_again_that_was_just_deleted() -> None:
    s = store(logout_guard_ms=5000)
    for key in (KEY, b"cache", b"sess:1_LOCK"):
        s.put(NOW, 0, key, b"1", 0)
        s.take_effects()
        s.remove(NOW, 0, key)
        s.put(NOW + 4000, 0, key, b"2", 0)
    assert (s.find(NOW + 4000, 0, KEY), s.guarded) == (None, 1)
    assert s.find(NOW + 4000, 0, b"cache") == s.find(NOW + 4000, 0, b"sess:1_LOCK") == b"2"
    s.put(NOW + 5001, 0, KEY, b"3", 0)
    assert s.find(NOW + 5001, 0, KEY) == b"3"
