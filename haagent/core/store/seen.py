"""What a store has seen: of each node, the stamps whose changes are in it, or were and lost.

A removal is remembered for a while. After that, a key that one store holds and another one does not may be new to the
other, or may have been removed there. The stamps tell: what the other has seen, and does not hold, is gone. It counts
only for versions that are older than a removal which the other has forgotten; a younger one may be lacking because it
was evicted, or because the other has missed that it lives longer. A longer life of an old version is a new version.

While a peer is away removals are remembered for longer, but no more than so many. When one had to be forgotten even
so, its stamp is the database's `horizon`. A session that comes from a peer, is not here, was born before that, and is
known to have been born, was then removed, as far as anybody can tell: that wins, and is told to all. What was born in
the meantime on the other side is not known here. Known is what was seen, and, when a link ends before all is seen, what
was heard of until then: up to the newest birth on each node. Who has evicted something cannot tell at all, and takes
what comes.

Stamps of one node are ranges: a life that began without a donor has seen nothing of what was before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from haagent.core.store.space import Entry, Hash
from haagent.core.store.stamps import MAX_NODE_NUMBER

MAX_RANGES = 16  # of one node; the oldest are forgotten: then a removal may not be known, and nothing worse

Ranges = Mapping[int, Sequence[tuple[int, int]]]


class Seen:
    def __init__(self) -> None:
        self.ranges: dict[int, list[tuple[int, int]]] = {}
        self._births: dict[int, int] = {}  # the newest one that was heard of, of each node
        self._known: dict[int, int] = {}

    def add(self, number: int, low: int, high: int) -> None:
        """All that this node has made from one stamp to another."""
        ranges = self.ranges.setdefault(number, [])
        if ranges and low == ranges[-1][0]:  # as each time that more of a stream comes
            ranges[-1] = (low, max(high, ranges[-1][1]))
            return
        merged: list[tuple[int, int]] = []
        for first, last in sorted([*ranges, (low, high)]):
            if merged and first <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
            else:
                merged.append((first, last))
        self.ranges[number] = merged[-MAX_RANGES:]

    def merge(self, other: Ranges) -> None:
        for number, ranges in other.items():
            for low, high in ranges:
                self.add(number, low, high)

    def hear_birth(self, born: int) -> None:
        number = born & MAX_NODE_NUMBER
        if born > self._births.get(number, 0):
            self._births[number] = born

    def end_link(self) -> None:
        self._known = dict(self._births)

    def knows_birth(self, born: int) -> bool:
        return born <= self._known.get(born & MAX_NODE_NUMBER, 0) or _has(self.ranges, born)


def is_gone(seen: Ranges, forgotten: int, entry: Entry) -> bool:
    """Who has seen and forgotten so much, and does not hold this, has removed it."""
    value, stamp, *_ = entry
    stamps = (value.expiry_stamp, *(field[1] for field in value.values())) if isinstance(value, Hash) else (stamp,)
    return all(stamp < forgotten and _has(seen, stamp) for stamp in stamps)


def _has(seen: Ranges, stamp: int) -> bool:
    return any(low <= stamp <= high for low, high in seen.get(stamp & MAX_NODE_NUMBER, ()))
