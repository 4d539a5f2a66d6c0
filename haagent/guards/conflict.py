"""Somebody else uses an address that we hold: how often to defend it, and how often to say so.

RFC 5227, section 2.4, gives a host three ways; ours is the one for hosts that have no choice, and the lease is the
reason: while it is proved, the other is wrong (an address typed twice, a machine restored from an image, a node of
another cluster, a former holder that has not understood), and to yield would leave the clients with it. So the address
is announced again each time.

The RFC allows that host one defence in DEFEND_INTERVAL, 10 seconds, so that two of its kind do not fill the link. We
allow one in 100 ms: the clients talk to the other in the meantime, and ten frames a second fill no link. What comes
within that time is answered at its end, not forgotten, because the last word is what the neighbours remember.

An event is written for the first and then once a minute for each stranger; all are counted.
"""

from __future__ import annotations

from collections import Counter

DEFEND_S = 0.1
REMIND_S = 60.0
MAX_STRANGERS = 16  # remembered; whoever makes up a new hardware address each time is one stranger


class Conflict:
    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self.defend_at: float | None = None  # when the next defence is owed
        self._defended_at = float("-inf")
        self._said: dict[str, tuple[float, int]] = {}  # who: when last said, and how many since

    def heard(self, now: float) -> None:
        self.counters["conflicts"] += 1
        if self.defend_at is None:
            self.defend_at = max(now, self._defended_at + DEFEND_S)

    def defended(self, now: float) -> None:
        self.counters["defended"] += 1
        self.defend_at, self._defended_at = None, now

    def forget(self) -> None:
        """The group is not held any more: nothing is owed."""
        self.defend_at = None

    def may_say(self, now: float, who: str) -> int:
        """0: it has been said lately. Else how often it has been seen since it was said last."""
        if who not in self._said and len(self._said) >= MAX_STRANGERS:
            who = ""
        at, count = self._said.get(who, (float("-inf"), 0))
        if now < at + REMIND_S:
            self._said[who] = (at, count + 1)
            return 0
        self._said[who] = (now, 0)
        return count + 1
