"""What happened in one episode, and whether it was allowed to. Pure: the record goes in, the violations come out.

Three things are checked:
1. **At most one.** No two nodes answered for an address at once, in `consistent` whatever was done, in `available` as
   long as nothing was cut or lost (then the schedule has no such fault). `haagent.lab.answers` says what counts: an
   answer of the old holder to a request sent after an answer of the new one had come. The limit is zero.
2. **No outage longer than the bound of its fault** (`bounds.py`). An outage is judged by when it began: while faults
   were in force or the lease they ended still ran, or when all was well again. The machine's own pauses are granted:
   the prober's (noise), and those of an ordinary process of the same time (`metronome.py`). When such a process had
   to wait for more than a heartbeat's interval, the outages of that episode prove nothing and are not judged.
3. **It settled**: every agent back, all of one mind, the address on exactly one host, the client served by that one.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from haagent.lab.answers import Trace, overlaps
from haagent.lab.outage import Gap, measure
from trials.chaos import bounds
from trials.chaos.bounds import Force
from trials.chaos.metronome import Late
from trials.chaos.schedule import SWAP, Mode, Strike

SETTLED = ""
JOINED_MS = 5.0  # shorter ones overlap all the time and are no outages


class Blow(msgspec.Struct, frozen=True):
    """A strike as it was dealt. Instants of CLOCK_MONOTONIC."""

    strike: Strike
    node: str
    started_s: float
    mended_s: float  # when its mending began


class History(msgspec.Struct, frozen=True):
    """All there is to know about an episode. Written to a file when something is wrong with it."""

    seed: int
    number: int
    mode: Mode
    interval_s: float
    lease_s: float
    holder: str  # of the first group, when it began
    quiet_s: float  # nothing was done from here to the first blow
    ended_s: float
    blows: tuple[Blow, ...]
    traces: list[Trace]
    noise_ms: float  # the longest gap of any quiet time of the campaign so far
    swapped: tuple[str, ...] = ()  # the addresses that change places, where some do
    late: list[Late] = []  # when an ordinary process had to wait for a processor
    unsettled: str = SETTLED  # why not
    words: dict[str, str] = {}  # what each node's agent logged, when something is wrong

    @property
    def began_s(self) -> float:
        return min(blow.started_s for blow in self.blows)

    @property
    def mended_s(self) -> float:
        return max(blow.mended_s for blow in self.blows)

    @property
    def starved_ms(self) -> float:
        """The longest that an ordinary process had to wait, from one lease before the first blow on."""
        since_s = self.began_s - self.lease_s
        return 1e3 * max((one.late_s for one in self.late if one.at_s >= since_s), default=0.0)

    @property
    def is_judged(self) -> bool:
        return self.starved_ms <= self.interval_s * 1e3

    @property
    def strikes(self) -> tuple[Strike, ...]:
        return tuple(blow.strike for blow in self.blows)


class Violation(msgspec.Struct, frozen=True):
    law: str  # one holder | outage | settled
    text: str


class Seen(msgspec.Struct, frozen=True):
    """What the client saw of an episode: the worst of its addresses."""

    outage_ms: float  # begun while the faults were in force
    after_ms: float  # begun when they were mended
    bound_ms: float  # for the former; 0: there is none, no majority was left
    dual_ms: float
    noise_ms: float  # of this episode's own quiet time
    starved_ms: float = 0.0
    is_judged: bool = True


def check(history: History) -> list[Violation]:
    found = [violation for trace in history.traces for violation in _second_answers(trace)]
    if history.is_judged:
        found += [violation for trace in history.traces for violation in _long_outages(history, trace)]
    if history.unsettled:
        found.append(Violation("settled", f"the cluster did not settle: {history.unsettled}"))
    return found


def see(history: History) -> Seen:
    during, after, dual, noise = [0.0], [0.0], [0.0], [0.0]
    for trace in history.traces:
        for gap in outages(trace, start_s=history.began_s, end_s=history.ended_s):
            (during if _is_early(history, gap) else after).append(gap.ms)
        dual.append(sum(overlap.ms for overlap in overlaps(trace)))
        noise.append(measure(trace, start_s=history.quiet_s, end_s=history.began_s).worst_ms)
    bound = max(_bound_ms(history, trace) or 0.0 for trace in history.traces)
    return Seen(
        outage_ms=max(during),
        after_ms=max(after),
        bound_ms=bound,
        dual_ms=max(dual),
        noise_ms=max(noise),
        starved_ms=round(history.starved_ms, 3),
        is_judged=history.is_judged,
    )


def _second_answers(trace: Trace) -> list[Violation]:
    return [
        Violation(
            "one holder",
            f"{trace.address}: {overlap.older} still answered {overlap.ms:.1f} ms after {overlap.younger} had begun to "
            f"(at {overlap.start_s:.6f})",
        )
        for overlap in overlaps(trace)
    ]


def _long_outages(history: History, trace: Trace) -> list[Violation]:
    noise_ms = _granted_ms(history, trace)
    early_ms, late_ms = _bound_ms(history, trace), bounds.after_mend_ms(noise_ms=noise_ms)
    found = []
    for gap in outages(trace, start_s=history.began_s, end_s=history.ended_s):
        if _is_early(history, gap):
            begun, bound_ms = "while the faults were in force", early_ms
            if bound_ms is None:
                mended_ms = max(0.0, history.mended_s - gap.start_s) * 1e3
                recovery_ms = bounds.recovery_ms(history.mode, lease_ms=history.lease_s * 1e3, noise_ms=noise_ms)
                begun, bound_ms = "while no majority was left", mended_ms + recovery_ms
        else:
            begun, bound_ms = "after the faults were mended", late_ms
        if gap.ms > bound_ms:
            text = f"{trace.address}: no service for {gap.ms:.1f} ms, begun {begun}; the bound is {bound_ms:.0f} ms"
            found.append(Violation("outage", f"{text} ({gap.before or 'nobody'} -> {gap.after or 'nobody'})"))
    return found


def _bound_ms(history: History, trace: Trace) -> float | None:
    if not bounds.has_majority(history.strikes):
        return None
    noise_ms = _granted_ms(history, trace)
    forces = [
        Force(blow.strike, 1e3 * (blow.mended_s - blow.started_s), _hits(history, blow.strike, trace.address))
        for blow in history.blows
    ]
    return bounds.after_strike_ms(forces, lease_ms=history.lease_s * 1e3, noise_ms=noise_ms)


def _hits(history: History, strike: Strike, address: str) -> bool:
    return address in history.swapped if strike.fault == SWAP else strike.role == "holder"


def outages(trace: Trace, *, start_s: float, end_s: float) -> list[Gap]:
    """Gaps that overlap are one. A request that the kernel kept (it did not know the way yet) and delivered in the end
    cuts an outage in two: the silence until its late answer, and the requests after it that nobody kept."""
    found, joined = [], Gap(0.0, 0.0, "", "")
    for gap in measure(trace, start_s=start_s, end_s=end_s, threshold_ms=0.0).gaps:
        if gap.ms < JOINED_MS:
            found.append(gap)
        elif gap.start_s < _end_s(joined):
            ms = (max(_end_s(joined), _end_s(gap)) - joined.start_s) * 1e3
            joined = Gap(joined.start_s, ms, joined.before, gap.after)
        else:
            found.append(joined)
            joined = gap
    return [*found, joined]


def _end_s(gap: Gap) -> float:
    return gap.start_s + gap.ms / 1e3


def _is_early(history: History, gap: Gap) -> bool:
    """A lease that the faults keep from being renewed may run out when they are mended already."""
    return gap.start_s < history.mended_s + history.lease_s


def _granted_ms(history: History, trace: Trace) -> float:
    return history.noise_ms + _stall_ms(history, trace) + history.starved_ms


def _stall_ms(history: History, trace: Trace) -> float:
    return measure(trace, start_s=history.began_s, end_s=history.ended_s).stall_ms


def save(history: History, directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{history.mode.value}-{history.seed}-{history.number}.json"
    path.write_bytes(msgspec.json.encode(history))
    return path


def load(path: Path) -> History:
    return msgspec.json.decode(path.read_bytes(), type=History)
