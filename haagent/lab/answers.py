"""Whether two hosts answered for one address at once, read from the record of the probes. Pure.

Every answer proves one thing: its sender answered at some instant between the asking and the coming of the answer.
Nothing finer can be known, and nothing coarser may be claimed, so:

- A *span* is a time in which one node went on answering: it is broken only by `SILENT_ASKS` requests in a row that the
  node left unanswered. The span begins for certain when its first answer came and lasts for certain until its last
  answered request was sent.
- Two nodes answered at once exactly when the older span got an answer to a request **sent after** the first answer of
  the younger span had **come**. The round trip of that one answer is thereby excluded to the microsecond: a hand-over
  that is clean can never be counted, however late its answers come.
- A node that hands over and later gets the address back was silent in between, and that breaks its span. One that
  was silent for less than `SILENT_ASKS` requests has not handed over: no node lets go and takes again in that time.

Instants err to the safe side of an accusation: a request is stamped before it is sent, and a stamp of arrival that the
prober converts late comes out later. Answers to the client's own requests (through its ARP table) and to requests sent
straight at each node are evidence alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import msgspec

from haagent.lab.outage import UNANSWERED, Trace

SILENT_ASKS = 10


class Span(msgspec.Struct, frozen=True):
    """Instants of CLOCK_MONOTONIC."""

    node: str
    since_s: float  # its first answer had come
    until_s: float  # its last answered request was sent
    last_s: float  # its last answer had come


class Overlap(msgspec.Struct, frozen=True):
    """Two nodes answered at once, for so long at least."""

    older: str
    younger: str
    start_s: float
    end_s: float

    @property
    def ms(self) -> float:
        return round((self.end_s - self.start_s) * 1e3, 3)


def overlaps(trace: Trace) -> list[Overlap]:
    """In order of their beginning. A single answer in the midst of another node's counts as one interval."""
    found = []
    for one, other in combinations(spans(trace), 2):
        older, younger = sorted((one, other), key=lambda span: span.since_s)
        if older.node != younger.node and older.until_s > younger.since_s:
            end_s = min(older.until_s, younger.last_s)
            end_s = max(end_s, younger.since_s + trace.interval_s)
            found.append(Overlap(older.node, younger.node, younger.since_s, end_s))
    return sorted(found, key=lambda overlap: overlap.start_s)


def dual_ms(trace: Trace, *, start_s: float = 0.0, end_s: float = float("inf")) -> float:
    """How long two or more nodes answered at once between two instants."""
    total, reached = 0.0, start_s
    for overlap in overlaps(trace):
        begin, end = max(overlap.start_s, reached), min(overlap.end_s, end_s)
        total += max(0.0, end - begin)
        reached = max(reached, end)
    return round(total * 1e3, 3)


def spans(trace: Trace) -> list[Span]:
    return [span for node in nodes(trace) for span in _spans_of(trace, node)]


def nodes(trace: Trace) -> list[str]:
    """Everybody who answered at all."""
    return sorted({*trace.answered_by, *(name for names in trace.direct for name in names)} - {""})


def _spans_of(trace: Trace, node: str) -> Iterator[Span]:
    first = came = 0
    last_tick = -1
    asked = 0
    for tick, answer in _answers(trace, node):
        if last_tick < 0 or tick - last_tick > SILENT_ASKS:
            if last_tick >= 0:
                yield _span(trace, node, first, asked, came)
            first = came = answer
        first, came = min(first, answer), max(came, answer)
        asked, last_tick = trace.sent[tick], tick
    if last_tick >= 0:
        yield _span(trace, node, first, asked, came)


def _answers(trace: Trace, node: str) -> Iterator[tuple[int, int]]:
    """Each tick at which the node answered, with the instant of its first answer."""
    direct = trace.direct_replied.get(node, [])
    for tick, routed in enumerate(trace.replied):
        instants = [direct[tick]] if direct and direct[tick] != UNANSWERED else []
        if trace.answered_by[tick] == node and routed != UNANSWERED:
            instants.append(routed)
        if instants:
            yield tick, min(instants)


def _span(trace: Trace, node: str, first: int, asked: int, came: int) -> Span:
    start_s = trace.start_s
    return Span(node, start_s + first / 1e6, start_s + asked / 1e6, start_s + came / 1e6)
