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
from itertools import combinations, pairwise

import msgspec

SILENT_ASKS = 10
UNANSWERED = -1


class Trace(msgspec.Struct, frozen=True):
    """The record of one address. The lists run in parallel, one entry per tick; instants are microseconds."""

    address: str
    interval_s: float
    start_s: float  # CLOCK_MONOTONIC; the instants count from here
    sent: list[int]
    replied: list[int]  # UNANSWERED where no answer came
    answered_by: list[str]
    direct_replied: dict[str, list[int]] = {}  # per node: when its answer to the direct probe of this tick came


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
    nodes = sorted({*trace.answered_by, *trace.direct_replied} - {""})
    return [span for node in nodes for span in _spans_of(trace, node)]


def _spans_of(trace: Trace, node: str) -> Iterator[Span]:
    answers = list(_answers(trace, node))
    breaks = [at for at in range(1, len(answers)) if answers[at][0] - answers[at - 1][0] > SILENT_ASKS]
    for begin, end in pairwise([0, *breaks, len(answers)]):
        if begin == end:
            return  # it never answered
        came = [answer for _, answer in answers[begin:end]]
        instants = (min(came), trace.sent[answers[end - 1][0]], max(came))
        yield Span(node, *(trace.start_s + at / 1e6 for at in instants))


def _answers(trace: Trace, node: str) -> Iterator[tuple[int, int]]:
    """Each tick at which the node answered, with the instant of its first answer."""
    direct = trace.direct_replied.get(node, [])
    for tick, routed in enumerate(trace.replied):
        instants = [direct[tick]] if direct and direct[tick] != UNANSWERED else []
        if trace.answered_by[tick] == node and routed != UNANSWERED:
            instants.append(routed)
        if instants:
            yield tick, min(instants)
