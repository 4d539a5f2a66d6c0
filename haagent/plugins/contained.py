"""Calls into plug-ins: foreign code, which must not be able to end the agent.

Whatever a plug-in raises comes out as `Broke`, with the step in which it broke; only what its contract lets it raise
(`expected`) stays as it is. That includes what is no `Exception`: `sys.exit()` in a plug-in would otherwise end the
event loop, and a cancellation that nobody asked for would pass for one of ours. A coroutine runs in a task of its own,
so that one which ignores its cancellation keeps nobody waiting for longer than `patience_s`.

What this cannot help against is a plug-in that blocks: a coroutine that computes or sleeps without `await` stops the
whole agent. Its gate shuts then, and systemd starts it afresh.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

MAX_TOLD = 200  # characters: a line of history has room for the rest of the sentence
PATIENCE_S = 5.0  # how long a cancelled coroutine may take to end

logger = logging.getLogger("haagent")


class Broke(Exception):
    """A plug-in did what its contract does not allow. The text is for an operator, and for its author."""


class Contained:
    def __init__(self, who: str, *, expected: tuple[type[Exception], ...] = (), patience_s: float = PATIENCE_S) -> None:
        self._who = who
        self._expected = expected
        self.patience_s = patience_s
        self._told = ""
        self._left: set[asyncio.Task[Any]] = set()

    @property
    def is_stuck(self) -> bool:
        """A coroutine that was called off is still running, and nobody waits for it any more."""
        return bool(self._left)

    def call(self, step: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return work(*args, **kwargs)
        except self._expected:
            raise
        except BaseException as bug:
            raise self.broke(step, bug) from bug

    async def ask(self, step: str, work: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Wait for a coroutine of it. Whoever must not wait for ever puts a time limit around this."""
        task = asyncio.get_running_loop().create_task(self._run(step, work, args))
        task.add_done_callback(_seen)
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            task.cancel()
            _, left = await asyncio.wait({task}, timeout=self.patience_s)
            self._left |= left
            task.add_done_callback(self._left.discard)
            raise
        if task.cancelled():
            raise self.broke(step, "it cancelled itself")
        return task.result()

    async def _run(self, step: str, work: Callable[..., Awaitable[T]], args: tuple[Any, ...]) -> T:
        try:
            return await work(*args)
        except self._expected:
            raise
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as bug:
            raise self.broke(step, bug) from bug

    def broke(self, step: str, bug: BaseException | str) -> Broke:
        """The fault to raise. Its traceback is in the log, once for as long as it stays the same."""
        text = f"{self._who} broke in {step}: {bug if isinstance(bug, str) else in_words(bug)}"
        if text != self._told:
            self._told = text
            logger.error("%s", text, exc_info=bug if isinstance(bug, BaseException) else None)
        return Broke(text)


def in_words(bug: BaseException) -> str:
    """Whatever the exception makes of being asked."""
    return one_line("".join(traceback.format_exception_only(bug)))[:MAX_TOLD]


def one_line(text: object) -> str:
    """What foreign code says, as a line of history can have it: half a character would end its encoder."""
    return "".join(one if one.isprintable() else "?" for one in " ".join(str(text).split()))


def _seen(task: asyncio.Task[Any]) -> None:
    """Nobody may be left who waits for it; asyncio would take that for a fault of its own."""
    if not task.cancelled():
        task.exception()
