"""Somebody else keeps undoing what we do. We keep doing it, but not at the speed of light, and not with a line
each time.

A single removal (a network manager's reload) is repaired at once. More than `CALM` within `WINDOW_S` is a fight:
the delay before the next repair doubles from 10 ms up to `MAX_DELAY_S`, and one line a minute says what is going
on. Ten seconds without an incident end it.
"""

from __future__ import annotations

from collections import deque

CALM = 5
WINDOW_S = 10.0
FIRST_DELAY_S = 0.01
MAX_DELAY_S = 1.0
REMIND_S = 60.0


class RepairBackoff:
    def __init__(self) -> None:
        self._incidents: deque[float] = deque(maxlen=CALM + 1)
        self._delay = 0.0
        self._said_at: float | None = None
        self.not_before = 0.0

    @property
    def is_on(self) -> bool:
        return self._delay > 0

    def incident(self, now: float) -> None:
        """One more repair was made. Says until when the next one should wait (`not_before`)."""
        if self._incidents and now - self._incidents[-1] > WINDOW_S:
            self._incidents.clear()
        self._incidents.append(now)
        if len(self._incidents) > CALM and now - self._incidents[0] <= WINDOW_S:
            self._delay = min(MAX_DELAY_S, 2 * self._delay or FIRST_DELAY_S)
        elif len(self._incidents) == 1 or now - self._incidents[0] > WINDOW_S:
            self._delay = 0.0
        self.not_before = now + self._delay

    def may_speak(self, now: float) -> bool:
        """Outside a fight every repair has its line; inside, one a minute."""
        if not self.is_on:
            self._said_at = None
            return True
        if self._said_at is not None and now - self._said_at < REMIND_S:
            return False
        self._said_at = now
        return True
