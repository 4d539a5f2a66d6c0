"""A timer of the event loop that is set anew, called off, and asked whether it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Timer:
    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._handle: asyncio.TimerHandle | None = None

    @property
    def is_set(self) -> bool:
        return self._handle is not None

    def set(self, wait_s: float) -> None:
        self.cancel()
        self._handle = asyncio.get_running_loop().call_later(wait_s, self._expired)

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _expired(self) -> None:
        self._handle = None
        self._ring()
