"""Where an operator's questions and orders meet the agent (`control.host.Host`).

Nothing is decided here. Orders go to the core as events, and whoever gave one gets the core's answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from haagent.agent.recorder import Recorder
from haagent.config import Config
from haagent.core.events import Answer, AnyEvent, Asked, Fenced
from haagent.core.node import Node
from haagent.fencing import Fences
from haagent.parts import Facts, Parts
from haagent.status.report import Cluster


class Facade:
    parts = Parts()  # all of the agent's; the socket that asks here is one of them

    def __init__(
        self,
        cluster: Cluster,
        node: Node,
        *,
        recorder: Recorder,
        fences: Fences,
        post: Callable[[AnyEvent], None],
        reload: Callable[[], Awaitable[str]],
    ) -> None:
        self.view, self.trace, self.fence, self.reload = cluster.view, recorder.trace, fences.fence, reload
        self._cluster, self._node, self._post = cluster, node, post
        self._waiters: list[asyncio.Future[None]] = []
        self._asked: dict[int, asyncio.Future[Answer]] = {}
        self._next_ask = 1

    @property
    def config(self) -> Config:
        return self._cluster.config

    def status(self) -> Facts:
        return self.parts.status()

    def counters(self) -> Mapping[str, int]:
        return self.parts.counters()

    async def wait_change(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    async def confirm_down(self, node: str, how: str) -> bool:
        self._post(Fenced(node, how))
        await self.wait_change()
        return self._node.state.orders.is_down(node)

    def ask(
        self, *, what: str, group: str = "", node: str = "", on: bool = True, force: bool = False, wait_s: float = 10.0
    ) -> asyncio.Future[Answer]:
        number, self._next_ask = self._next_ask, self._next_ask + 1
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked[number] = future
        self._post(Asked(number, what, group, node, on, force, wait_s))
        return future

    # ------------------------------------------------------------------ what it is told

    def answered(self, answer: Answer) -> None:
        future = self._asked.pop(answer.id, None)
        if future is not None and not future.done():
            future.set_result(answer)

    def changed(self) -> None:
        """A step is over."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
