"""Real links between made-up nodes, on loopback addresses of this process alone; and channels without sockets."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec

from haagent.peerlink import Identity, Linked, LinkSettings, PeerLink, Received, Unlinked
from haagent.peerlink.channel import Channel, tls
from haagent.peerlink.identity import derive
from haagent.peerlink.link import Event
from haagent.peerlink.messages import LAYOUT, Hello
from tests.support.ports import free_port

KEY, NEXT_KEY, STRANGE_KEY = bytes(range(32)), bytes(range(1, 33)), bytes(range(2, 34))
NODES = "ABC"
OURS, STRANGE = derive((KEY,), cluster="shop"), derive((STRANGE_KEY,), cluster="shop")
PATIENCE_S = 30.0
_NET = f"127.{64 + os.getpid() % 64}.{os.getpid() // 64 % 256}"


def address(node: str) -> str:
    return f"{_NET}.{1 + NODES.index(node)}"


STRANGER_ADDRESS = f"{_NET}.99"


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.002)


class Node:
    """One end: a link and what it has told."""

    def __init__(self, settings: LinkSettings) -> None:
        self.settings = settings
        self.events: list[Event] = []
        self.link = PeerLink(settings, self._hear, chance=random.Random(1))
        self.is_deaf = False
        self._task: asyncio.Task[None] | None = None

    def _hear(self, event: Event) -> None:
        self.events.append(event)

    def start(self) -> None:
        self._task = asyncio.create_task(self.link.run())

    async def stop(self) -> None:
        if self._task is None:
            return
        task, self._task = self._task, None
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass

    def links(self) -> set[str]:
        return {status.peer for status in self.link.status() if status.is_linked}

    def why(self, peer: str) -> str:
        return next(status.why for status in self.link.status() if status.peer == peer)

    def heard(self, peer: str) -> list[bytes]:
        return [event.message for event in self.events if isinstance(event, Received) and event.peer == peer]

    def story(self) -> list[str]:
        return [f"{type(event).__name__} {event.peer}" for event in self.events if isinstance(event, Linked | Unlinked)]

    def configure(self, **changes: object) -> None:
        self.settings = msgspec.structs.replace(self.settings, **changes)
        self.link.configure(self.settings)


@asynccontextmanager
async def nodes(names: str, **changes: object) -> AsyncIterator[list[Node]]:
    """Running, with a tick of 30 ms."""
    port = free_port(f"{_NET}.1")
    made = [Node(msgspec.structs.replace(settings(name, names, port=port), **changes)) for name in names]
    try:
        for node in made:
            node.start()
        yield made
    finally:
        for node in made:
            await node.stop()


def settings(me: str, names: str, *, port: int, identity: Identity = OURS, life: int = 7) -> LinkSettings:
    return LinkSettings(
        cluster="shop",
        me=me,
        life=life,
        release="0.1.0",
        addresses=(address(me),),
        peers={name: (address(name),) for name in names if name != me},
        port=port,
        identity=identity,
        tick_s=0.03,
    )


# ---------------------------------------------------------------------- without sockets

TLS, STRANGE_TLS = tls(OURS), tls(STRANGE)


def hello(node: str, to: str, **changes: object) -> Hello:
    return msgspec.structs.replace(Hello(LAYOUT, "shop", node, to, 7, "0.1.0"), **changes)


def opening(me: str = "A", to: str = "B", *, identity: Identity | None = None, **changes: object) -> Channel:
    channel = Channel(tls(identity) if identity else TLS, me=hello(me, to, **changes), peers=frozenset(NODES) - {me})
    channel.start()
    return channel


def accepting(me: str = "B", *, identity: Identity | None = None, **changes: object) -> Channel:
    return Channel(tls(identity) if identity else TLS, me=hello(me, "", **changes), peers=frozenset(NODES) - {me})


def talk(one: Channel, other: Channel, *, bit: int = 1 << 20) -> tuple[list[object], list[object]]:
    """Carries what they have to say, `bit` bytes at a time, until both are silent. What each has told; or raises."""
    told: tuple[list[object], list[object]] = ([], [])
    carried = True
    while carried:
        carried = False
        for source, sink, ears in ((one, other, told[1]), (other, one, told[0])):
            data = source.outgoing()
            carried = carried or bool(data)
            for at in range(0, len(data), bit):
                ears.extend(sink.receive(data[at : at + bit]))
    return told
