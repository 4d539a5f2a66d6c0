"""What goes when there is no more memory."""

from __future__ import annotations

import random

import pytest

from haagent.core.store.settings import StoreSettings
from haagent.core.store.store import Store

NOW = 1_796_000_000_000


def filled(policy: str, limit: int = 100_000) -> Store:
    """Two thirds of what it holds have to go: key 0 expires first, every tenth never."""
    s = Store(StoreSettings(max_memory=limit, eviction=policy), node_number=1, rng=random.Random(1))
    for number in range(1000):
        s.put(NOW, number % 2, b"k%d" % number, b"v", NOW + 60_000 + number * 1000 if number % 10 else 0)
    s.take_effects()
    return s


def numbers(s: Store) -> set[int]:
    return {int(key[1:]) for db in (0, 1) for key in s.keys(NOW, db)}


def test_without_a_policy_nothing_goes() -> None:
    s = filled("noeviction")
    assert s.is_full()
    assert not s.evict(NOW, 1000)
    assert len(numbers(s)) == 1000


def test_what_would_expire_next_goes_first() -> None:
    s = filled("volatile-ttl")
    for number in range(1, 50):
        s.expire(NOW, number % 2, b"k%d" % number, NOW + 9_000_000)
    s.take_effects()
    assert s.evict(NOW, 1000)
    assert not s.is_full()
    left = numbers(s)
    assert set(range(0, 1000, 10)) | set(range(1, 50)) <= left
    gone = set(range(1000)) - left
    assert max(gone) < min(left - set(range(0, 1000, 10)) - set(range(50))), "in order of their expiry"
    assert s.evicted == len(gone)
    assert s.take_effects() == [], "nobody else hears of it"


def test_when_nothing_expires_there_is_nothing_to_go() -> None:
    s = filled("volatile-ttl", limit=10_000)
    assert not s.evict(NOW, 2000)
    assert numbers(s) == set(range(0, 1000, 10))


@pytest.mark.parametrize("use", ["read", "write"])
def test_what_was_used_lately_stays(use: str) -> None:
    s = Store(StoreSettings(max_memory=2_000_000, eviction="allkeys-lru"), node_number=1, rng=random.Random(1))
    for number in range(10_000):
        s.put(NOW, 0, b"k%d" % number, b"v", 0)
    used = range(0, 10_000, 5)
    for number in used:
        if use == "read":
            s.find(NOW, 0, b"k%d" % number)
        else:
            s.put(NOW, 0, b"k%d" % number, b"w", 0)
    assert s.evict(NOW, 10_000)
    left = numbers(s)
    assert len(left & set(used)) > 0.9 * len(used)
    assert len(left) < 6500


def test_what_has_expired_goes_before_anything_else() -> None:
    s = filled("volatile-ttl", limit=300_000)
    assert s.evict(NOW + 500_000, 1000)
    assert s.evicted == 0


def test_no_more_than_asked_for_goes_at_once() -> None:
    s = filled("volatile-ttl")
    assert not s.evict(NOW, 10)
    assert len(numbers(s)) == 990
