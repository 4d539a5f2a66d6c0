"""Virtual time, and the network in it: which datagram arrives where, and when.

The heap and the generator are all there is of time and chance: whoever puts the same things on the heap in the same
order gets the same run.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Collection, Iterator

import msgspec

Range = tuple[float, float]


class Trouble(msgspec.Struct):
    """Of the way from one host to one other; what is not set is as everywhere."""

    loss: float | None = None
    delay_s: Range | None = None


class Network:
    def __init__(self, rng: random.Random, names: Collection[str], *, delay_s: Range) -> None:
        self.t = 0.0
        self.looks: list[Callable[[], None]] = []  # done after whatever happens
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._ties = itertools.count()
        self.rng = rng
        self.names = tuple(names)
        self.delay_s = self.usual_delay_s = delay_s  # of a datagram
        self.loss = 0.0
        self.duplication = 0.0
        self.troubles: dict[tuple[str, str], Trouble] = {}
        self.cuts: set[tuple[str, str]] = set()
        self.quiet: set[tuple[str, str]] = set()  # of the cuts those through which everything else gets
        self.isolated: set[str] = set()  # from clients as well

    def at(self, t: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (max(t, self.t), next(self._ties), what))

    def run(self, until: float) -> None:
        while self._heap and self._heap[0][0] <= until:
            self.t, _, what = heapq.heappop(self._heap)
            what()
            for look in self.looks:
                look()
        self.t = until

    def split(self, *sides: Collection[str]) -> None:
        """`split("A", "BC")`, `split(["A"], ["B", "C"])`: nothing passes between the sides."""
        for one, other in itertools.permutations(sides, 2):
            self.cuts |= set(itertools.product(one, other))

    def reach(self, one: str, other: str) -> bool:
        """Whether a question of one is answered by the other, if it is there."""
        return not {(one, other), (other, one)} & (self.cuts - self.quiet)

    def arrivals(self, source: str) -> Iterator[tuple[str, float]]:
        """Where a datagram to everybody arrives, and how long after it was sent."""
        for name in self.names:
            way = (source, name)
            if name == source or way in self.cuts:
                continue
            trouble = self.troubles.get(way)
            loss, delay_s = self.loss, self.delay_s
            if trouble is not None:
                loss = loss if trouble.loss is None else trouble.loss
                delay_s = trouble.delay_s or delay_s
            if self.rng.random() < loss:
                continue
            copies = 2 if self.rng.random() < self.duplication else 1
            for _ in range(copies):
                yield name, self.rng.uniform(*delay_s)
