"""Who the master is: asked of the sentinels, confirmed by itself, and asked again whenever there is doubt.

A Redis is used only after it has said itself (`ROLE`) that it is a master: a sentinel may not know yet, and an address
may have come to another host. Of what several sentinels say the latest counts (`config-epoch`). `+switch-master` and a
client's trouble (a broken connection, READONLY) make us ask at once instead of after a second.

`target` is None while there is none. A master that breaks off is not yet another one: connections of clients break by
themselves, or go on. They are told to leave (`retire`) when the master is another one, says that it is a replica, or
has been silent for long.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import ssl
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from haagent.sessions.relay.items import Item, wait
from haagent.sessions.relay.settings import RelaySettings
from haagent.sessions.relay.table import Natures, natures
from haagent.sessions.relay.wire import Address, Refused, Wire, wire_to
from haagent.sessions.sockets import going_on
from haagent.sessions.store.replies import NO_REPLICAS

LOOK_S = 1.0
SILENT_S = 5.0  # a script may keep Redis busy; who is silent for longer is gone
READY_S = 2.5  # since the latest answer
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.02, 0.25
DEGRADED_MS = 5  # how long a change waits for replicas that were missing before

logger = logging.getLogger(__name__)


class NoMaster(Exception):
    """The sentence says why that one cannot be used."""


class NoSentinel(Exception):
    """It says what none says."""


class Source:
    def __init__(
        self, settings: RelaySettings, *, retire: Callable[[], None], changed: Callable[[], None] = lambda: None
    ) -> None:
        """`changed`: whether there is a master."""
        self.settings = settings
        self.counts: Counter[str] = Counter()
        self.target: Address | None = None
        self.table: Natures = {}
        self.why = "it has not been asked yet"
        self.is_short = False  # the latest change had too few replicas
        self.away_since = time.monotonic()
        self._retire, self._tell = retire, changed
        self._heard_s = 0.0  # when it said last that it is a master
        self._changed = asyncio.Event()  # there is a target
        self._doubt = asyncio.Event()
        self._said: dict[Address, tuple[int, Address]] = {}  # by each sentinel: since when, and who is it
        self._wanted: Address | None = None
        if not settings.sentinels:
            self._wanted = Address(settings.host, settings.port, settings.path, settings.tls)
        self._tasks: list[asyncio.Task[None]] = []
        self._pokes = [asyncio.Event() for _ in settings.sentinels]
        timeout_ms = round(settings.sync_timeout_s * 1000)
        self._patient, self._hasty = timeout_ms, min(DEGRADED_MS, timeout_ms)

    def open(self) -> None:
        self._tasks = [going_on(self._keep(), "the look-out for the master")]
        self._tasks += [
            going_on(self._watch(Address(host, port, tls=self.settings.tls), poke), "the look at a sentinel")
            for (host, port), poke in zip(self.settings.sentinels, self._pokes, strict=True)
        ]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ------------------------------------------------------------------ for clients

    @property
    def is_ready(self) -> bool:
        return self.target is not None and time.monotonic() - self._heard_s < READY_S

    def wait(self) -> Item:
        """Non-strict, nobody waits long for replicas that are known to be missing."""
        is_hasty = self.is_short and not self.settings.is_strict
        return wait(self.settings.replicas, self._hasty if is_hasty else self._patient)

    def waited(self, answer: bytes, row: list[bytes]) -> list[bytes]:
        """What a row of changes is answered, after the answer to their WAIT."""
        count = int(answer[1:-2]) if answer[:1] == b":" else 0
        is_short = count < self.settings.replicas
        self.counts["waits"] += 1
        self.counts["waits_short"] += is_short
        if is_short is not self.is_short:
            self.is_short = is_short
            if is_short:
                logger.warning("a change is with %d replicas, and not with %d", count, self.settings.replicas)
            else:
                logger.info("changes are with %d replicas again", count)
        if not is_short or not self.settings.is_strict:
            return row
        return [reply if reply[:1] == b"-" else NO_REPLICAS for reply in row]

    async def found(self) -> Address:
        while self.target is None:
            await self._changed.wait()
        return self.target

    def is_away(self, hold_s: float) -> bool:
        """For so long already."""
        return self.target is None and time.monotonic() - self.away_since > hold_s

    def doubt(self) -> None:
        """Something went wrong with it."""
        self._doubt.set()
        for poke in self._pokes:
            poke.set()

    # ------------------------------------------------------------------ looking

    async def _keep(self) -> None:
        pause_s = SHORTEST_PAUSE_S
        while True:
            began = time.monotonic()
            try:
                await self._use(self._wanted)
            except (OSError, Refused, NoMaster) as error:  # a time-out is an OSError
                self._lose(_words(error))
            pause_s = SHORTEST_PAUSE_S if time.monotonic() - began > LOOK_S else min(2 * pause_s, LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311 it spreads retries

    async def _use(self, address: Address | None) -> None:
        """As long as it is the master that is wanted."""
        if address is None:
            self._doubt.clear()
            await self._doubt.wait()
            return
        settings = self.settings
        async with wire_to(address, user=settings.user, password=settings.password) as wire:
            await self._confirm(wire, address)
            async with asyncio.timeout(SILENT_S):
                await self._learn(wire)
            logger.info("the master is %s", address)
            self._retire()  # an address may have come to another host
            self.target = address
            self._changed.set()
            self._tell()
            while self._wanted == address:
                self._doubt.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await self._doubt.wait()
                if self._wanted == address:
                    await self._confirm(wire, address)
            self._retire()
            self._lose("the sentinels name another master")

    async def _confirm(self, wire: Wire, address: Address) -> None:
        try:
            async with asyncio.timeout(SILENT_S):
                role: Any = await wire.ask(b"ROLE")
        except TimeoutError:
            self._retire()
            raise NoMaster(f"{address} is silent") from None
        if not isinstance(role, list) or role[:1] != [b"master"]:
            self._retire()
            hint = "" if self.settings.sentinels else ", and there are no sentinels that know its master"
            raise NoMaster(f"{address} is no master{hint}")
        self._heard_s = time.monotonic()

    async def _learn(self, wire: Wire) -> None:
        try:
            if b"cluster_enabled:1" in await wire.ask(b"INFO", b"cluster"):
                raise NoMaster("it is a Redis Cluster, which sends clients elsewhere")
            self.table = natures(await wire.ask(b"COMMAND"))
        except (Refused, TypeError, IndexError) as error:
            logger.warning("its commands are not known, so each counts as a change: %s", error)

    def _lose(self, why: str) -> None:
        had_one, self.target, self.why = self.target is not None, None, why
        self._changed.clear()
        if had_one:
            self.away_since = time.monotonic()
            logger.warning("there is no master: %s", why)
            self._tell()

    # ------------------------------------------------------------------ sentinels

    async def _watch(self, sentinel: Address, poke: asyncio.Event) -> None:
        password = ""
        while True:
            try:
                await self._follow(sentinel, password, poke)
            except (OSError, Refused, NoSentinel) as error:
                if "NOAUTH" in str(error):  # one without a password is not shown ours
                    password = self.settings.password
                if self._wanted is None:
                    self.why = f"the sentinel {sentinel} does not say who it is: {_words(error)}"
            finally:
                self._said.pop(sentinel, None)
            await asyncio.sleep(LONGEST_PAUSE_S * random.uniform(0.5, 1.5))  # noqa: S311 it spreads retries

    async def _follow(self, sentinel: Address, password: str, poke: asyncio.Event) -> None:
        async with (
            wire_to(sentinel, user="", password=password) as wire,
            wire_to(sentinel, user="", password=password) as news,
        ):
            async with asyncio.timeout(LOOK_S):
                await news.ask(b"SUBSCRIBE", b"+switch-master")
            listening = asyncio.ensure_future(_hear(news, poke))
            try:
                while not listening.done():
                    poke.clear()
                    async with asyncio.timeout(LOOK_S):
                        row: Any = await wire.ask(b"SENTINEL", b"MASTER", self.settings.master.encode())
                    self._told(sentinel, row)
                    await asyncio.sleep(SHORTEST_PAUSE_S)  # at most so often
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(LOOK_S):
                            await poke.wait()
                await listening
            finally:
                listening.cancel()

    def _told(self, sentinel: Address, row: Any) -> None:
        try:
            master: dict[bytes, bytes] = dict(zip(row[::2], row[1::2], strict=True))
            address = Address(master[b"ip"].decode(), int(master[b"port"]), tls=self.settings.tls)
            self._said[sentinel] = int(master[b"config-epoch"]), address
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise NoSentinel("its answer is no sentinel's") from error
        _, wanted = max(self._said.values(), key=lambda said: said[0])
        if wanted != self._wanted:
            self._wanted = wanted
            self._doubt.set()


async def _hear(news: Wire, poke: asyncio.Event) -> None:
    try:
        while True:
            await news.hear()
            poke.set()
    finally:
        poke.set()


def _words(error: Exception) -> str:
    """Short, and without what we have said."""
    if isinstance(error, TimeoutError):
        return "it does not answer"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, OSError) and error.errno and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno)
    return str(error).partition("\n")[0][:200]
