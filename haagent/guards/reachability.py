"""Can one thing outside be reached: a gateway, a third party? Asked regularly, and fast when it matters.

While all is well one question a second is enough, and a missing answer is asked for again without haste: a router has
better things to do than to answer ARP, and some limit how often they do. Five misses, one second, count as lost.

When a peer falls silent the same question decides who of the two is cut off, and the answer must be there before the
lease ends: then it is asked at once and every 20 ms, and three misses count. A lost target is asked ten times a
second until it answers; one answer is enough.

Pure: told the time and the answers, it says when to ask.
"""

from __future__ import annotations

REGULAR_S = 1.0
CALM_S, CALM_MISSES = 0.2, 5
HURRIED_MISSES = 3
LOST_S = 0.1
HURRIED_S, SHORTEST_S = 0.02, 0.005
STEPS_PER_LEASE = 17.5  # three misses within less than a fifth of a lease


def hurried_s(lease_s: float) -> float:
    return max(SHORTEST_S, min(HURRIED_S, lease_s / STEPS_PER_LEASE))


class Reachability:
    def __init__(self, *, now: float, hurried_s: float) -> None:
        self.reachable: bool | None = None
        self.due = now
        self._hurried_s = hurried_s
        self._is_hurried = False
        self._asked_at: float | None = None  # of a question without an answer yet
        self._misses = 0

    def hurry(self, now: float) -> None:
        """An answer is wanted that is younger than this call."""
        if self._is_hurried or self.reachable is False:
            return
        self._is_hurried, self._misses, self._asked_at = True, 0, None
        self.due = now

    def answered(self, now: float) -> None:
        self.reachable = True
        self._is_hurried, self._misses, self._asked_at = False, 0, None
        self.due = now + REGULAR_S

    def advance(self, now: float) -> bool:
        """True: ask now. Everything that has arrived must have been told before."""
        if now < self.due:
            return False
        if self._asked_at is not None:
            self._misses += 1
            if self._misses >= (HURRIED_MISSES if self._is_hurried else CALM_MISSES):
                self.reachable, self._is_hurried = False, False
        self._asked_at = now
        self.due = now + self._patience_s
        return True

    @property
    def has_missed(self) -> bool:
        return self._misses > 0 or self.reachable is False

    @property
    def _patience_s(self) -> float:
        if self.reachable is False:
            return LOST_S
        return self._hurried_s if self._is_hurried else CALM_S
