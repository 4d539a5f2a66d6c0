"""The relay's door: the same addresses as the store of peers has, and the same limits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import msgspec

from haagent.peerlink.settings import LinkSettings
from haagent.sessions.listening import DoorOptions, Listening
from haagent.sessions.messages import Facts, RelayFacts
from haagent.sessions.relay.connection import Connection
from haagent.sessions.relay.settings import RelaySettings
from haagent.sessions.relay.source import Source
from haagent.sessions.sockets import going_on, possible

LOOK_EVERY_S = 1.0


class Options(DoorOptions, frozen=True, kw_only=True):
    relay: RelaySettings


class Relay:
    def __init__(self, options: Options) -> None:
        self.limits = msgspec.structs.replace(options.limits, clients=possible(2 * options.limits.clients) // 2)
        self.password = options.password.encode()
        self.source = Source(options.relay, retire=self._retire, changed=self._changed)
        self.on_change: Callable[[], None] = lambda: None  # it is ready, or not any more
        self._listening = Listening[Connection](options, lambda: Connection(self))
        self.connections = self._listening.connections
        self.query_bytes = 0  # of commands that are not whole, or not answered
        self._work: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await self._listening.open()
        self.source.open()
        self._work = going_on(self._run(), "the look at clients")

    async def close(self) -> None:
        self._listening.close()
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
            await self.source.close()

    @property
    def port(self) -> int:
        return self._listening.port

    def configure(self, link: LinkSettings, peers: dict[str, int]) -> None:
        """Nodes come and go: that is nothing to Redis."""

    def lose(self, peers: Iterable[str]) -> None:
        """As little."""

    def find(self, peers: Iterable[str]) -> None:
        """And this."""

    def facts(self) -> Facts:
        source = self.source
        relay = RelayFacts(str(source.target or ""), source.why, source.is_short)
        return Facts(source.is_ready, len(self.connections), 0, 0, {}, dict(source.counts), relay)

    def _changed(self) -> None:
        self.on_change()

    def _retire(self) -> None:
        for connection in list(self.connections):
            connection.exchange.retire()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self._listening.look(loop.time())
