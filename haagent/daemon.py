"""The shell around the core: turns the world into events, and actions into effects.

Everything that happens becomes an event and goes through `post`, from one thread: the core is never entered twice. What
has come in one turn of the loop is one step of the core; a hundred groups that are taken at once would otherwise cost a
hundred steps over all of them. Actions are performed in the order given, before the next event is looked at. What takes
time (clouds, hooks, disks) is somebody else's coroutine and comes back as an event.

This file holds the single broad `except`: an exception that nobody expected is a bug, and an agent with a bug lets go
of everything and ends, so that the peers take over and systemd starts it afresh.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import secrets
import signal
import sys
import time
from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from haagent import log, memory, timer
from haagent.activation import Activation
from haagent.address.composer import CannotCompose, Composer
from haagent.chronicle import Chronicle
from haagent.config import Config, load, load_keys
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
    HeartbeatHeard,
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
from haagent.core.messages import Heartbeat
from haagent.core.node import Node
from haagent.core.speech import let_go_for
from haagent.desk import Desk
from haagent.envelope import Envelope
from haagent.fencing import Fences
from haagent.gate import Gate, NoGate
from haagent.guardian.will import Will
from haagent.guards import Guards
from haagent.notify import Notifier
from haagent.realtime import enter
from haagent.rehearsal import rehearse
from haagent.reload import refuse_what_needs_a_restart
from haagent.transport import LinkStatus, Transport

MEND_S = 1.0  # how often a broken link is tried again
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
    ) -> None:
        self.config = config
        self._composer = composer
        self._state_dir = state_dir
        self._notifier = Notifier()
        self._queue: deque[AnyEvent] = deque()
        self._is_stopping = False
        self._is_stepping = True  # until everything is open: what happens meanwhile waits in the queue
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
        self._chronicle = Chronicle(self._node)
        self._envelope = Envelope(config, keys, boot=boot)
        self._will = will
        self._will.seal_with(self._envelope.sealer(keys))
        self._transport = Transport(
            config.heartbeat,
            me=config.nodes[config.me],
            peers=config.peers,
            heard=self._heard,
            dropped=self._envelope.count_drop,
        )
        self._fences = Fences(
            config.nodes, me=config.me, post=self.post, note=lambda kind, text: self._noted(kind, "", text)
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
            compose=self._composer.compose,
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
            compose=self._composer.compose,
        )
        self._arbiter = arbiter_of(config, boot=boot, post=self.post, now=timer.now)
        self._alarm = timer.Alarm(asyncio.get_running_loop(), self._woke)
        self._desk = Desk(
            config,
            node=self._node,
            chronicle=self._chronicle,
            dropped=self._envelope.dropped,
            transport=self._transport,
            activation=self._activation,
            guards=self._guards,
            fences=self._fences,
            arbiter=self._arbiter,
            will=self._will,
            post=self.post,
            reload=self.reload,
        )
        self._control = ControlServer(self._desk, run_dir=run_dir)

    def _make_gate(self) -> Gate | NoGate:
        def note(kind: str, text: str) -> None:
            self._noted(kind, "", text)

        return NoGate(note) if self.config.gate == "off" else Gate(note=note, now=timer.now)

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
            self._background(self._composer.rest())
            self._fences.check()
            self._report_links(self._transport.open(loop))
            await self._control.open()
            self._leave_addresses(self.config)
            lease_s = self.config.heartbeat.lease_s
            self._will.open(loop, node=self.config.me, lease_s=lease_s, abandoned=self._guardian_died)
            self._desk.scheduling = enter(wanted=self.config.realtime)
            gc.collect()
            gc.freeze()  # what start-up made stays: the collector need not walk it again
            for work in (
                self._mend_links(),
                self._correct_clock(),
                *self._notifier.work(self._sentence, self._is_stepped),
            ):
                self._background(work)
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
        self._composer.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._control.close()
        await self._arbiter.close()
        await self._guards.close()
        await self._fences.close()
        await self._activation.close()
        await self._memory.close()
        self._transport.close()
        self._chronicle.write()  # what letting go has added

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
                self._say(beat)
            case Renew(group, until):
                self._activation.renew(group, until)
            case Take(group, ballot, until, vanished):
                self._activation.take(group, ballot, until, vanished)
                self._guards.ask_once(group)  # whoever else has it answers all the same; no client has to wait
            case Drop(group, ballot, why):
                self._activation.drop(group, ballot, why)
            case Farewell(group, ballot, beat):
                if self._queue and self._queue[0] == Dropped(group, ballot):
                    self._say(let_go_for(beat, group, timer.now() - decided_at))
            case Prepare(group):
                self._activation.prepare(group)
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

    def _say(self, beat: Heartbeat) -> None:
        self._will.before(beat)
        self._transport.send(self._envelope.seal(beat))
        self._will.after(beat)

    def _woke(self) -> None:
        self._desk.jitter.observe(timer.now(), self._node.deadline)
        self.post(Woke())

    def _heard(self, datagram: bytes, link: str) -> None:
        beat = self._envelope.open(datagram)
        if beat is not None:
            self.post(HeartbeatHeard(beat, link))

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
        except (ConfigError, KeyFileError, CannotCompose) as error:
            log.say("reload", f"refused, nothing is changed: {error}", level=logging.ERROR)

    async def reload(self) -> str:
        self._notifier.reloading()
        try:
            config = await asyncio.to_thread(load, self.config.path, node=self.config.me)
            keys = () if config.heartbeat.insecure else await asyncio.to_thread(load_keys, config.key_files)
            refuse_what_needs_a_restart(self.config, config)
            groups = tuple(config.groups.values())
            await self._guards.prepare(groups, config.guards)
            change_arbiter = await self._arbiter.prepare(config)
            if config.digest == self.config.digest:
                self._use(keys)
                await change_arbiter()
                return "the configuration is unchanged; keys were read again"
            self._leave_addresses(self.config, config)
            await self._activation.reconfigure(groups)
            await self._guards.reconfigure(groups, config.guards, counts=config.guards_count)
            self._fences.reconfigure(config.nodes)
            self._fences.check()
            self.config = self._desk.config = config
            self._use(keys)
            self._report_links(
                self._transport.reconfigure(config.heartbeat, me=config.nodes[config.me], peers=config.peers)
            )
            self.post(Reconfigured(config.settings()))
            await change_arbiter()
            return f"configuration {config.digest} is in force"
        finally:
            self._leave_addresses(self.config)
            await self._composer.rest()
            self._notifier.ready()

    def _use(self, keys: tuple[bytes, ...]) -> None:
        self._envelope.rekey(self.config, keys)
        self._will.seal_with(self._envelope.sealer(keys))

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
            self.post(Noticed("link_up" if link.is_up else "link_down", "", text))

    async def _correct_clock(self) -> None:
        while True:
            await asyncio.sleep(CLOCK_S)
            self.post(ClockSet(_wall_offset_s()))

    def _sentence(self) -> str:
        view = self._node.view(timer.now())
        held = [group.name for group in view.groups if group.holder == view.node]
        return f"holds {', '.join(held)}" if held else "holds nothing"

    def _is_stepped(self, period_s: float) -> bool:
        """systemd hears from us only while the core is stepped: a loop that turns is not yet an agent that works."""
        return timer.now() < self._node.deadline + period_s

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


def _wall_offset_s() -> float:
    return time.time() - timer.now()


def _version() -> str:
    from haagent import __version__

    return __version__


def run(
    config: Config, *, keys: tuple[bytes, ...], run_dir: str, state_dir: str, will: Will, composer: Composer
) -> int:
    sys.setswitchinterval(SWITCH_S)
    rehearse(config.settings())

    async def main() -> int:
        return await Daemon(config, keys=keys, run_dir=run_dir, state_dir=state_dir, will=will, composer=composer).run()

    return asyncio.run(main())
