"""Who of a small world is linked with whom: each with each, but for those between whom it is cut, and who are down."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from itertools import combinations
from typing import ClassVar

Pair = tuple[str, str]


class Links(ABC):
    LINKED_WITHIN_S: ClassVar[float]

    chance: random.Random
    now: float
    nodes: Mapping[str, object]

    def __init__(self) -> None:
        self.links: dict[Pair, int] = {}  # those that are up: the number of the connection
        self.cut: set[Pair] = set()

    def connect(self) -> None:
        """What should be linked is, after a while; what should not be is not, at once."""
        for pair in combinations(sorted(self.nodes), 2):
            if pair in self.links and not self.may_be_linked(pair):
                self.unlink(pair)
            elif self.lacks(pair):
                when = self.now + self.chance.uniform(0.01, self.LINKED_WITHIN_S)
                self.at(when, lambda pair=pair: self.link(pair))  # type: ignore[misc]

    def lacks(self, pair: Pair) -> bool:
        return pair not in self.links and self.may_be_linked(pair)

    def may_be_linked(self, pair: Pair) -> bool:
        return pair not in self.cut and all(self.is_up(name) for name in pair)

    @abstractmethod
    def at(self, when: float, deed: Callable[[], None]) -> None: ...

    @abstractmethod
    def is_up(self, name: str) -> bool: ...

    @abstractmethod
    def link(self, pair: Pair) -> None: ...

    @abstractmethod
    def unlink(self, pair: Pair) -> None: ...
