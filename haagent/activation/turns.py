"""Asynchronous work of one group: one after another, so that a backend never sees a drop overlap the take it undoes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Turns:
    def __init__(self) -> None:
        self.live: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()  # whoever asked first has it first; all work is bounded by itself
        self._revocable: asyncio.Task[None] | None = None

    def run(self, work: Callable[[], Awaitable[None]], *, revocable: bool = False) -> None:
        """Work that is revocable is cancelled by `revoke`; there is one such at a time."""
        task = asyncio.get_running_loop().create_task(self._in_turn(work))
        self.live.add(task)
        task.add_done_callback(self.live.discard)
        if revocable:
            self._revocable = task

    def revoke(self) -> None:
        if self._revocable is not None:
            self._revocable.cancel()
            self._revocable = None

    async def _in_turn(self, work: Callable[[], Awaitable[None]]) -> None:
        async with self._turn:
            await work()
