"""Calls of a group's steps: how long each took, and what failed, in words."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from haagent.activation.step import Later, Step


class Calls:
    def __init__(self) -> None:
        self.timings: dict[str, dict[str, int]] = {}  # of each step, how long it took last: `take_us`, `drop_us`

    def now(self, step: Step, what: str, work: Callable[[], Later | None]) -> tuple[str, Later | None]:
        """The fault, empty if there was none, and what is still to be awaited."""
        began_ns = time.perf_counter_ns()
        try:
            return "", work()
        except step.faults as fault:
            return str(fault), None
        finally:
            self._measure(step, what, began_ns)

    async def later(self, step: Step, what: str, work: Later) -> str:
        """The fault, empty if there was none."""
        began_ns, limit_s = time.perf_counter_ns(), step.timeout_s
        try:
            async with asyncio.timeout(limit_s):
                await work()
        except TimeoutError:
            return f"no answer within {limit_s:g} s"
        except step.faults as fault:
            return str(fault)
        finally:
            self._measure(step, what, began_ns)
        return ""

    def _measure(self, step: Step, what: str, began_ns: int) -> None:
        self.timings.setdefault(step.name, {})[f"{what}_us"] = (time.perf_counter_ns() - began_ns) // 1000
