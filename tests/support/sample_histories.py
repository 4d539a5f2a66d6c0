"""Histories written by hand: who answered from when to when, as the prober would have recorded it.

Times are milliseconds. Every millisecond each node is asked directly, and the client asks through its own table; an
answer comes `trip` later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from haagent.lab.answers import UNANSWERED, Trace
from trials.chaos.history import Blow, History
from trials.chaos.metronome import Late
from trials.chaos.schedule import Mode, Strike

START_S = 100.0
TRIP_US = 200

Times = Sequence[tuple[int, int]]  # from the first request answered until before the first that is not


def trace(
    answering: Mapping[str, Times],
    *,
    length: int,
    routed: Sequence[tuple[int, str]] = (),
    trip_us: int = TRIP_US,
    late: Mapping[tuple[str, int], int] | None = None,
) -> Trace:
    """`routed`: whom the client's table leads to from a time on; else to the first who answers. `late`: the answer of
    this node to the request of this time came only then (milliseconds)."""
    sent = [at * 1000 for at in range(length)]
    replied, by = [], []
    per_node: dict[str, list[int]] = {name: [] for name in answering}
    for at in range(length):
        here = [name for name, times in answering.items() if any(begin <= at < end for begin, end in times)]
        for name, replies in per_node.items():
            came = (late or {}).get((name, at), 0) * 1000 or sent[at] + trip_us
            replies.append(came if name in here else UNANSWERED)
        leads = [name for begin, name in routed if begin <= at]
        asked = leads[-1] if leads else next(iter(here), "")
        is_answered = asked in here
        replied.append(sent[at] + trip_us if is_answered else UNANSWERED)
        by.append(asked if is_answered else "")
    return Trace("10.20.1.100", 0.001, START_S, sent, replied, by, per_node)


def history(
    traces: Sequence[Trace],
    *strikes: Strike,
    mode: Mode = Mode.CONSISTENT,
    began: int = 100,
    mended: int = 600,
    unsettled: str = "",
    noise_ms: float = 2.0,
    late_ms: float = 0.0,
    swapped: tuple[str, ...] = (),
) -> History:
    """The faults last from `began` to `mended`; the lease is 350 ms."""
    return History(
        seed=1,
        number=1,
        mode=mode,
        interval_s=0.1,
        lease_s=0.35,
        holder="A",
        quiet_s=START_S,
        ended_s=START_S + len(traces[0].sent) / 1e3,
        blows=tuple(Blow(strike, "A", START_S + began / 1e3, START_S + mended / 1e3) for strike in strikes),
        traces=list(traces),
        noise_ms=noise_ms,
        late=[Late(START_S + began / 1e3, late_ms / 1e3)] if late_ms else [],
        swapped=swapped,
        unsettled=unsettled,
    )


def strike(fault: str, role: str = "holder") -> Strike:
    return Strike(fault, role, 0.0, 0.5)
