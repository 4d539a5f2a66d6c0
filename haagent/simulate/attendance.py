"""Who answered for a group from when to when, and what follows: the outages, and whether two ever did at once.

Only what the hosts' kernels do is looked at, never what the nodes believe. A gate that times out does so between two
events: its end is known from what was granted last, to the last digit.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import msgspec

Span = tuple[float, float]


class Overlap(msgspec.Struct, frozen=True):
    nodes: tuple[str, ...]
    start_s: float
    end_s: float


class Spans:
    """Of one host and one thing: from when to when it was so."""

    def __init__(self) -> None:
        self.closed: list[Span] = []
        self._since: float | None = None
        self._until = 0.0

    def see(self, now: float, until: float) -> float | None:
        """It is so until then if nothing happens; if that is past, it is not. Returns when it ended, if by itself."""
        if self._since is not None and now < min(self._until, until):
            self._until = until
            return None
        ended = self._until if self._since is not None and self._until <= now else None
        self.finish(now)
        if now < until:
            self._since, self._until = now, until
        return ended

    def finish(self, now: float) -> None:
        if self._since is not None and (ended := min(now, self._until)) > self._since:
            self.closed.append((self._since, ended))
        self._since = None


def union(spans: Iterable[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def gaps(spans: Iterable[Span], *, until: float) -> list[Span]:
    """Between the first start and `until`."""
    merged = union(spans)
    ends = [start for start, _ in merged[1:]] + [until]
    return [(end, after) for (_, end), after in zip(merged, ends, strict=False) if after > end]


def without(spans: Iterable[Span], taken: Iterable[Span]) -> list[Span]:
    """What is left of `spans` where `taken` is not."""
    left = list(spans)
    for start, end in taken:
        left = [piece for span in left for piece in ((span[0], min(span[1], start)), (max(span[0], end), span[1]))]
        left = [(one, other) for one, other in left if other > one]
    return left


def overlaps(spans: dict[str, list[Span]]) -> Iterator[Overlap]:
    """When more than one host was in it at once, and which."""

    def inside(piece: Span) -> tuple[str, ...]:
        start, end = piece
        return tuple(sorted(name for name, each in spans.items() if any(a <= start and end <= b for a, b in each)))

    instants = sorted({instant for each in spans.values() for span in each for instant in span})
    for nodes, pieces in itertools.groupby(itertools.pairwise(instants), key=inside):
        if len(nodes) > 1:
            starts, ends = zip(*pieces, strict=True)
            yield Overlap(nodes, starts[0], ends[-1])
