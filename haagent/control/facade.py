"""Where an operator's questions and orders meet the agent, in its own event loop: nothing here blocks.

Nothing is decided here. Orders go to the core as events, and whoever gave one gets the core's answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from haagent.config import Config
from haagent.core.events import Answer, AnyEvent, Asked, Fenced
from haagent.core.node import Node
from haagent.fencing import Fences
from haagent.parts import Facts, Parts
from haagent.status.report import Cluster
from haagent.trace import Trace


class Facade:
    parts = Parts()  # all of the agent's; the socket that asks here is one of them

    def __init__(
        self,
        cluster: Cluster,
        node: Node,
        *,
        trace: Callable[[], Trace],
        fences: Fences,
        post: Callable[[AnyEvent], None],
        reload: Callable[[], Awaitable[str]],
    ) -> None:
        self.view, self.trace, self.fence, self.reload = cluster.view, trace, fences.fence, reload
        self._cluster, self._node, self._post = cluster, node, post
        self._step_is_over = asyncio.Event()
        self._asked: dict[int, asyncio.Future[Answer]] = {}
        self._next_ask = 1

    @property
    def config(self) -> Config:
        """The running one; replaced as a whole by a reload."""
        return self._cluster.config

    def status(self) -> Facts:
        return self.parts.status()

    def counters(self) -> Mapping[str, int]:
        return self.parts.counters()

    async def wait_change(self) -> None:
        """Until the next step of the core is over."""
        await self._step_is_over.wait()

    async def confirm_down(self, node: str, how: str) -> bool:
        """Tell the core that the node is down; False: it does not believe that, because the node is heard."""
        self._post(Fenced(node, how))
        await self.wait_change()
        return self._node.state.orders.is_down(node)

    def ask(self, **order: Any) -> asyncio.Future[Answer]:
        """Give the core an operator's order: the fields of `Asked`."""
        number, self._next_ask = self._next_ask, self._next_ask + 1
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked[number] = future
        self._post(Asked(number, **order))
        return future

    # ------------------------------------------------------------------ what it is told

    def answered(self, answer: Answer) -> None:
        future = self._asked.pop(answer.id, None)
        if future is not None and not future.done():
            future.set_result(answer)

    def changed(self) -> None:
        """A step is over."""
        self._step_is_over.set()  # wakes all that wait now
        self._step_is_over.clear()
