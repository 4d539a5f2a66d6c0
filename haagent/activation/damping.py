"""When the word of a check counts: plain values and passed time, for all kinds of checks alike.

A check starts as passed. What it says first counts at once: there is nothing yet to be damped. After that it has failed
when it said so `fall` times in a row, and it passes again when it said so `rise` times in a row and has been good for
`hold`. A check that fails again within a minute of passing is flapping: each time its hold is twice as long, up to a
minute. Every return moves a group, and each move costs its clients more than a node that is left out for a while.
"""

from __future__ import annotations

CALM_S = 60.0  # a check that has passed for so long does not flap
HOLD_MOST_S = 60.0  # what doubling leads to


class Damping:
    def __init__(self, *, hold_s: float, rise: int = 1, fall: int = 1, why: str = "") -> None:
        """`why`: it has failed before, under another configuration."""
        self.why = why  # it counts as failed; empty: as passed
        self.deadline: float | None = None  # when to call `woke`
        self._rise, self._fall, self._least_hold_s = rise, fall, hold_s
        self._is_new = True
        self._falls = self._rises = 0
        self._good_since = 0.0
        self._hold_s = hold_s
        self._passed_at: float | None = None

    def heard(self, now: float, why: str) -> None:
        """What the check says now; empty: all is well."""
        if why:
            self._falls, self._rises, self.deadline = self._falls + 1, 0, None
            if self.why or self._is_new or self._falls >= self._fall:
                if not self.why:
                    self._fell(now)
                self.why = why
        else:
            self._falls, self._rises = 0, self._rises + 1
            if self._rises == 1:
                self._good_since = now
            if self.why and self._rises >= self._rise:
                self.deadline = self._good_since + self._hold_s
                self.woke(now)
        self._is_new = False

    def woke(self, now: float) -> None:
        if self.deadline is not None and now >= self.deadline:
            self.why, self.deadline, self._passed_at = "", None, now

    def _fell(self, now: float) -> None:
        is_flapping = self._passed_at is not None and now - self._passed_at < CALM_S
        most = max(HOLD_MOST_S, self._least_hold_s)
        self._hold_s = min(most, 2 * self._hold_s) if is_flapping else self._least_hold_s
