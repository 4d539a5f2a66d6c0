"""The shell around the core: turns the world into events, and actions into effects.

Everything that happens becomes an event and goes through `post`, from one thread, one at a time: the core is never
entered twice. Actions are performed in the order given, before the next event is looked at. What takes time (clouds,
hooks, disks) is somebody else's coroutine and comes back as an event.

This file holds the single broad `except`: an exception that nobody expected is a bug, and an agent with a bug lets go
of everything and ends, so that the peers take over and systemd starts it afresh.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import secrets
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from haagent import log, memory, timer
from haagent.activation import Activation
from haagent.config import Config, load, load_keys
from haagent.control.server import ControlServer
from haagent.coordination.source import arbiter_of
from haagent.core.events import (
    Announce,
    Answer,
    AnyAction,
    AnyEvent,
    Asked,
    Claim,
    ClockSet,
    Drop,
    Fenced,
    HeartbeatHeard,
    Note,
    Noticed,
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
from haagent.core.node import Node
from haagent.core.settings import Memory
from haagent.core.view import View
from haagent.core.wire import Dropped, Opener, Sealer
from haagent.fencing import Fences
from haagent.gate import Gate, NoGate
from haagent.guardian.will import Will
from haagent.guards import Guards
from haagent.jitter import Jitter
from haagent.notify import Notifier
from haagent.rehearsal import rehearse
from haagent.reload import refuse_what_needs_a_restart
from haagent.trace import Ring, Trace, take
from haagent.transport import LinkStatus, Transport

MEND_S = 1.0  # how often a broken link is tried again
STOP_S = 15.0  # a stop that takes longer than this ends without having told the peers
TELL_S = 0.2  # between two sentences to systemd
SWITCH_S = 0.0005  # the longest time that a thread beside the loop (log, disk) may keep the interpreter to itself
CLOCK_S = 60.0  # how often the history's idea of wall-clock time is corrected

logger = logging.getLogger("haagent")


class Daemon:
    def __init__(
        self, config: Config, *, keys: tuple[bytes, ...], run_dir: str, state_dir: str, will: Will | None = None
    ) -> None:
        self.config = config
        self._dropped: Counter[str] = Counter()
        self.jitter = Jitter()
        self._state_dir = state_dir
        self._notifier = Notifier()
        self._queue: deque[AnyEvent] = deque()
        self._has_news = False  # for systemd
        self._is_stopping = False
        self._is_stepping = True  # until everything is open: what happens meanwhile waits in the queue
        self._waiters: list[asyncio.Future[None]] = []
        self._asked: dict[int, asyncio.Future[Answer]] = {}
        self._next_ask = 1
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[None]] = set()

        boot = secrets.randbits(48) | 1
        remembered = memory.load(state_dir)
        self._memory = memory.Keeper(state_dir)
        self._node = Node(
            config.settings(),
            boot=boot,
            now=timer.now(),
            rng=random.Random(secrets.randbits(64)),  # noqa: S311 - spreads retries, keeps no secret
            memory=remembered,
            wall_offset_s=_wall_offset_s(),
        )
        self._ring = Ring(self._node)
        self._sealer = self._make_sealer(keys)
        self._will = will or Will()
        self._will.seal_with(self._make_sealer(keys))
        self._opener = self._make_opener(keys)
        self._transport = Transport(
            config.heartbeat,
            me=config.nodes[config.me],
            peers=config.peers,
            heard=self._heard,
            dropped=self._count_drop,
        )
        self._fences = Fences(
            config.nodes, me=config.me, post=self.post, note=lambda text: self._noted("fencing", "", text)
        )
        self._activation = Activation(
            groups=tuple(config.groups.values()),
            post=self.post,
            note=self._noted,
            now=timer.now,
            node=config.me,
            cluster=config.cluster,
            adopt=any(order.key == "maintenance" and order.on for order in remembered.orders),
            fences=self._fences,
            gate=self._make_gate(),
        )
        self._guards = Guards(
            tuple(config.groups.values()),
            config.guards,
            lease_s=config.heartbeat.lease_s,
            counts=config.guards_count,
            holder=self._activation,
            post=self.post,
            note=self._noted,
            now=timer.now,
        )
        self._arbiter = arbiter_of(config, boot=boot, post=self.post, now=timer.now)
        self._alarm = timer.Alarm(asyncio.get_running_loop(), self._woke)
        self._control = ControlServer(self, run_dir=run_dir)

    def _make_gate(self) -> Gate | NoGate:
        def note(kind: str, text: str) -> None:
            self._noted(kind, "", text)

        return NoGate(note) if self.config.gate == "off" else Gate(note=note, now=timer.now)

    def _make_sealer(self, keys: tuple[bytes, ...]) -> Sealer:
        return Sealer(keys=keys, cluster=self.config.cluster, node=self.config.me, boot=self._node.scene.boot)

    def _make_opener(self, keys: tuple[bytes, ...]) -> Opener:
        config = self.config
        return Opener(
            keys=keys,
            cluster=config.cluster,
            node=config.me,
            nodes=frozenset(config.nodes),
            boot=self._node.scene.boot,
        )

    # ------------------------------------------------------------------ life

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._unexpected)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop_requested)
        loop.add_signal_handler(signal.SIGHUP, self._reload_requested)
        log.say("start", f"node {self.config.me} of cluster {self.config.cluster}, version {_version()}")
        try:
            await self._activation.start()
            await self._guards.open()
            self._fences.check()
            self._report_links(self._transport.open(loop))
            await self._control.open()
            self._leave_addresses(self.config)
            lease_s = self.config.heartbeat.lease_s
            self._will.open(loop, node=self.config.me, lease_s=lease_s, abandoned=self._guardian_died)
            gc.collect()
            gc.freeze()  # what start-up made stays: the collector need not walk it again
            for work in (self._mend_links, self._feed_watchdog, self._correct_clock, self._tell_systemd_regularly):
                self._background(work())
            for waiting in self._arbiter.work():
                self._background(waiting)
            self._is_stepping = False
            self.post(Woke())
            self._notifier.ready()
            return await self._ended
        finally:
            await self._close()

    async def _close(self) -> None:
        self._alarm.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._control.close()
        await self._arbiter.close()
        await self._guards.close()
        await self._fences.close()
        await self._activation.close()
        await self._memory.close()
        self._transport.close()

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._background_ended)

    def _background_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    # ------------------------------------------------------------------ one queue of events, one owner

    def post(self, event: AnyEvent) -> None:
        self._queue.append(event)
        if self._is_stepping:
            return
        self._is_stepping = True
        performed: list[AnyAction] = []
        try:
            while self._queue:
                now, event = timer.now(), self._queue.popleft()
                actions = self._node.step(now, event)
                for action in actions:
                    self._perform(action)
                performed += actions
                self._ring.keep(now, event, actions)
        except Exception as error:
            self._queue.clear()
            self._fail(error)
        finally:
            self._is_stepping = False
        self._alarm.set(self._node.deadline)
        if self._guards.looks_outside:
            self._guards.expect(self._node.scene.membership.next_overdue(timer.now()))
        for action in performed:
            log.action(action)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _perform(self, action: AnyAction) -> None:
        match action:
            case Send(beat):
                self._will.before(beat)
                self._transport.send(self._sealer.seal(beat))
                self._will.after(beat)
            case Renew(group, until):
                self._activation.renew(group, until)
            case Take(group, ballot, until, vanished):
                self._activation.take(group, ballot, until, vanished)
                self._guards.ask_once(group)  # whoever else has it answers all the same; no client has to wait
            case Drop(group, ballot, why):
                self._activation.drop(group, ballot, why)
            case Claim():
                self._arbiter.claim(action)
            case Relinquish():
                self._arbiter.relinquish(action)
            case Watch(group, on):
                self._guards.watch(group, on=on)
            case Announce(group, why):
                self._activation.announce(group, why)
            case Remember(round_, lease_s, orders):
                self._memory.keep(Memory(round_, lease_s, orders))
            case Note():
                self._has_news = True
            case Answer():
                future = self._asked.pop(action.id, None)
                if future is not None and not future.done():
                    future.set_result(action)
            case Stopped():
                if self.view().maintenance:
                    self._activation.leave()
                self._will.void()
                self._end(1 if self._will.is_abandoned else 0)

    def _woke(self) -> None:
        self.jitter.observe(timer.now(), self._node.deadline)
        self.post(Woke())

    def _heard(self, datagram: bytes, link: str) -> None:
        try:
            beat = self._opener.open(datagram)
        except Dropped as dropped:
            self._count_drop(str(dropped.cause))
            return
        if beat is not None:
            self.post(HeartbeatHeard(beat, link))

    def _count_drop(self, cause: str) -> None:
        self._dropped[cause] += 1

    def _noted(self, kind: str, group: str, text: str) -> None:
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

    def _reload_requested(self) -> None:
        self._background(self._reload_and_tell())

    async def _reload_and_tell(self) -> None:
        from haagent.config import ConfigError, KeyFileError

        try:
            log.say("reload", await self.reload())
        except (ConfigError, KeyFileError) as error:
            log.say("reload", f"refused, nothing is changed: {error}", level=logging.ERROR)

    async def reload(self) -> str:
        self._notifier.reloading()
        try:
            config = await asyncio.to_thread(load, self.config.path, node=self.config.me)
            keys = () if config.heartbeat.insecure else await asyncio.to_thread(load_keys, config.key_files)
            refuse_what_needs_a_restart(self.config, config)
            change_arbiter = await self._arbiter.prepare(config)
            if config.digest == self.config.digest:
                self._use(keys)
                await change_arbiter()
                return "the configuration is unchanged; keys were read again"
            self._leave_addresses(self.config, config)
            await self._activation.reconfigure(tuple(config.groups.values()))
            await self._guards.reconfigure(tuple(config.groups.values()), config.guards, counts=config.guards_count)
            self._fences.reconfigure(config.nodes)
            self._fences.check()
            self.config = config
            self._leave_addresses(config)
            self._use(keys)
            self._report_links(
                self._transport.reconfigure(config.heartbeat, me=config.nodes[config.me], peers=config.peers)
            )
            self.post(Reconfigured(config.settings()))
            await change_arbiter()
            return f"configuration {config.digest} is in force"
        finally:
            self._notifier.ready()

    def _use(self, keys: tuple[bytes, ...]) -> None:
        self._sealer.rekey(keys)
        self._will.seal_with(self._make_sealer(keys))
        self._opener = self._make_opener(keys)

    def _leave_addresses(self, *configs: Config) -> None:
        groups = [group for config in configs for group in config.groups.values()]
        self._will.name_addresses(address.ip.packed for group in groups for address in group.addresses)

    # ------------------------------------------------------------------ regular work

    async def _mend_links(self) -> None:
        while True:
            await asyncio.sleep(MEND_S)
            self._report_links(self._transport.retry())

    def _report_links(self, changed: Sequence[LinkStatus]) -> None:
        self._will.lend(self._transport.outlets())
        for link in changed:
            text = f"heartbeats go over {link.name}" if link.is_up else f"no heartbeats over {link.name}: {link.why}"
            self.post(Noticed("link", "", text))

    async def _tell_systemd_regularly(self) -> None:
        while self._notifier.is_heard:
            await asyncio.sleep(TELL_S)
            if self._has_news:
                self._has_news = False
                self._tell_systemd()

    async def _feed_watchdog(self) -> None:
        """systemd hears from us only while the core is stepped: a loop that turns is not yet an agent that works."""
        period_s = self._notifier.watchdog_s
        while period_s is not None:
            await asyncio.sleep(period_s)
            if timer.now() < self._node.deadline + period_s:
                self._notifier.alive()

    async def _correct_clock(self) -> None:
        while True:
            await asyncio.sleep(CLOCK_S)
            self.post(ClockSet(_wall_offset_s()))

    def _tell_systemd(self) -> None:
        view = self.view()
        held = [group.name for group in view.groups if group.holder == view.node]
        self._notifier.status(f"holds {', '.join(held)}" if held else "holds nothing")

    # ------------------------------------------------------------------ ends

    def _unexpected(self, _: asyncio.AbstractEventLoop, context: Mapping[str, object]) -> None:
        error = context.get("exception")
        self._fail(error if isinstance(error, BaseException) else RuntimeError(str(context.get("message"))))

    def _fail(self, error: BaseException) -> None:
        logger.critical("a bug ends this agent: %r", error, exc_info=error)
        self._end(1)

    def _end(self, status: int) -> None:
        if not self._ended.done():
            self._ended.set_result(status)

    # ------------------------------------------------------------------ what the control socket asks

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
        return take(self._ring, saved_at=time.time())

    def coordination(self) -> Mapping[str, object] | None:
        return self._arbiter.status()

    def guards(self) -> Mapping[str, object]:
        return self._guards.status()

    def fences(self) -> Mapping[str, object]:
        return {"nodes": self._fences.status(), "faults": self._fences.faults}

    async def fence(self, node: str) -> str:
        return await self._fences.fence(node)

    def confirm_down(self, node: str, how: str) -> bool:
        self.post(Fenced(node, how))
        return self._node.scene.orders.is_down(node)

    def ask(
        self, *, what: str, group: str = "", node: str = "", on: bool = True, force: bool = False, wait_s: float = 10.0
    ) -> asyncio.Future[Answer]:
        number, self._next_ask = self._next_ask, self._next_ask + 1
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked[number] = future
        self.post(Asked(number, what, group, node, on, force, wait_s))
        return future

    async def wait_change(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter


def _wall_offset_s() -> float:
    return time.time() - timer.now()


def _version() -> str:
    from haagent import __version__

    return __version__


def run(config: Config, *, keys: tuple[bytes, ...], run_dir: str, state_dir: str, will: Will | None = None) -> int:
    sys.setswitchinterval(SWITCH_S)
    rehearse(config.settings())

    async def main() -> int:
        return await Daemon(config, keys=keys, run_dir=run_dir, state_dir=state_dir, will=will).run()

    return asyncio.run(main())
