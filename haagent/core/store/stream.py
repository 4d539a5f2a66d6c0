"""The stream of one node: what was changed here, numbered, for all peers; and who has how much of it.

The backlog is shared, and bounded in bytes. A peer is a position in it, so a slow one costs nothing but the backlog;
one that falls out of it is told so, and compares. What is under way to a peer is bounded by a window of bytes.

Touches wait a little, so that many of one key become one: they say when a session expires, not what is in it. What
carries the expiry itself makes the touch that waits for it needless.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from haagent.core.store.effects import Effect, Flush, PutFields, RemoveFields, Touch
from haagent.core.store.messages import Batch, Behind
from haagent.core.store.snapshot import weight

BATCH_BYTES = 64 * 1024
INFINITY = float("inf")
MARK_S = 0.01  # how finely it is remembered when the stream went on
ACKS = 1000  # whose time is remembered, of one peer
TOUCH_SHARE = 0.02  # of what is left of the life that a touch prolongs, at most, it may wait


@dataclass
class Reader:
    """One peer's place in our stream."""

    is_reading: bool = False
    sent: int = 0
    acked: int = 0
    flight: deque[tuple[int, int, float]] = field(default_factory=deque)  # batches under way: last seq, bytes, since
    flight_bytes: int = 0
    acks_s: deque[float] = field(default_factory=lambda: deque(maxlen=ACKS))  # how long the latest batches took

    def start(self, seq: int) -> None:
        self.is_reading, self.sent, self.acked = True, seq, seq
        self.flight.clear()
        self.flight_bytes = 0

    def ack(self, now: float, seq: int) -> None:
        self.acked = max(self.acked, seq)
        while self.flight and self.flight[0][0] <= seq:
            _, size, since = self.flight.popleft()
            self.flight_bytes -= size
            self.acks_s.append(now - since)


class Stream:
    def __init__(self, backlog_bytes: int, window_bytes: int, touch_every_s: float) -> None:
        self.now = 0.0  # of the step that is under way
        self.seq = 0
        self.bytes = 0  # ever
        self.first = 0  # what comes after it can be sent
        self.touches_due = INFINITY
        self._backlog: dict[int, tuple[Effect, int]] = {}
        self._bytes = 0
        self._backlog_bytes = backlog_bytes
        self._window_bytes = window_bytes
        self._touch_every_s = touch_every_s
        self._touches: dict[tuple[int, bytes], Effect] = {}
        self._marks: deque[tuple[int, int, float]] = deque()  # the first seq after it, the bytes before it, and when

    def add(self, now_ms: int, effects: Sequence[Effect]) -> bool:
        """True: there is more than touches."""
        before = self.seq
        for effect in effects:
            if is_touch(effect):
                assert isinstance(effect, Touch | PutFields)
                left_s = max(0, effect.expires_ms - now_ms) / 1000 if effect.expires_ms else INFINITY
                self._touches[effect.db, effect.key] = effect
                self.touches_due = min(self.touches_due, self.now + min(self._touch_every_s, left_s * TOUCH_SHARE))
                continue
            if not isinstance(effect, Flush | RemoveFields):
                self._touches.pop((effect.db, effect.key), None)
            self._append(effect)
        return self.seq > before

    def release_touches(self) -> None:
        for effect in self._touches.values():
            self._append(effect)
        self._touches.clear()
        self.touches_due = INFINITY

    def has_for(self, reader: Reader) -> bool:
        return reader.is_reading and reader.sent < self.seq and reader.flight_bytes < self._window_bytes

    def read(self, reader: Reader) -> Iterator[Batch | Behind]:
        """What may go to this peer now."""
        while self.has_for(reader):
            if reader.sent < self.first:
                reader.is_reading = False
                yield Behind(self.seq)
                return
            effects: list[Effect] = []
            filled = 0
            while reader.sent < self.seq and filled < BATCH_BYTES:
                reader.sent += 1
                effect, size = self._backlog[reader.sent]
                effects.append(effect)
                filled += size
            reader.flight.append((reader.sent, filled, self.now))
            reader.flight_bytes += filled
            yield Batch(reader.sent, effects)

    def lacking(self, reader: Reader) -> tuple[int, float | None]:
        """What the peer has not confirmed: the bytes, and since when the oldest is there. Both are as coarse as the
        marks, and of what the backlog has lost no time is known."""
        if reader.acked >= self.seq:
            return 0, None
        at = bisect_right(self._marks, (reader.acked + 1, self.bytes, INFINITY)) - 1
        _, before, since = self._marks[max(at, 0)]
        return self.bytes - before, since

    def _append(self, effect: Effect) -> None:
        self.seq += 1
        size = weight(effect)
        if not self._marks or self.now >= self._marks[-1][2] + MARK_S:
            self._marks.append((self.seq, self.bytes, self.now))
        self.bytes += size
        self._backlog[self.seq] = (effect, size)
        self._bytes += size
        while self._bytes > self._backlog_bytes:
            self.first += 1
            self._bytes -= self._backlog.pop(self.first)[1]
        while len(self._marks) > 1 and self._marks[1][0] <= self.first:
            self._marks.popleft()


def is_touch(effect: Effect) -> bool:
    return isinstance(effect, Touch) or (isinstance(effect, PutFields) and not effect.fields)
