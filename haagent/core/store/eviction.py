"""Eviction: what goes when there is no more memory. It is a matter of this node alone: nothing is removed elsewhere.

* `volatile-ttl`: what would expire next. The wheel knows: the next bucket, less what has moved away from it.
* `allkeys-lru`: what has not been used for long. Each shard is in order of use, and is a sample of all keys; the first
  one of a shard drawn by lot is good enough.
* `noeviction`: nothing; changes that take memory are refused instead.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from haagent.core.store.space import SHARDS, Space

POLICIES = ("noeviction", "volatile-ttl", "allkeys-lru")


def evict_one(spaces: Sequence[Space], policy: str, now_ms: int, rng: random.Random) -> bool:
    """False: there is nothing that may go."""
    if policy == "volatile-ttl":
        soonest = [(second, space) for space in spaces if (second := space.next_second())]
        return bool(soonest) and min(soonest, key=lambda pair: pair[0])[1].drop_soonest(now_ms)
    if policy == "allkeys-lru":
        filled = [space for space in spaces if space.keys]
        if not filled:
            return False
        (space,) = rng.choices(filled, [space.keys for space in filled])
        start = rng.randrange(SHARDS)
        for shard in (*space.shards[start:], *space.shards[:start]):
            for key, entry in shard.items():
                space.drop(key, entry)
                return True
    return False
