"""The links to all peers: who opens them, who may, and which one counts.

Of two nodes the one whose name comes first opens the connection, again and again until it stands, with a growing and
random pause; over each of its paths in turn. `redial` ends the pause. The other end only listens. A peer that links
itself anew replaces its former link: it knew before us that that one was over. Only who has lasted for a while is
dialled again at once, so two hosts of one name, which replace each other for ever, do so slowly.

Strangers. Whoever can send a packet can open connections, and each costs a handshake. At most `STRANGERS` wait to say
who they are; one more, and the one that has waited longest is put out, first of those that do not come from a peer's
address; of these at most `STRANGERS` are let in at each tick. A peer is through in milliseconds, so it is never the
one that waits longest.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from collections import Counter
from collections.abc import Callable

import msgspec

from haagent.peerlink.channel import Channel, tls
from haagent.peerlink.connection import Connection
from haagent.peerlink.messages import LAYOUT, Cause, Hello, Over, printable
from haagent.peerlink.settings import LinkSettings

STRANGERS = 32
CONNECT_TICKS = 4
FIRST_PAUSE, LAST_PAUSE = 0.1, 4.0  # ticks; each pause is up to half of it shorter, by chance
LASTED_TICKS = 10  # so long a link must have stood for the next to be opened at once


class Linked(msgspec.Struct, frozen=True):
    peer: str
    life: int  # of the process there: another one remembers nothing of what it was told
    release: str


class Unlinked(msgspec.Struct, frozen=True):
    peer: str
    why: str


class Received(msgspec.Struct, frozen=True):
    peer: str
    message: bytes


class HasRoom(msgspec.Struct, frozen=True):
    """A `send` was refused since the last one, for want of room, and there is some again."""

    peer: str


Event = Linked | Unlinked | Received | HasRoom


class LinkStatus(msgspec.Struct, frozen=True):
    peer: str
    is_linked: bool
    address: str
    why: str  # when it is not linked
    sent: int  # messages over the present link
    received: int


def _words(error: OSError) -> str:
    """asyncio puts words of its own around the kernel's."""
    return os.strerror(error.errno) if error.errno else str(error) or "no answer"


