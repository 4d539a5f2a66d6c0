"""Leases that somebody may still count on: how long a voter must be silent that may have forgotten what it has said.

A lease of L that was granted on a heartbeat heard at t has run out at t + 1.01 L, whatever the clocks do. So what was
heard is kept for that long, and no longer: a lease of a minute that was tried once must not cost a minute of silence a
year later.

A voter remembers the longest (`memory.json`). When it has lost that, those who live tell it: every heartbeat carries
the longest lease that its sender has heard itself, and the longest that others say they have heard. The second is for
a holder that only the voter itself has heard: what the voter said of it while it lived, its peers say to its next life.
Nobody repeats what was told at second hand, else a lease would be told to and fro for ever. So one that nobody uses any
more is forgotten everywhere after twice its length.

What it does not cover: a voter that loses its memory, and whose peers have for the length of the longest lease heard
neither it nor the holder.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from haagent.core.settings import DRIFT

MAX_KEPT = 16


@dataclass
class Leases:
    _until: dict[int, float] = field(default_factory=dict)  # by its milliseconds: when the last such has run out

    def hear(self, now: float, lease_ms: int) -> None:
        self._until = {ms: until for ms, until in self._until.items() if ms > lease_ms and until > now}
        self._until[lease_ms] = now + (1 + DRIFT) * lease_ms / 1000
        if len(self._until) > MAX_KEPT:  # the two shortest become one, as long as the longer, for as long as either
            shortest, next_one = sorted(self._until)[:2]
            self._until[next_one] = max(self._until[next_one], self._until.pop(shortest))

    def longest_ms(self, now: float) -> int:
        return max((ms for ms, until in self._until.items() if until > now), default=0)
