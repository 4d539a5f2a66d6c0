"""Exceptions that nobody waits for: which of them end the agent.

asyncio tells of them when a task or a future is thrown away unasked, or when a callback of the loop raises. One that
passed through our own code is a bug of ours, and an agent with a bug lets go and ends. One that did not is a library's
or a plug-in's: it is logged whole and counted, and that is all.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from haagent.parts import Still

HOME = f"{Path(__file__).parents[1]}/"
FOREIGN = tuple(HOME + each for each in ("backends/", "checks/", "plugins/"))  # plug-ins, and who calls them

logger = logging.getLogger("haagent")


class Strays(Still):
    name = "strays"

    def __init__(self) -> None:
        self._shown = 0

    def counters(self) -> Mapping[str, int]:
        return {"stray_exceptions": self._shown}

    def show(self, message: str, error: object) -> None:
        self._shown += 1
        known = error if isinstance(error, BaseException) else None
        logger.error("a bug, not of this agent's own code; it goes on: %s: %r", message, error, exc_info=known)

    def handle(
        self, ends: Callable[[BaseException], None], _: asyncio.AbstractEventLoop, context: dict[str, Any]
    ) -> None:
        """Nobody waited for it. What a library or a plug-in left lying about is shown; what is ours ends the agent."""
        error = context.get("exception")
        if isinstance(error, BaseException) and is_ours(error):
            ends(error)
        else:
            self.show(str(context.get("message")), error)

    def run(self, work: Coroutine[Any, Any, int]) -> int:
        """As `asyncio.run`; but `sys.exit()` in a task or a timer, which ends the loop, does not end the agent."""
        with asyncio.Runner() as runner:
            loop = runner.get_loop()
            task = loop.create_task(work)
            while True:
                try:
                    return loop.run_until_complete(task)
                except (SystemExit, KeyboardInterrupt) as end:
                    if task.done():
                        raise
                    self.show("it asked the whole process to end", end)


def is_ours(error: BaseException) -> bool:
    files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    return any(file.startswith(HOME) and not file.startswith(FOREIGN) for file in files)
