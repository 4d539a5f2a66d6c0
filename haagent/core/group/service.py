"""Who served the clients of a group, and until when: what the outage of a move is measured from."""

from __future__ import annotations

from dataclasses import dataclass

from haagent.core.membership import NEVER
from haagent.core.messages import GroupBeat


@dataclass
class Service:
    by: str = ""  # who served last, as far as we know
    at: float = NEVER  # when clients were last known to be served
    is_exact: bool = False  # the last server said when it stopped; otherwise: when we last heard it serve
    gap_s: float | None = None  # how long clients were without, when we took over

    def hear(self, now: float, node: str, beat: GroupBeat) -> None:
        if beat.claim is not None and beat.active:
            self.by, self.at, self.is_exact = node, now, False
        elif beat.claim is None and self.by == node and beat.down_ms >= 0 and not self.is_exact:
            self.at, self.is_exact = now - beat.down_ms / 1000, True

    def begins(self, now: float, me: str) -> str:
        """We serve from now on. The sentence about the gap, for the history."""
        self.gap_s = now - self.at if self.at > NEVER else None
        least = "" if self.is_exact else "at most "
        self.by, self.at = me, now
        return "" if self.gap_s is None else f"; clients were without it for {least}{1000 * self.gap_s:.1f} ms"

    def ends(self, now: float, me: str) -> None:
        self.by, self.at, self.is_exact = me, now, True
