"""The store's door: who comes in there, and what has to be done from time to time."""

from __future__ import annotations

import asyncio
import gc
import random

import msgspec

from haagent.core.store.settings import StoreSettings
from haagent.core.store.store import Store
from haagent.sessions.listening import DoorOptions, Listening
from haagent.sessions.sockets import going_on, possible
from haagent.sessions.store.connection import Connection
from haagent.sessions.store.state import Door, Replicate, nothing_waits

EXPIRE_EVERY_S = 0.1
EXPIRE_AT_ONCE = 500  # keys, in one turn: about a millisecond
LOOK_EVERY_S = 1.0


class Options(DoorOptions, frozen=True, kw_only=True):
    node_number: int = 1
    store: StoreSettings = msgspec.field(default_factory=StoreSettings)


class Server:
    def __init__(self, options: Options, *, replicate: Replicate = nothing_waits) -> None:
        store = Store(options.store, node_number=options.node_number, rng=random.Random())  # noqa: S311 for eviction
        limits = msgspec.structs.replace(options.limits, clients=possible(options.limits.clients))
        self.door = Door(store, limits=limits, password=options.password.encode(), replicate=replicate)
        self._listening = Listening[Connection](options, self._come)
        self._work: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await self._listening.open()
        self.door.port, self.door.path = self._listening.port, self._listening.path
        self._work = going_on(self._run(), "what the store does from time to time")

    async def close(self) -> None:
        self._listening.close()
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)

    def _come(self) -> Connection:
        return Connection(self.door, self._listening.connections)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        look_at_s = loop.time()
        while True:
            await asyncio.sleep(EXPIRE_EVERY_S)
            while self.door.store.expire_some(self.door.tick(), EXPIRE_AT_ONCE) >= EXPIRE_AT_ONCE:  # noqa: ASYNC110
                await asyncio.sleep(0)
            if loop.time() >= look_at_s:
                look_at_s = loop.time() + LOOK_EVERY_S
                self._listening.look(loop.time())


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
