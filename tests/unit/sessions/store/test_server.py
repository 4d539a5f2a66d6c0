"""The door as its owner sees it: sockets, what is handed to replication, and replies that wait for it."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

from haagent.core.store.effects import Effect, Put, Remove
from haagent.core.store.settings import StoreSettings
from haagent.sessions.store.server import Options, Server
from haagent.sessions.store.state import Ticket
from tests.support.door import Talk, door, packed


def test_a_unix_socket_too(tmp_path: Path) -> None:
    path = str(tmp_path / "store.socket")
    for _ in range(2):  # also where a former life has left one
        with door(path=path) as server, Talk(path) as there, Talk(server.door.port) as here:
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
            there.ask("SET", "a", "1")
            assert here.ask("GET", "a") == b"$1\r\n1\r\n"
        assert not os.path.exists(path)
        Path(path).touch()


def test_the_settings_are_told() -> None:
    with door() as server, Talk(server.door.port) as talk:
        assert talk.ask("CONFIG", "GET", "port") == b"*2\r\n$4\r\nport\r\n$5\r\n%d\r\n" % server.door.port


class Peers:
    """Replication that says yes when the test does."""

    def __init__(self) -> None:
        self.effects: list[Effect] = []
        self.tickets: list[Ticket] = []

    def __call__(self, effects: list[Effect]) -> Ticket:
        self.effects += effects
        self.tickets.append(asyncio.get_running_loop().create_future())
        return self.tickets[-1]


async def _asked(reader: asyncio.StreamReader, count: int) -> list[bytes]:
    return [await reader.readline() for _ in range(count)]


async def _with_peers(peers: Peers) -> None:
    server = Server(Options(port=0), replicate=peers)
    await server.open()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.door.port)
        other_reader, other = await asyncio.open_connection("127.0.0.1", server.door.port)
        writer.write(packed("SET", "a", "1") + packed("STRLEN", "a") + packed("DEL", "a") + packed("PING"))
        while len(peers.tickets) < 2:
            await asyncio.sleep(0)
        other.write(packed("PING") + packed("EXISTS", "a"))
        assert await _asked(other_reader, 2) == [b"+PONG\r\n", b":0\r\n"]  # nobody else waits
        peers.tickets[1].set_result(None)
        other.write(packed("PING"))
        assert await _asked(other_reader, 1) == [b"+PONG\r\n"]
        assert not reader._buffer  # type: ignore[attr-defined] # the first one has not been confirmed
        peers.tickets[0].set_result(b"-NOREPLICAS Not enough good replicas to write.\r\n")
        expected = [b"-NOREPLICAS Not enough good replicas to write.\r\n", b":1\r\n", b":1\r\n", b"+PONG\r\n"]
        assert await _asked(reader, 4) == expected
        writer.write(packed("MULTI") + packed("SET", "b", "1") + packed("SET", "c", "1") + packed("EXEC"))
        while len(peers.tickets) < 3:
            await asyncio.sleep(0)
        peers.tickets[2].set_result(None)
        assert await _asked(reader, 6) == [
            b"+OK\r\n",
            b"+QUEUED\r\n",
            b"+QUEUED\r\n",
            b"*2\r\n",
            b"+OK\r\n",
            b"+OK\r\n",
        ]
        writer.write(packed("SET", "d", "1") + packed("QUIT"))
        while len(peers.tickets) < 4:
            await asyncio.sleep(0)
        peers.tickets[3].set_result(None)
        assert await reader.read() == b"+OK\r\n+OK\r\n"
        for each in (writer, other):
            each.close()
    finally:
        await server.close()


def test_replies_wait_in_order_for_what_replication_says() -> None:
    peers = Peers()
    asyncio.run(_with_peers(peers))
    kinds = [type(effect) for effect in peers.effects]
    assert kinds[:2] == [Put, Remove]
    assert [effect.key for effect in peers.effects if isinstance(effect, Put)] == [b"a", b"b", b"c", b"d"]


def test_of_several_keys_all_are_set_or_none() -> None:
    with door() as server, Talk(server.door.port) as talk:
        long = "k" * (server.door.store.settings.max_key_bytes + 1)
        for command in ("MSET", "MSETNX"):
            assert talk.ask(command, "a", "1", long, "2").startswith(b"-ERR")
            assert talk.ask("EXISTS", "a") == b":0\r\n"


def test_what_is_configured_is_told_as_it_is() -> None:
    settings = StoreSettings(eviction="allkeys-lru", max_memory=1 << 20)
    with door(store=settings) as server, Talk(server.door.port) as talk:
        assert talk.ask("CONFIG", "GET", "maxmemory-policy").endswith(b"allkeys-lru\r\n")
        assert talk.ask("CONFIG", "SET", "maxmemory-policy", "noeviction").startswith(b"-ERR CONFIG SET failed")
