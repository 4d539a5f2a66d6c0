"""How late the agent is woken: the figure that says whether a lease is long enough for this host."""

from __future__ import annotations

from collections import deque

from haagent.config.model import HeartbeatConfig

WINDOW_S = 60.0
RISKY = 0.25  # of what a holder can afford: a busy hour is worse than the last minute


def affordable_s(heartbeat: HeartbeatConfig) -> float:
    """A holder that is woken later than this loses its lease, if no heartbeat is lost besides."""
    return heartbeat.lease_s - heartbeat.interval_s


def is_risky(worst_s: float, heartbeat: HeartbeatConfig) -> bool:
    return worst_s >= RISKY * affordable_s(heartbeat)


class Jitter:
    """The worst lateness of the last minute, kept as one figure a second."""

    def __init__(self) -> None:
        self._worst: deque[tuple[int, float]] = deque()

    def observe(self, now: float, due: float) -> None:
        late_s, second = max(0.0, now - due), int(now)
        if self._worst and self._worst[-1][0] == second:
            self._worst[-1] = (second, max(self._worst[-1][1], late_s))
        else:
            self._worst.append((second, late_s))
        self._forget(now)

    def worst_ms(self, now: float) -> float | None:
        self._forget(now)
        return round(1000 * max(late_s for _, late_s in self._worst), 3) if self._worst else None

    def _forget(self, now: float) -> None:
        while self._worst and self._worst[0][0] < now - WINDOW_S:
            self._worst.popleft()
