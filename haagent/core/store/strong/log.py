"""What was changed, numbered from 1 over all leaders, in portions that count as a whole.

What not everybody has is kept, for whoever leads next has to bring it to the others; and more, as far as there is room,
for those who come back.
"""

from __future__ import annotations

from haagent.core.store.effects import Effect
from haagent.core.store.snapshot import weight

BATCH_BYTES = 64 * 1024


class Log:
    def __init__(self, backlog_bytes: int) -> None:
        self.first = 0  # what comes after it is here
        self.last = 0
        self.safe = 0  # all have it that may lead
        self._entries: dict[int, tuple[list[Effect], int]] = {}
        self._bytes = 0
        self._backlog_bytes = backlog_bytes

    def append(self, effects: list[Effect]) -> int:
        self.last += 1
        size = sum(map(weight, effects))
        self._entries[self.last] = (effects, size)
        self._bytes += size
        self._trim()
        return self.last

    def begin(self, index: int) -> None:
        """All up to this is known in another way."""
        self._entries.clear()
        self._bytes = 0
        self.first = self.last = self.safe = index

    def hear_safe(self, index: int) -> None:
        self.safe = max(self.safe, min(index, self.last))
        self._trim()

    def after(self, index: int) -> tuple[list[list[Effect]], int]:
        """A batch of what follows, and its bytes."""
        found: list[list[Effect]] = []
        filled = 0
        while index < self.last and filled < BATCH_BYTES:
            index += 1
            effects, size = self._entries[index]
            found.append(effects)
            filled += size
        return found, filled

    def _trim(self) -> None:
        while self._bytes > self._backlog_bytes and self.first < self.safe:
            self.first += 1
            self._bytes -= self._entries.pop(self.first)[1]
