"""Where the control socket's questions are answered, from what the parts of the agent know (`control.host.Host`).

Nothing is decided here. Orders go to the core as events, and whoever gave one gets the core's answer.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence

from haagent import timer
from haagent.activation import Activation
from haagent.chronicle import Chronicle
from haagent.config import Config
from haagent.coordination.source import EtcdArbiter, NoArbiter
from haagent.core.events import Answer, AnyEvent, Asked, Fenced
from haagent.core.node import Node
from haagent.core.view import View
from haagent.fencing import Fences
from haagent.guardian.will import Will
from haagent.guards import Guards
from haagent.jitter import Jitter
from haagent.realtime import Scheduling
from haagent.trace import Trace
from haagent.transport import LinkStatus, Transport


class Desk:
    def __init__(
        self,
        config: Config,
        *,
        node: Node,
        chronicle: Chronicle,
        dropped: Counter[str],
        transport: Transport,
        activation: Activation,
        guards: Guards,
        fences: Fences,
        arbiter: EtcdArbiter | NoArbiter,
        will: Will,
        post: Callable[[AnyEvent], None],
        reload: Callable[[], Awaitable[str]],
    ) -> None:
        self.config = config
        self.jitter = Jitter()
        self.scheduling = Scheduling()
        self._node, self._chronicle, self._dropped = node, chronicle, dropped
        self._transport, self._activation, self._will = transport, activation, will
        self._guards, self._fences, self._arbiter = guards, fences, arbiter
        self._post, self._reload = post, reload
        self._waiters: list[asyncio.Future[None]] = []
        self._asked: dict[int, asyncio.Future[Answer]] = {}
        self._next_ask = 1

    # ------------------------------------------------------------------ what it is

    def view(self) -> View:
        return self._node.view(timer.now())

    @property
    def counters(self) -> Mapping[str, int]:
        """Datagrams that were not believed, by cause; strangers that used our addresses."""
        dropped = {f"dropped_{cause}": count for cause, count in (self._dropped + Counter(self._node.refused)).items()}
        return {**dropped, **self._guards.counters}

    @property
    def jitter_ms(self) -> float | None:
        return self.jitter.worst_ms(timer.now())

    @property
    def pids(self) -> Mapping[str, int | None]:
        return {"guardian": self._will.guardian, "agent": os.getpid(), "store": None}

    def links(self) -> Sequence[LinkStatus]:
        return self._transport.links()

    def activations(self) -> Mapping[str, object]:
        return self._activation.status()

    def trace(self) -> Trace:
        return self._chronicle.trace()

    def coordination(self) -> Mapping[str, object] | None:
        return self._arbiter.status()

    def guards(self) -> Mapping[str, object]:
        return self._guards.status()

    def fences(self) -> Mapping[str, object]:
        return {"nodes": self._fences.status(), "faults": self._fences.faults}

    async def wait_change(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    # ------------------------------------------------------------------ what is asked of it

    async def reload(self) -> str:
        return await self._reload()

    async def fence(self, node: str) -> str:
        return await self._fences.fence(node)

    def confirm_down(self, node: str, how: str) -> bool:
        self._post(Fenced(node, how))
        return self._node.scene.orders.is_down(node)

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
