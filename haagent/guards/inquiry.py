"""Does anybody answer for the addresses of one group? Rounds of questions, and what their answers mean.

One answer is proof: somebody has the address. Silence is not, since a frame may be lost and a host may be busy; three
rounds of it in a row are taken for proof. A round is 10 ms at the usual timing: a kernel answers ARP from its interrupt
in a tenth of a millisecond, also for a process that is swapped out. So a lost holder is known 30 ms after the first
question, and one that still lives after its first answer. With short leases the rounds are shorter, down to 3 ms.

While somebody answers it is asked on, to see the end of that: each round for two seconds, then ten times a second,
and again each round as soon as one stays without an answer. While nobody does, ten times a second.

Pure: told the time and what was heard, it says when to ask and what is known.
"""

from __future__ import annotations

SILENT_ROUNDS = 3
YOUNG_S = 2.0
SLOW_S = 0.1
ROUND_S, SHORTEST_ROUND_S = 0.01, 0.003
ROUNDS_PER_LEASE = 35  # so that three of them are over long before the lease is


def round_s(lease_s: float) -> float:
    return max(SHORTEST_ROUND_S, min(ROUND_S, lease_s / ROUNDS_PER_LEASE))


class Inquiry:
    def __init__(self, *, now: float, round_s: float) -> None:
        self.word: str | None = None  # None: nothing is known yet; empty: nobody answers; else who does
        self.due = now  # when `advance` is to be called
        self._round_s = round_s
        self._began = self._asked_at = self._next = now
        self._is_open = False  # a round has been asked and not judged yet
        self._heard: list[str] = []  # in this round
        self._silent = 0  # rounds in a row

    def answered(self, sentence: str) -> None:
        self._heard.append(sentence)
        if not self.word:
            self.word = sentence

    def advance(self, now: float) -> bool:
        """True: ask now. Everything that has arrived must have been told before."""
        if now < self.due:
            return False
        if self._is_open:
            self._judge(now)
        if now < self._next:
            self.due = self._next
            return False
        self._heard.clear()
        self._is_open, self._asked_at = True, now
        self.due = now + self._round_s
        return True

    def void(self) -> None:
        """The question could not be asked: the round says nothing."""
        self._is_open = False
        self._next = self.due

    def _judge(self, now: float) -> None:
        self._is_open = False
        if self._heard:
            self._silent = 0
            if self.word not in self._heard:
                self.word = self._heard[0]
            may_rest = now >= self._began + YOUNG_S
        else:
            self._silent += 1
            if self._silent >= SILENT_ROUNDS:
                self.word = ""
            may_rest = self.word == ""
        self._next = self._asked_at + (SLOW_S if may_rest else self._round_s)
