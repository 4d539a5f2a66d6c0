"""A thread that asks the kernel again and again, so that the event loop never waits for what holds the kernel up.

Renewals cost 20 microseconds. But while another program loads a large firewall, the gate's wait for that to end (0.4 s
for 20,000 rules), and while interfaces are taken down nobody may touch an address (0.7 s for a namespace with 3,000 of
them). Heartbeats must go on meanwhile.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue

END_S = 0.5  # how long the end waits for work that is under way


class Worker:
    def __init__(self, work: Callable[[], None], *, name: str) -> None:
        self._work = work
        self._loop = asyncio.get_running_loop()
        self._asked: SimpleQueue[bool] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def ask(self) -> None:
        """Once more, soon. Several wishes that wait are one."""
        self._asked.put(True)

    def tell(self, what: Callable[..., None], *words: object) -> None:
        """From the work to the loop."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(what, *words)

    def end(self) -> None:
        self._asked.put(False)
        self._thread.join(END_S)

    def _run(self) -> None:
        while True:
            wishes = [self._asked.get()]
            while not self._asked.empty():
                wishes.append(self._asked.get())
            if not all(wishes):
                return
            try:
                self._work()
            except BaseException as bug:
                # Nobody waits for this thread's result: who shows bugs is told.
                self.tell(
                    self._loop.call_exception_handler, {"message": f"the worker {self._thread.name}", "exception": bug}
                )
                raise
