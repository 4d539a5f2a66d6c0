"""The relay's door: the same addresses as the store of peers has, and the same limits."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterable

import msgspec

from haagent.peerlink.settings import LinkSettings
from haagent.sessions.messages import Facts, RelayFacts
from haagent.sessions.relay.connection import Connection
from haagent.sessions.relay.settings import RelaySettings
from haagent.sessions.relay.source import Source
from haagent.sessions.sockets import bound, possible
from haagent.sessions.store.state import Limits

LOOK_EVERY_S = 1.0


class Options(msgspec.Struct, frozen=True, kw_only=True):
    host: str = "127.0.0.1"
    port: int = 6380  # 0: any free one
    path: str = ""  # of a Unix socket; none without it
    mode: int = 0o600  # of that socket
    password: str = ""  # clients log in with it
    limits: Limits = msgspec.field(default_factory=Limits)
    relay: RelaySettings


class Relay:
    def __init__(self, options: Options) -> None:
        self._options = options
        self.limits = msgspec.structs.replace(options.limits, clients=possible(2 * options.limits.clients) // 2)
        self.password = options.password.encode()
        self.source = Source(options.relay, retire=self._retire, changed=self._changed)
        self.on_ready: Callable[[], None] = lambda: None  # or not any more
        self.connections: set[Connection] = set()
        self.query_bytes = 0  # of commands that are not whole, or not answered
        self.port = 0
        self._servers: list[asyncio.Server] = []
        self._work: asyncio.Task[None] | None = None

    async def open(self) -> None:
        loop, options = asyncio.get_running_loop(), self._options

        def connected() -> Connection:
            return Connection(self)

        try:
            self._servers.append(await loop.create_server(connected, options.host, options.port, backlog=511))
            self.port = self._servers[0].sockets[0].getsockname()[1]
            if options.path:
                listener = bound(options.path, options.mode)
                self._servers.append(await loop.create_unix_server(connected, sock=listener, backlog=511))
        except OSError:
            await self.close()
            raise
        self.source.open()
        self._work = loop.create_task(self._run())

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
            await self.source.close()
        for connection in list(self.connections):
            connection.drop("ended")
        if self._options.path and len(self._servers) > 1:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._options.path)
        self._servers.clear()

    def configure(self, link: LinkSettings, peers: dict[str, int]) -> None:
        """Nodes come and go: that is nothing to Redis."""

    def lose(self, peers: Iterable[str]) -> None:
        """As little."""

    def facts(self) -> Facts:
        source = self.source
        relay = RelayFacts(str(source.target or ""), source.why, source.is_short)
        return Facts(source.is_ready, len(self.connections), 0, 0, {}, dict(source.counts), relay)

    def _changed(self) -> None:
        self.on_ready()

    def _retire(self) -> None:
        for connection in list(self.connections):
            connection.exchange.retire()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            for connection in list(self.connections):
                connection.look(loop.time())
