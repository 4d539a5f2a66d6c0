"""The shell around the core: turns the world into events, and actions into effects.

Everything that happens becomes an event and goes through `post` (`turns`). What takes time (clouds, hooks, disks) is
somebody else's coroutine and comes back as an event. Which parts there are: `assembly`.

An exception that nobody expected is a bug, and an agent with a bug lets go of everything and ends, so that the peers
take over and systemd starts it afresh.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from haagent import __version__
from haagent.agent import clock
from haagent.agent.assembly import Assembly, Start
from haagent.agent.reload import refuse_what_needs_a_restart
from haagent.agent.strays import Strays
from haagent.agent.turns import Turns
from haagent.config import Config, ConfigError, KeyFileError, load
from haagent.core.events import AnyAction, AnyEvent, ClockSet, ClockSteered, Reconfigured, StopRequested, Woke
from haagent.core.messages import Heartbeat
from haagent.parts import CannotReload, Ending
from haagent.status import log

STOP_S = 15.0  # a stop that takes longer than this, its wait for sessions aside, ends without telling the peers
SWITCH_S = 0.0005  # the longest time that a thread beside the loop (log, disk) may keep the interpreter to itself
CLOCK_S = 60.0  # how often the history's idea of wall-clock time is corrected

logger = logging.getLogger("haagent")


class Daemon:
    def __init__(self, start: Start, strays: Strays) -> None:
        self._turns = Turns(self)
        self._is_asked_to_stop = self._is_stopping = False
        self._reloading = asyncio.Lock()
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[None]] = set()

        self._strays = strays
        self._agent = Assembly(start, self, strays)
        self._node, self._parts = self._agent.node, self._agent.parts
        self._steering = self._agent.process.steering
        self._alarm = clock.Alarm(asyncio.get_running_loop(), self._woke, self._steering)

    # ------------------------------------------------------------------ life

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(partial(self._strays.handle, self.failed))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop_requested)
        loop.add_signal_handler(signal.SIGHUP, lambda: self.background(self._reload_and_tell()))
        config = self._agent.cluster.config
        log.say("start", f"node {config.me} of cluster {config.cluster}, version {__version__}")
        try:
            await self._parts.open()
            self.background(self._correct_clock())
            self._agent.heartbeats.is_listening = True
            self._turns.begin(self._node, Woke())
            self._agent.notifier.ready()
            return await self._ended
        finally:
            self._alarm.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._parts.close()

    def background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._background_ended)

    def _background_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failed(error)

    def is_stepped(self, period_s: float) -> bool:
        return clock.now() < self._node.deadline + period_s

    # ------------------------------------------------------------------ whose core it is

    def post(self, event: AnyEvent) -> None:
        self._turns.post(event)

    def now(self) -> float:
        return clock.now()

    def noticed(self) -> Sequence[AnyEvent]:
        return (ClockSteered(self._steering.slew),) if self._steering.look() else ()

    def perform(self, action: AnyAction) -> None:
        self._agent.perform(action)

    def say(self, beat: Heartbeat) -> None:
        self._agent.heartbeats.say(beat)

    def stepped(self, now: float, actions: Sequence[AnyAction]) -> None:
        self._agent.recorder.add(now, actions)

    def rested(self) -> None:
        self._alarm.set(self._node.deadline)
        if self._agent.guards.looks_outside:
            self._agent.guards.expect(self._node.state.membership.next_overdue(clock.now()))
        self._agent.recorder.rest()
        self._agent.facade.changed()

    def _woke(self) -> None:
        self._agent.process.jitter.observe(clock.now(), self._node.deadline)
        self.post(Woke())

    # ------------------------------------------------------------------ signals

    def guardian_died(self) -> None:
        logger.error("the guardian has died; handing over, so that both start afresh")
        self._stop()

    def _stop_requested(self) -> None:
        if self._is_asked_to_stop:
            return  # a terminal, or systemd, tells both processes
        self._is_asked_to_stop = True
        self.background(self._stop_when_sessions_are_kept())

    async def _stop_when_sessions_are_kept(self) -> None:
        """Until then this node serves as ever, so a restart of all nodes, one after the other, loses none."""
        if given_up := await self._agent.sessions.kept_elsewhere():
            log.say("sessions", f"stopping all the same: {given_up}", level=logging.WARNING)
        self._stop()

    def _stop(self) -> None:
        if self._is_stopping:
            return
        self._is_stopping = True
        self._agent.notifier.stopping()
        self.background(self._stop_in_time())
        self.post(StopRequested())

    async def _stop_in_time(self) -> None:
        await asyncio.sleep(STOP_S)
        logger.error("releasing took more than %.0f s; leaving the rest to the guardian", STOP_S)
        self.end(1)

    async def _reload_and_tell(self) -> None:
        try:
            log.say("reload", await self.reload())
        except (ConfigError, KeyFileError, CannotReload) as error:
            log.say("reload", f"refused, nothing is changed: {error}", level=logging.ERROR)

    async def reload(self) -> str:
        """Of several at once each is done, one after the other."""
        async with self._reloading:
            self._agent.notifier.reloading()
            try:
                running = self._agent.cluster.config
                config = await asyncio.to_thread(load, running.path, node=running.me)
                refuse_what_needs_a_restart(running, config, self._node.state.voters)
                commit = await self._parts.prepare(config)
                if self._ended.done():
                    raise CannotReload("this agent has ended")  # what it has left in place stays as it is
                self._commit(commit, config if config.digest != running.digest else None)
            finally:
                self._agent.notifier.ready()
        if config.digest == running.digest:
            return "the configuration is unchanged; keys were read again"
        return f"configuration {config.digest} is in force"

    def _commit(self, commit: Callable[[], list[Ending]], changed: Config | None) -> None:
        """All in this turn. What the parts have to say about it waits, and the core hears it with the new settings."""
        try:
            for ending in commit():
                self.background(ending)
        except Exception as error:
            self.failed(error)  # half of a configuration is none
            raise
        if changed is not None:
            self.post(Reconfigured(changed.settings()))

    async def _correct_clock(self) -> None:
        while True:
            await asyncio.sleep(CLOCK_S)
            self.post(ClockSet(clock.wall_offset_s()))

    # ------------------------------------------------------------------ ends

    def failed(self, error: BaseException) -> None:
        logger.critical("a bug ends this agent: %r", error, exc_info=error)
        self.end(1)

    def end(self, status: int) -> None:
        if not self._ended.done():
            self._ended.set_result(status)


def run(start: Start) -> int:
    sys.setswitchinterval(SWITCH_S)
    strays = Strays()

    async def main() -> int:
        return await Daemon(start, strays).run()

    return strays.run(main())
