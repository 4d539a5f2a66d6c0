"""The door itself: where clients come in, over TCP and a Unix socket, and what has to be done from time to time."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random

import msgspec

from haagent.core.store.settings import StoreSettings
from haagent.core.store.store import Store
from haagent.sessions.sockets import bound, possible
from haagent.sessions.store.connection import Connection
from haagent.sessions.store.state import Door, Limits, Replicate, nothing_waits

EXPIRE_EVERY_S = 0.1
EXPIRE_AT_ONCE = 500  # keys, in one turn: about a millisecond
LOOK_EVERY_S = 1.0


class Options(msgspec.Struct, frozen=True, kw_only=True):
    host: str = "127.0.0.1"
    port: int = 6380  # 0: any free one
    path: str = ""  # of a Unix socket; none without it
    mode: int = 0o600  # of that socket
    password: str = ""
    node_number: int = 1
    limits: Limits = msgspec.field(default_factory=Limits)
    store: StoreSettings = msgspec.field(default_factory=StoreSettings)


class Server:
    def __init__(self, options: Options, *, replicate: Replicate = nothing_waits) -> None:
        self._options = options
        store = Store(options.store, node_number=options.node_number, rng=random.Random())  # noqa: S311 for eviction
        limits = msgspec.structs.replace(options.limits, clients=possible(options.limits.clients))
        self.door = Door(store, limits=limits, password=options.password.encode(), replicate=replicate)
        self._connections: set[Connection] = set()
        self._servers: list[asyncio.Server] = []
        self._work: asyncio.Task[None] | None = None

    async def open(self) -> None:
        loop, options = asyncio.get_running_loop(), self._options

        def connected() -> Connection:
            return Connection(self.door, self._connections)

        try:
            self._servers.append(await loop.create_server(connected, options.host, options.port, backlog=511))
            self.door.port = self._servers[0].sockets[0].getsockname()[1]
            if options.path:
                self._servers.append(
                    await loop.create_unix_server(connected, sock=bound(options.path, options.mode), backlog=511)
                )
                self.door.path = options.path
        except OSError:
            await self.close()
            raise
        self._work = loop.create_task(self._run())

    async def close(self) -> None:
        if self._work is not None:
            self._work.cancel()
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.drop("ended")
        if self.door.path:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.door.path)
        self._servers.clear()
        if self._work is not None:
            await asyncio.gather(self._work, return_exceptions=True)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        look_at_s = loop.time()
        while True:
            await asyncio.sleep(EXPIRE_EVERY_S)
            while self.door.store.expire_some(self.door.tick(), EXPIRE_AT_ONCE) >= EXPIRE_AT_ONCE:  # noqa: ASYNC110
                await asyncio.sleep(0)
            if loop.time() >= look_at_s:
                look_at_s = loop.time() + LOOK_EVERY_S
                self._look(loop.time())

    def _look(self, now_s: float) -> None:
        unread = {connection: connection.look(now_s) for connection in list(self._connections)}
        left = sum(unread.values())
        for connection in sorted(unread, key=unread.__getitem__, reverse=True):
            if left <= self.door.limits.all_output_bytes:
                break
            left -= unread[connection]
            connection.drop("output_overflows")


async def serve(options: Options) -> None:
    server = Server(options)
    await server.open()
    try:
        await asyncio.Event().wait()
    finally:
        await server.close()


def main(options: Options) -> None:
    """The store's process, until it is told to end."""
    # What it starts with stays. Requests leave no circles, so looking for them after every 700 objects only costs.
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve(options))
    else:
        uvloop.run(serve(options))
