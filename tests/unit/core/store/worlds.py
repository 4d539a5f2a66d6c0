"""Stores that change at the same time and hear of each other or not, and what is in them."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hypothesis import strategies as st

from haagent.core.store.effects import Effect
from haagent.core.store.settings import StoreSettings
from haagent.core.store.space import Hash
from haagent.core.store.store import Store

NOW = 1_796_000_000_000
KEYS = (b"sess:1", b"sess:2", b"plain", b"sess:3_LOCK")
NAMES = (b"f", b"g")
SETTINGS = StoreSettings(databases=2)

# What one store does: which, and by how much its clock is off; the change, and its numbers. Few keys and few values, so
# that they meet.
DEEDS = st.tuples(
    st.integers(0, 2),
    st.sampled_from(
        ["put", "put", "touch", "shorten", "persist", "remove", "fields", "drop", "hash", "flush", "hear", "ship"]
    ),
    st.sampled_from(KEYS),
    st.integers(0, 3),
)


def store(number: int, settings: StoreSettings = SETTINGS) -> Store:
    return Store(settings, node_number=number, rng=random.Random(number))


def perform(stores: Sequence[Store], deeds: Sequence[tuple[int, str, bytes, int]]) -> list[list[Effect]]:
    """What each of them has shipped."""
    shipped: list[list[Effect]] = [[] for _ in stores]
    for step, (who, deed, key, number) in enumerate(deeds):
        now_ms = NOW + step // 3 + (0, 40, -40)[who]  # their clocks differ, and not each change has its own millisecond
        s, far_ms = stores[who], NOW + 3_600_000 * (1 + number)
        is_hash = isinstance(s.find(now_ms, 0, key), Hash)
        match deed:
            case "put":
                s.put(now_ms, 0, key, b"%d" % number, far_ms if number else 0)
            case "touch":
                s.expire(now_ms, 0, key, far_ms)
            case "shorten":
                s.expire(now_ms, 0, key, NOW + 600_000 - number)
            case "persist":
                s.expire(now_ms, 0, key, 0)
            case "remove":
                s.remove(now_ms, 0, key)
            case "fields" if is_hash or s.find(now_ms, 0, key) is None:
                s.put_fields(now_ms, 0, key, dict.fromkeys(NAMES[: 1 + number % 2], b"%d" % number))
            case "drop" if is_hash:
                s.remove_fields(now_ms, 0, key, NAMES[number % 2 : number % 2 + 1 + number // 2])
            case "hash":
                s.put_hash(now_ms, 0, key, {NAMES[number % 2]: b"%d" % number}, far_ms)
            case "flush" if number == 3:
                s.flush(now_ms, 0)
            case "hear":
                for effect in shipped[number % len(stores)][-5:]:
                    s.apply(now_ms, effect)
        if deed != "ship" or number:  # else what follows goes with the next
            shipped[who] += s.take_effects()
    for who, s in enumerate(stores):
        shipped[who] += s.take_effects()
    return shipped


def contents(s: Store) -> dict[tuple[int, bytes], object]:
    """All that counts: values, and what orders them."""
    return {
        (space.number, key): (
            (dict(entry[0]), entry[0].expiry_stamp) if isinstance(entry[0], Hash) else (entry[0], entry[1]),
            entry[2:4],
        )
        for space in s.spaces
        for shard in space.shards
        for key, entry in shard.items()
    }
