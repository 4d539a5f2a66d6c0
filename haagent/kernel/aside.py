"""Work beside the event loop: what may wait for a disk, or for a lock of the kernel.

Each piece has a thread of its own for as long as it takes. A few that hang would fill a pool, and Python waits for the
threads of a pool before it ends; for these it does not.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def aside(work: Callable[[], T]) -> asyncio.Future[T]:
    """What it returns or raises. Cancelled, or never looked at: the work goes on, and nobody hears of it."""
    loop = asyncio.get_running_loop()
    told: asyncio.Future[T] = loop.create_future()
    told.add_done_callback(lambda told: told.cancelled() or told.exception())

    def run() -> None:
        try:
            result = work()
        except Exception as error:
            _tell(loop, told, told.set_exception, error)
        else:
            _tell(loop, told, told.set_result, result)

    threading.Thread(target=run, name="aside", daemon=True).start()
    return told


def _tell(
    loop: asyncio.AbstractEventLoop, told: asyncio.Future[T], settle: Callable[..., None], outcome: object
) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(lambda: None if told.done() else settle(outcome))
