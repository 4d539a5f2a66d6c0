"""The shell around the core: turns the world into events, and actions into effects.

Everything that happens becomes an event and goes through `post`, from one thread: the core is never entered twice. What
has come in one turn of the loop is one step of the core; a hundred groups that are taken at once would otherwise cost a
hundred steps over all of them. Actions are performed in the order given, before the next event is looked at. What takes
time (clouds, hooks, disks) is somebody else's coroutine and comes back as an event.

The agent is one ordered tuple of parts (`parts`). What is done with all of them is a loop there; what the core wants of
one of them is said to it here.

This file holds the single broad `except`: an exception that nobody expected is a bug, and an agent with a bug lets go
of everything and ends, so that the peers take over and systemd starts it afresh.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from haagent import __version__, log, memory, timer
from haagent.activation import Activation
from haagent.address.composer import Composer
from haagent.chronicle import Chronicle
from haagent.config import Config, ConfigError, KeyFileError, load
from haagent.control.server import ControlServer
from haagent.coordination.source import arbiter_of
from haagent.core.events import (
    Announce,
    Answer,
    AnyAction,
    AnyEvent,
    Claim,
    ClockSet,
    Drop,
    Dropped,
    Farewell,
    Note,
    Noticed,
    Prepare,
    Reconfigured,
    Relinquish,
    Remember,
    Renew,
    Send,
    Stopped,
    StopRequested,
    Take,
    Watch,
    Woke,
)
from haagent.core.kinds import Kind
from haagent.core.node import Node
from haagent.core.speech import let_go_for
from haagent.desk import Desk
from haagent.fencing import Fences
from haagent.gate import Gate, NoGate
from haagent.guardian.will import Will
from haagent.guards import Guards
from haagent.heartbeats import Heartbeats
from haagent.notify import Notifier
from haagent.parts import CannotReload, Ending, Parts
from haagent.realtime import Process
from haagent.reload import refuse_what_needs_a_restart
from haagent.report import Cluster
from haagent.strays import Strays, is_ours

STOP_S = 15.0  # a stop that takes longer than this ends without having told the peers
SWITCH_S = 0.0005  # the longest time that a thread beside the loop (log, disk) may keep the interpreter to itself
CLOCK_S = 60.0  # how often the history's idea of wall-clock time is corrected

logger = logging.getLogger("haagent")


class Daemon:
    def __init__(
        self,
        config: Config,
        *,
        keys: tuple[bytes, ...],
        run_dir: str,
        state_dir: str,
        will: Will,
        composer: Composer,
        strays: Strays | None = None,
    ) -> None:
        self._queue: deque[AnyEvent] = deque()
        self._is_stopping = False
        self._is_stepping = True  # until everything is open: what happens meanwhile waits in the queue
        self._reloading = asyncio.Lock()
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._alarm = timer.Alarm(asyncio.get_running_loop(), self._woke)

        boot = secrets.randbits(48) | 1
        remembered = memory.load(state_dir)
        self._node = node = Node(
            config.settings(),
            boot=boot,
            now=timer.now(),
            rng=random.Random(secrets.randbits(64)),  # noqa: S311 - spreads retries, keeps no secret
            memory=remembered,
            wall_offset_s=_wall_offset_s(),
        )
        aside, groups = self._background, tuple(config.groups.values())
        self._cluster = Cluster(config, lambda: node.view(timer.now()))
        self._chronicle = Chronicle(node)
        self._composer, self._will = composer, will
        self._strays = strays or Strays()
        self._will.name_us(node=config.me, lease_s=config.heartbeat.lease_s, abandoned=self._guardian_died)
        self._notifier = Notifier(sentence=self._cluster.sentence, is_alive=self.is_stepped, background=aside)
        self._memory = memory.Keeper(state_dir)
        self._heartbeats = Heartbeats(
            config,
            keys,
            boot=boot,
            will=will,
            post=self.post,
            view=self._cluster.view,
            refused=lambda: node.refused,
            background=aside,
        )
        self._fences = Fences(
            config.nodes, me=config.me, post=self.post, note=lambda kind, text: self._note(kind, "", text)
        )
        self._activation = Activation(
            groups=groups,
            post=self.post,
            note=self._note,
            now=timer.now,
            node=config.me,
            cluster=config.cluster,
            adopt=any(order.key == "maintenance" and order.on for order in remembered.orders),
            fences=self._fences,
            gate=_gate(config, self._note),
            compose=composer.compose,
            may_have=will.name_addresses,
        )
        self._guards = Guards(
            groups,
            config.guards,
            lease_s=config.heartbeat.lease_s,
            counts=config.guards_count,
            holder=self._activation,
            post=self.post,
            note=self._note,
            now=timer.now,
            compose=composer.compose,
        )
        self._arbiter = arbiter_of(config, boot=boot, post=self.post, now=timer.now, background=aside)
        self._process = Process(config)
        self._desk = desk = Desk(
            self._cluster, node, chronicle=self._chronicle, fences=self._fences, post=self.post, reload=self.reload
        )
        self._parts = desk.parts = Parts(
            self._cluster,
            self._chronicle,
            self._heartbeats,
            self._memory,
            self._activation,
            self._guards,
            self._fences,
            self._arbiter,
            self._will,
            self._process,
            self._strays,
            ControlServer(desk, run_dir=run_dir),
            self._notifier,
        )

    # ------------------------------------------------------------------ life

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._unexpected)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop_requested)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._background(self._reload_and_tell()))
        config = self._cluster.config
        log.say("start", f"node {config.me} of cluster {config.cluster}, version {__version__}")
        try:
            await self._parts.open()
            self._background(self._composer.rest())
            self._background(self._correct_clock())
            self._is_stepping, self._heartbeats.is_listening = False, True
            self.post(Woke())
            self._notifier.ready()
            return await self._ended
        finally:
            self._alarm.close()
            for task in self._tasks:
                task.cancel()
            self._composer.close()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._parts.close()

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._background_ended)

    def _background_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def is_stepped(self, period_s: float) -> bool:
        """A loop that turns is not yet an agent that works: that is one whose core is stepped."""
        return timer.now() < self._node.deadline + period_s

    # ------------------------------------------------------------------ one queue of events, one owner

    def post(self, event: AnyEvent) -> None:
        self._queue.append(event)
        if not self._is_stepping:
            self._is_stepping = True
            asyncio.get_running_loop().call_soon(self._step)

    def _step(self) -> None:
        """All events that wait; and what performing their actions has brought about is the next step."""
        try:
            while self._queue:
                now, events = timer.now(), tuple(self._queue)
                self._queue.clear()
                actions = self._node.step(now, *events)
                for action in actions:
                    self._perform(now, action)
                self._chronicle.add(now, actions)
        except Exception as error:
            self._queue.clear()
            self._fail(error)
        finally:
            self._is_stepping = False
        self._alarm.set(self._node.deadline)
        if self._guards.looks_outside:
            self._guards.expect(self._node.scene.membership.next_overdue(timer.now()))
        self._chronicle.rest()
        self._desk.changed()

    def _perform(self, decided_at: float, action: AnyAction) -> None:
        match action:
            case Send(beat):
                self._heartbeats.say(beat)
            case Renew(group, until):
                self._activation.renew(group, until)
            case Take(group, ballot, until, vanished):
                self._activation.take(group, ballot, until, vanished)
                self._guards.ask_once(group)  # whoever else has it answers all the same; no client has to wait
            case Drop(group, ballot, why):
                self._activation.drop(group, ballot, why)
            case Farewell(group, ballot, beat):
                if self._queue and self._queue[0] == Dropped(group, ballot):
                    self._heartbeats.say(let_go_for(beat, group, timer.now() - decided_at))
            case Prepare(group):
                self._activation.expect(group)
            case Claim():
                self._arbiter.claim(action)
            case Relinquish():
                self._arbiter.relinquish(action)
            case Watch(group, on):
                self._guards.watch(group, on=on)
            case Announce(group, why):
                self._activation.announce(group, why)
            case Remember(kept):
                self._memory.keep(kept)
            case Note():
                self._notifier.has_news = True
            case Answer():
                self._desk.answered(action)
            case Stopped():
                if self._node.view(timer.now()).maintenance:
                    self._activation.leave()
                self._will.void()
                self._end(1 if self._will.is_abandoned else 0)

    def _woke(self) -> None:
        self._process.jitter.observe(timer.now(), self._node.deadline)
        self.post(Woke())

    def _note(self, kind: Kind, group: str, text: str) -> None:
        """What activation did by itself (restored an address, removed a foreign one) is history of the cluster too."""
        self.post(Noticed(kind, group, text))

    # ------------------------------------------------------------------ signals

    def _guardian_died(self) -> None:
        logger.error("the guardian has died; handing over, so that both start afresh")
        self._stop_requested()

    def _stop_requested(self) -> None:
        if self._is_stopping:
            return  # a terminal, or systemd, tells both processes
        self._is_stopping = True
        self._notifier.stopping()
        self._background(self._stop_in_time())
        self.post(StopRequested())

    async def _stop_in_time(self) -> None:
        await asyncio.sleep(STOP_S)
        logger.error("letting go took more than %.0f s; leaving the rest to the guardian", STOP_S)
        self._end(1)

    async def _reload_and_tell(self) -> None:
        try:
            log.say("reload", await self.reload())
        except (ConfigError, KeyFileError, CannotReload) as error:
            log.say("reload", f"refused, nothing is changed: {error}", level=logging.ERROR)

    async def reload(self) -> str:
        """Of several at once each is done, one after the other."""
        async with self._reloading:
            self._notifier.reloading()
            try:
                running = self._cluster.config
                config = await asyncio.to_thread(load, running.path, node=running.me)
                refuse_what_needs_a_restart(running, config)
                self._commit(await self._parts.prepare(config), config if config.digest != running.digest else None)
            finally:
                self._background(self._composer.rest())
                self._notifier.ready()
        if config.digest == running.digest:
            return "the configuration is unchanged; keys were read again"
        return f"configuration {config.digest} is in force"

    def _commit(self, commit: Callable[[], list[Ending]], changed: Config | None) -> None:
        """All in this turn. What the parts have to say about it waits, and the core hears it with the new settings."""
        try:
            for ending in commit():
                self._background(ending)
        except Exception as error:
            self._fail(error)  # half of a configuration is none
            raise
        if changed is not None:
            self.post(Reconfigured(changed.settings()))

    async def _correct_clock(self) -> None:
        while True:
            await asyncio.sleep(CLOCK_S)
            self.post(ClockSet(_wall_offset_s()))

    # ------------------------------------------------------------------ ends

    def _unexpected(self, _: asyncio.AbstractEventLoop, context: Mapping[str, object]) -> None:
        """Nobody waited for it. What a library or a plug-in left lying about is shown; what is ours ends the agent."""
        error = context.get("exception")
        if isinstance(error, BaseException) and is_ours(error):
            self._fail(error)
        else:
            self._strays.show(str(context.get("message")), error)

    def _fail(self, error: BaseException) -> None:
        logger.critical("a bug ends this agent: %r", error, exc_info=error)
        self._end(1)

    def _end(self, status: int) -> None:
        if not self._ended.done():
            self._ended.set_result(status)


def _gate(config: Config, note: Callable[[Kind, str, str], None]) -> Gate | NoGate:
    def say(kind: Kind, text: str) -> None:
        note(kind, "", text)

    return NoGate(say) if config.gate == "off" else Gate(note=say, now=timer.now)


def _wall_offset_s() -> float:
    return time.time() - timer.now()


def run(
    config: Config, *, keys: tuple[bytes, ...], run_dir: str, state_dir: str, will: Will, composer: Composer
) -> int:
    sys.setswitchinterval(SWITCH_S)

    strays = Strays()

    async def main() -> int:
        places = {"run_dir": run_dir, "state_dir": state_dir}
        return await Daemon(config, keys=keys, **places, will=will, composer=composer, strays=strays).run()

    return strays.run(main())
