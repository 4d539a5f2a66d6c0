"""What one group does with its steps: timed, bounded, one after another, and with faults in words."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from haagent.activation.step import Later, Step

T = TypeVar("T")


class Work:
    def __init__(self) -> None:
        self.timings: dict[str, dict[str, int]] = {}  # of each step, how long it took last: `take_us`, `drop_us`
        self.live: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()  # so that a backend never sees a drop overlap the take it undoes
        self._revocable: asyncio.Task[None] | None = None

    def at_once(self, step: Step, what: str, call: Callable[[], Later | None]) -> tuple[str, Later | None]:
        """The fault, empty if there was none, and what is still to be awaited."""
        began_ns = time.perf_counter_ns()
        try:
            return "", call()
        except step.faults as fault:
            return str(fault), None
        finally:
            self._measure(step, what, began_ns)

    async def later(self, step: Step, what: str, call: Callable[[], Awaitable[T]]) -> tuple[str, T | None]:
        """The fault, empty if there was none, and the answer."""
        began_ns, limit_s = time.perf_counter_ns(), step.timeout_s
        try:
            async with asyncio.timeout(limit_s):
                return "", await call()
        except TimeoutError:
            return f"no answer within {limit_s:g} s", None
        except step.faults as fault:
            return str(fault), None
        finally:
            self._measure(step, what, began_ns)

    def run(self, work: Callable[[], Awaitable[None]], *, revocable: bool = False) -> None:
        """After all that runs already. Work that is revocable is cancelled by `revoke`; there is one such at a time."""
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

    def _measure(self, step: Step, what: str, began_ns: int) -> None:
        self.timings.setdefault(step.name, {})[f"{what}_us"] = (time.perf_counter_ns() - began_ns) // 1000
