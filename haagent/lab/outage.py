"""What a client went without, computed from the record of its probes. Pure: no clock, no socket.

The client sends an echo request every millisecond. A *gap* is the time between two neighbouring answered probes, taken
on both axes: when they were sent and when their answers came, whichever is longer. The second axis matters because a
kernel that does not know the way (ARP unanswered) queues packets and delivers them late: all of them are answered in
the end, and yet the client was stuck. Without any fault a gap is one interval plus the noise of the machine, so the
noise must be read beside every figure.

Whether *two* hosts answer cannot be seen from probes that follow the client's ARP table: they reach one host at a
time. So at each tick the client also asks every node directly (same address, each node's own MAC). `answers` says what
follows from that.
"""

from __future__ import annotations

from itertools import groupby, pairwise

import msgspec

from haagent.lab.answers import UNANSWERED, Trace, dual_ms

IN_FLIGHT_S = 0.02  # probes sent so shortly before the end may just not have been answered yet


class Gap(msgspec.Struct, frozen=True):
    start_s: float  # CLOCK_MONOTONIC
    ms: float
    before: str  # who answered last
    after: str  # who answered next; empty: nobody until the end


class Outage(msgspec.Struct, frozen=True):
    """Of one address in one window of time."""

    address: str
    probes: int
    answered: int
    worst_ms: float  # the longest gap
    gaps: list[Gap]  # all above the threshold, in order
    answered_by: list[str]  # in order of appearance, repeated when it changes back
    dual_ms: float  # two hosts answered for the address at once
    gap_p50_ms: float
    gap_p99_ms: float
    stall_ms: float  # the prober itself was late by so much: an upper bound of its own error


def measure(trace: Trace, *, start_s: float = 0.0, end_s: float = float("inf"), threshold_ms: float = 3.0) -> Outage:
    """The outage between two instants of CLOCK_MONOTONIC."""
    ticks = [tick for tick, sent in enumerate(trace.sent) if start_s <= trace.start_s + sent / 1e6 <= end_s]
    hits = [tick for tick in ticks if trace.replied[tick] != UNANSWERED]
    gaps = _gaps(trace, ticks, hits)
    lengths = sorted(gap.ms for gap in gaps)
    return Outage(
        address=trace.address,
        probes=len(ticks),
        answered=len(hits),
        worst_ms=round(lengths[-1], 3) if lengths else 0.0,
        gaps=[gap for gap in gaps if gap.ms > threshold_ms],
        answered_by=[name for name, _ in groupby(trace.answered_by[tick] for tick in hits)],
        dual_ms=dual_ms(trace, start_s=start_s, end_s=end_s),
        gap_p50_ms=_share(lengths, 0.5),
        gap_p99_ms=_share(lengths, 0.99),
        stall_ms=_stall_ms(trace, ticks),
    )


def _gaps(trace: Trace, ticks: list[int], hits: list[int]) -> list[Gap]:
    """Also from the window's start to the first answer, and from the last answer to its end."""
    if not ticks:
        return []
    gaps = []
    sent, reply, who = trace.sent[ticks[0]], trace.sent[ticks[0]], ""
    for tick in hits:
        length = max(trace.sent[tick] - sent, trace.replied[tick] - reply)
        gaps.append(Gap(trace.start_s + sent / 1e6, length / 1e3, who, trace.answered_by[tick]))
        sent, reply, who = trace.sent[tick], max(reply, trace.replied[tick]), trace.answered_by[tick]
    silence = trace.sent[ticks[-1]] - sent
    if silence > IN_FLIGHT_S * 1e6:
        gaps.append(Gap(trace.start_s + sent / 1e6, silence / 1e3, who, ""))
    return gaps


def _stall_ms(trace: Trace, ticks: list[int]) -> float:
    pairs = pairwise(ticks)
    longest = max((trace.sent[after] - trace.sent[before] for before, after in pairs), default=0)
    return round(max(0.0, longest / 1e3 - trace.interval_s * 1e3), 3)


def _share(ordered: list[float], share: float) -> float:
    return round(ordered[int(share * (len(ordered) - 1))], 3) if ordered else 0.0
