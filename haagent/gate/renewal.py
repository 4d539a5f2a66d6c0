"""A thread that pushes the time-outs on, so that the event loop never waits for the kernel's rule transactions.

A renewal costs 20 microseconds; but while another program loads a large firewall, it waits for that to end (0.4 s for
20,000 rules), and heartbeats must go on meanwhile. Opening and shutting stay in the loop: there the caller has to know.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

END_S = 0.5  # how long the end waits for a renewal that is under way


class Renewal:
    def __init__(self, work: Callable[[], None], *, broke: Callable[[BaseException], None]) -> None:
        self._work, self._broke = work, broke
        self._asked: SimpleQueue[bool] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="gate", daemon=True)
        self._thread.start()

    def ask(self) -> None:
        """Once more, soon. Several wishes that wait are one."""
        self._asked.put(True)

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
                # Nobody waits for this thread's result: who shows bugs is told, and the gate shuts by itself.
                self._broke(bug)
                raise
