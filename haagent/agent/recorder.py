"""What the core has done is written down, in the trace and in the log, but never while it has more to do.

A failover is a handful of messages between two nodes within three milliseconds. Each step of it is worth several lines,
and the thread that writes them wants the interpreter just when the next message comes in (it may keep it for half a
millisecond). So news waits until the group has long been served elsewhere, and has its own time. A step without news,
which is nearly every one, is written down at once.

An agent that is killed takes the last few of these lines along; its guardian and its peers say what became of it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence

from haagent.core.event_kinds import Kind
from haagent.core.events import AnyAction, Note
from haagent.core.node import Node
from haagent.kernel.timer import Timer
from haagent.parts import Still
from haagent.status import log
from haagent.trace import Ring, Trace, take
from haagent.trace.ring import Step

PAUSE_S = 0.02
MOST = 64  # steps that may wait


class Recorder(Still):
    name = "recorder"

    def __init__(self, node: Node) -> None:
        self._node, self._ring = node, Ring(node)
        self._steps: list[Step] = []
        self._news: list[tuple[float, AnyAction]] = []
        self._later = Timer(self.write)
        self._noted = Counter({kind.value: 0 for kind in Kind})  # from the start: metrics see the first of each rise

    def add(self, now: float, actions: Sequence[AnyAction]) -> None:
        """The node has just done this step.

        What it has not looked at (copies over another link, recordings played back) is not kept: a flood of it neither
        costs time here nor pushes out what matters.
        """
        if not self._node.is_unmoved:
            self._steps.append((now, self._node.heeded, actions))
        self._noted.update(action.record.kind for action in actions if isinstance(action, Note))
        self._news += [(time.time(), action) for action in actions if log.is_news(action)]

    def rest(self) -> None:
        """Nothing more is to be done at this moment."""
        if not self._news or len(self._steps) >= MOST:
            self.write()
        elif not self._later.is_set:
            self._later.set(PAUSE_S)

    def write(self) -> None:
        self._later.cancel()
        steps, self._steps = self._steps, []
        news, self._news = self._news, []
        self._ring.keep(steps)
        for at, action in news:
            log.action(action, at=at)

    def counters(self) -> Mapping[str, int]:
        """How often this node had something to tell, by kind of event."""
        return {f"events_{kind}": count for kind, count in self._noted.items()}

    async def close(self) -> None:
        self.write()  # what letting go has added

    def trace(self) -> Trace:
        self.write()
        return take(self._ring, saved_at=time.time())
