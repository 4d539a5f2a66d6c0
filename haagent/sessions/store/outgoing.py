"""What goes to one peer, while its link has no room; and how much of that the peer may bring about.

A store has a few questions under way: it greets, or says from where on it wants our stream, or compares a few shards.
So one that goes on asking while it takes nothing in, or asks more than that within one turn of our loop, is not well.
It would fill our memory, and let nobody else have a turn.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

MOST_QUESTIONS = 16  # under way; a store has no more than SHARDS_AT_ONCE, and those of a greeting
MOST_FRAMES = 50_000  # that wait: a store's stream, and what confirms its peer's, has far fewer under way


class Outgoing:
    def __init__(self, send: Callable[[bytes], bool]) -> None:
        self._send = send
        self._waiting: deque[bytes | None] = deque()  # None: the answer to a question has gone, as a whole
        self._questions = 0

    @property
    def is_too_much(self) -> bool:
        return self._questions > MOST_QUESTIONS or len(self._waiting) > MOST_FRAMES

    def put(self, frames: Iterable[bytes]) -> None:
        self._waiting.extend(frames)
        self.flush()

    def answered(self) -> None:
        """All that a question has brought about is here. It is under way until that has gone, and the turn is over."""
        self._questions += 1
        self._waiting.append(None)
        self.flush()

    def flush(self) -> None:
        waiting = self._waiting
        while waiting:
            if (frame := waiting[0]) is None:
                asyncio.get_running_loop().call_soon(self._end_question)
            elif not self._send(frame):
                break
            waiting.popleft()

    def _end_question(self) -> None:
        self._questions -= 1
