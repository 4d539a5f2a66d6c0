"""Asynchronous work of one group: one after another, so that a backend never sees a drop overlap the take it undoes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Turns:
    def __init__(self) -> None:
        self.patience_s = 1.0  # work is bounded by itself; one that ignores even its cancellation is waited for so long
        self._live: set[asyncio.Task[None]] = set()
        self._revocable: asyncio.Task[None] | None = None

    @property
    def is_busy(self) -> bool:
        return bool(self._live)

    def run(self, work: Callable[[], Awaitable[None]], *, revocable: bool = False) -> None:
        """Work that is revocable is cancelled by `revoke`; there is one such at a time."""
        task = asyncio.get_running_loop().create_task(self._after(frozenset(self._live), work))
        self._live.add(task)
        task.add_done_callback(self._live.discard)
        if revocable:
            self._revocable = task

    def revoke(self) -> None:
        if self._revocable is not None:
            self._revocable.cancel()
            self._revocable = None

    @property
    def live(self) -> frozenset[asyncio.Task[None]]:
        return frozenset(self._live)

    async def _after(self, earlier: frozenset[asyncio.Task[None]], work: Callable[[], Awaitable[None]]) -> None:
        if earlier:
            await asyncio.wait(earlier, timeout=self.patience_s)
        await work()