class PeerLink:
    def __init__(
        self, settings: LinkSettings, hear: Callable[[Event], None], *, chance: random.Random | None = None
    ) -> None:
        """`hear` is called in the loop, also from within `configure`."""
        self.counts: Counter[str] = Counter()  # connections that are over, by cause
        self.deaf: dict[str, str] = {}  # addresses that cannot be listened on, and why
        self._hear, self._chance = hear, chance or random.SystemRandom()
        self._settings, self._tls, self._hosts = settings, tls(settings.identity), settings.hosts()
        self._connections: dict[Connection, None] = {}  # with a socket still, in the order of their coming
        self._links: dict[str, Connection] = {}
        self._why: dict[str, str] = {}
        self._servers: dict[tuple[str, int], asyncio.Server] = {}
        self._dialling: dict[str, asyncio.Task[None]] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._let_in = 0

    async def run(self) -> None:
        """Until it is cancelled. What it raises is a bug."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                try:
                    while True:
                        await self._tick(tasks)
                        await asyncio.sleep(self._settings.tick_s)
                finally:
                    self._tasks = None  # nothing is dialled any more
        finally:
            for server in self._servers.values():
                server.close()
            self._servers.clear()
            for connection in tuple(self._connections):
                connection.end(Over(Cause.DISMISSED))
                connection.tick()

    async def _tick(self, tasks: asyncio.TaskGroup) -> None:
        await self._listen()
        self._dial_all(tasks)
        self._let_in = STRANGERS
        for connection in tuple(self._connections):
            connection.tick()

    def send(self, peer: str, message: bytes) -> bool:
        """False: there is no link to it, or no room; `Linked` or `HasRoom` will tell when to try again."""
        link = self._links.get(peer)
        return link is not None and link.send(message)

    def drop(self, peer: str, why: str, *, cause: Cause = Cause.GARBLED) -> None:
        """Its messages mean nothing to whoever gets them, or there is another reason. It may link itself anew."""
        if link := self._links.get(peer):
            link.end(Over(cause, why))

    def redial(self, peer: str) -> None:
        """It can be reached, for all that is known: neither pause before it is dialled, nor wait for an old attempt."""
        dialling = self._dialling.get(peer)
        is_reached = any(connection.channel.meant == peer for connection in self._connections)
        if dialling is None or is_reached or self._tasks is None:
            return
        dialling.cancel()
        self._dialling[peer] = self._tasks.create_task(self._dial(peer))

    def configure(self, settings: LinkSettings) -> None:
        """What goes on as before stays linked. Addresses and peers that are new are seen to at the next tick."""
        self._settings, self._tls, self._hosts = settings, tls(settings.identity), settings.hosts()
        for connection in tuple(self._connections):
            is_trusted = connection.channel.certificate in settings.identity.trusted
            if connection.is_stranger or not is_trusted or connection.name not in settings.peers:
                connection.end(Over(Cause.DISMISSED))
        for peer in set(self._dialling) - set(settings.peers):
            self._dialling.pop(peer).cancel()

    def status(self) -> list[LinkStatus]:
        found = []
        for peer in self._settings.peers:
            if link := self._links.get(peer):
                found.append(LinkStatus(peer, True, link.host, "", link.sent, link.received))
            else:
                found.append(LinkStatus(peer, False, "", self._why.get(peer, "not linked yet"), 0, 0))
        return found

    # ------------------------------------------------------------ listening and dialling

    async def _listen(self) -> None:
        """An address may come later than the agent: it is tried again at every tick."""
        wanted = {(address, self._settings.port) for address in self._settings.addresses}
        for place in set(self._servers) - wanted:
            self._servers.pop(place).close()
        for host in set(self.deaf) - set(self._settings.addresses):
            del self.deaf[host]
        loop = asyncio.get_running_loop()
        for host, port in wanted - set(self._servers):
            try:
                server = await loop.create_server(lambda: self._connection(""), host, port, backlog=STRANGERS)
            except OSError as error:
                self.deaf[host] = f"port {port}: {_words(error)}"
            else:
                self.deaf.pop(host, None)
                self._servers[host, port] = server

    def _dial_all(self, tasks: asyncio.TaskGroup) -> None:
        for peer in self._settings.peers:
            if self._settings.me < peer and peer not in self._dialling:
                self._dialling[peer] = tasks.create_task(self._dial(peer))

    async def _dial(self, peer: str) -> None:
        """Until it is cancelled, which is when it is a peer no more."""
        failed = 0
        for turn in itertools.count():
            lasted = await self._attempt(peer, turn)
            failed = 0 if lasted >= LASTED_TICKS else failed + 1
            pause = min(FIRST_PAUSE * 2 ** min(failed, 10), LAST_PAUSE) * self._chance.uniform(0.5, 1.0)
            await asyncio.sleep(pause * self._settings.tick_s)

    async def _attempt(self, peer: str, turn: int) -> int:
        """Returns after the connection, with how many ticks it was a link."""
        paths = self._settings.paths(peer)
        mine, theirs = paths[turn % len(paths)] if paths else ("", "")
        try:
            if not paths:
                raise OSError("no address of it is of the same family as this node's in the same place")
            async with asyncio.timeout(CONNECT_TICKS * self._settings.tick_s):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: self._connection(peer), theirs, self._settings.port, local_addr=(mine, 0)
                )
        except OSError as error:
            self.counts[Cause.UNREACHABLE] += 1
            self._why[peer] = f"{theirs or peer}: {_words(error)}"
            return 0
        await connection.gone.wait()
        return connection.linked_ticks

    def _connection(self, peer: str) -> Connection:
        """`peer`: whom it is opened to; empty: it was accepted."""
        settings = self._settings
        me = Hello(LAYOUT, settings.cluster, settings.me, peer, settings.life, settings.release)
        return Connection(self, Channel(self._tls, me=me, peers=frozenset(settings.peers)))

    # ------------------------------------------------------------ what connections tell

    def met(self, connection: Connection) -> None:
        self._connections[connection] = None
        if connection.channel.meant:
            return
        if connection.host not in self._hosts:
            self._let_in -= 1
            if self._let_in < 0:
                connection.end(Over(Cause.CROWD))
                return
        strangers = [each for each in self._connections if each.is_stranger]
        if len(strangers) > STRANGERS:
            victim = next((each for each in strangers if each.host not in self._hosts), strangers[0])
            victim.end(Over(Cause.CROWD))

    def linked(self, connection: Connection, hello: Hello) -> None:
        if former := self._links.get(hello.node):
            former.end(Over(Cause.REPLACED))
        self._links[hello.node] = connection
        self._why.pop(hello.node, None)
        self._hear(Linked(hello.node, hello.life, printable(hello.release)))

    def received(self, connection: Connection, message: bytes) -> None:
        self._hear(Received(connection.name, message))

    def has_room(self, connection: Connection) -> None:
        self._hear(HasRoom(connection.name))

    def ended(self, connection: Connection, over: Over) -> None:
        self.counts[over.cause] += 1
        name = connection.name or self._hosts.get(connection.host, "")
        if connection.channel.peer is None or self._links.get(name) is connection:
            self._why[name] = str(over)
        if self._links.get(name) is connection:
            del self._links[name]
            self._hear(Unlinked(name, str(over)))

    def left(self, connection: Connection) -> None:
        self._connections.pop(connection, None)
