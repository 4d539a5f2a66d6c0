"""A process in a world's virtual time: an event loop, threads beside it, and what holds it up.

A call into the kernel cannot be suspended, so it is done at once, and what it took is added up: the process is as far
ahead of the world as that, what it does is seen from outside at that later time, and all that comes meanwhile waits
for the end of the turn. What waits is news (datagrams, alarms, timers), in no order that is ours to say; what the loop
itself has put off goes before that, in its order.
"""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

from haagent.simulate.host import Host
from haagent.simulate.network import Network

LATE_S = (0.0, 0.0015)  # a timer of asyncio: it counts whole milliseconds
BESIDE_S = (0.00005, 0.0005)  # until a thread is at work
NOTICEABLE_S = 0.0015  # what holds a process up for longer is as if it were frozen

Work = Callable[[], object]


class Ended(BaseException):
    """The process was killed in the middle of what it was doing."""


class Process:
    def __init__(self, world: Network, host: Host) -> None:
        self.world, self.host = world, host
        self.is_over = False
        self.loop = Loop(self)
        self.elapsed_s = 0.0  # of the turn under way
        self.is_beside = False  # a thread works, and not the loop
        self.thawing: list[Work] = []  # what threads were at when the process was frozen
        self.busy_until = 0.0
        self._is_running = False
        self._ready: deque[asyncio.Handle] = deque()
        self._news: list[Work | asyncio.Handle] = []
        self._timers: dict[int, asyncio.TimerHandle] = {}  # which go by the kernel's clock
        self._bug: BaseException | None = None

    def now(self) -> float:
        return self.host.local(self.world.t + self.elapsed_s)

    def shown(self) -> float:
        """By the kernel's clock, which is steered."""
        return self.host.kernel(self.world.t + self.elapsed_s)

    def spend(self, time_s: float) -> None:
        """In a call into the kernel."""
        if self.is_over:
            raise Ended
        if not self.is_beside:
            self.elapsed_s += time_s

    def hear(self, what: Work | asyncio.Handle) -> None:
        self._news.append(what)
        self.go_on()

    def soon(self, handle: asyncio.Handle) -> None:
        self._ready.append(handle)
        if not self._is_running:
            self.world.at(self.world.t, self.go_on)

    def set(self, timer: asyncio.TimerHandle) -> None:
        self._timers[id(timer)] = timer
        late_s = self.world.rng.uniform(*LATE_S)
        self.world.at(self.host.when_kernel(timer.when()) + late_s, lambda: self._ring(timer))

    def _ring(self, timer: asyncio.TimerHandle) -> None:
        if id(timer) not in self._timers:
            return  # it has rung, as it was set before the clock was steered
        if not timer.cancelled() and self.host.kernel(self.world.t) < timer.when():
            self.set(timer)
            return
        del self._timers[id(timer)]
        if not timer.cancelled():
            self.hear(timer)

    def steered(self) -> None:
        """The kernel's clock goes faster or slower than when the timers were set."""
        for timer in [*self._timers.values()]:
            self.set(timer)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """In the background; what it raises is a bug."""

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (bug := task.exception()) is not None:
                self.broke(bug)

        task: asyncio.Task[None] = self.loop.create_task(work)
        task.add_done_callback(ended)
        return task

    def kill(self) -> None:
        """Nothing of it goes on; nor does it hear of its end."""
        self.is_over = True
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "coroutine .* was never awaited")
            for task in asyncio.all_tasks(self.loop):
                with contextlib.suppress(RuntimeError, ValueError, Ended):  # it would rather wait; it runs just now
                    task.get_coro().close()  # type: ignore[union-attr]

    def turned(self) -> None:
        """The loop has done one thing."""

    def thaw(self) -> None:
        waiting, self.thawing = self.thawing, []
        for work in waiting:
            self.world.at(self.world.t, work)
        self.go_on()

    def go_on(self) -> None:
        while not (self._is_running or self.is_over or self.host.is_paused or self.world.t < self.busy_until):
            if self._ready:
                self._run(self._ready.popleft())
            elif self._news:
                last = len(self._news) - 1
                self._run(self._news.pop(self.world.rng.randint(0, last) if last else 0))
            else:
                return

    def broke(self, bug: BaseException) -> None:
        if not self.is_over and not isinstance(bug, Ended):
            self._bug = bug

    def _run(self, what: Work | asyncio.Handle) -> None:
        self._is_running = True
        events._set_running_loop(self.loop)
        try:
            if not isinstance(what, asyncio.Handle):
                what()
            elif not what.cancelled():
                what._run()
        except Ended:
            return
        finally:
            events._set_running_loop(None)
            self._is_running = False
        if self._bug is not None:
            raise self._bug
        self.turned()
        if self.elapsed_s:
            self.busy_until = self.world.t + self.elapsed_s
            if self.elapsed_s > NOTICEABLE_S:
                for served in self.host.served.values():
                    served.is_kept = False
            self.elapsed_s = 0.0
            self.world.at(self.busy_until, self.go_on)


class Loop(asyncio.AbstractEventLoop):
    """As much of one as tasks and timers need."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def time(self) -> float:
        return self._process.shown()

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._process.soon(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(self, delay: float, callback: Any, *args: Any, context: Context | None = None) -> Any:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> Any:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._process.set(handle)
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None: ...

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, **named: Any) -> Any:
        if self._process.is_over:
            coro.close()  # somebody's `finally`: nothing of it goes on
        return asyncio.Task(coro, loop=self, **named)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self._process.broke(context.get("exception") or RuntimeError(context["message"]))


class Beside:
    """What `kernel.worker.Worker` is: a thread that waits where the kernel makes it wait, and the loop does not."""

    def __init__(self, process: Process, work: Work, *, held_until: Callable[[], float]) -> None:
        self._process, self._work, self._held_until = process, work, held_until
        self._is_asked = self._has_ended = False

    def ask(self) -> None:
        if not self._is_asked:
            self._is_asked = True
            world = self._process.world
            world.at(world.t + world.rng.uniform(*BESIDE_S), self._go)

    def tell(self, what: Callable[..., None], *words: object) -> None:
        self._process.loop.call_soon(what, *words)

    def end(self) -> None:
        self._has_ended = True

    @property
    def waits_until(self) -> float:
        return self._held_until() if self._is_asked else 0.0

    def _go(self) -> None:
        process, world = self._process, self._process.world
        if process.is_over or self._has_ended:
            return
        if process.host.is_paused:
            process.thawing.append(self._go)
        elif (held_until := self._held_until()) > world.t:
            world.at(held_until, self._go)
        else:
            self._is_asked, process.is_beside = False, True
            try:
                self._work()
            finally:
                process.is_beside = False
