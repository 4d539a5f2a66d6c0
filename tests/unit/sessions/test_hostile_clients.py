"""Clients of either door that mean harm: they lose their connection, nobody else notices, and memory has an end."""

from __future__ import annotations

import random
import socket
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from haagent.sessions.relay.server import Relay
from haagent.sessions.store.server import Server
from haagent.sessions.store.state import MEBIBYTE
from tests.support import redis_stage
from tests.support.door import PATIENCE_S, SMALL, Memory, Talk, connect, door, is_closed, packed, until


class Either:
    """What the tests look at, of the store's door or of the relay's."""

    def __init__(self, server: Server | Relay) -> None:
        self._server = server
        self.port = server.door.port if isinstance(server, Server) else server.port

    @property
    def counts(self) -> Counter[str]:
        return self._server.door.counts if isinstance(self._server, Server) else self._server.source.counts

    @property
    def query_bytes(self) -> int:
        return self._server.door.query_bytes if isinstance(self._server, Server) else self._server.query_bytes

    @property
    def clients(self) -> int:
        return len(self._server.door.clients if isinstance(self._server, Server) else self._server.connections)


@pytest.fixture(scope="module")
def redis() -> Iterator[redis_stage.Server]:
    with redis_stage.stage() as made:
        yield made.server()


@pytest.fixture(params=["store", "relay"])
def either(request: pytest.FixtureRequest) -> Iterator[Either]:
    if request.param == "store":
        opened = door(limits=SMALL)
    else:
        opened = redis_stage.relay(request.getfixturevalue("redis"), limits=SMALL)
    with opened as server:
        made = Either(server)
        yield made
        with Talk(made.port) as talk:
            assert talk.ask("PING") == b"+PONG\r\n"
        assert not made.counts["faults"]
        assert not made.counts["strange_replies"]


def test_rubbish_ends_its_own_connection_only(either: Either) -> None:
    rng = random.Random(7)
    pieces = [b"*", b"$", b"\r\n", b"1", b"3", b"-1", b"GET", b"SET", b"a", b"\0", b'"', b"'", b"\xff", b"9" * 30, b":"]
    for _ in range(300):
        with connect(either.port) as client:
            client.sendall(b"".join(rng.choice([*pieces, rng.randbytes(rng.randrange(40))]) for _ in range(40)))
            client.shutdown(socket.SHUT_WR)
            assert is_closed(client)
    until(lambda: not either.clients)


def test_unfinished_commands_take_little_memory(either: Either) -> None:
    clients = [connect(either.port) for _ in range(15)]
    for client in clients:
        client.sendall(b"*2\r\n$3\r\nGET\r\n$1000000\r\n")
    for client in clients:
        try:
            client.sendall(b"x" * 900_000)
        except ConnectionError:
            pass  # it was let go meanwhile
    until(lambda: either.counts["query_overflows"] >= 10)
    until(lambda: either.query_bytes <= SMALL.all_query_bytes)  # as soon as those are gone
    for client in clients:
        client.close()
    until(lambda: not either.query_bytes)


def test_a_command_that_is_too_large_is_refused_at_its_announcement(either: Either) -> None:
    with Talk(either.port) as talk:
        talk.socket.sendall(b"*2\r\n$3\r\nGET\r\n$2000000\r\n")
        assert talk.rest() == b"-ERR Protocol error: invalid bulk length\r\n"


def test_half_a_command_and_then_nothing(either: Either) -> None:
    for part in (b"*", b"*1\r\n$4\r\nPI", b"GET", packed("MULTI") + b"*2\r\n"):
        with connect(either.port) as client:
            client.sendall(part)
            client.shutdown(socket.SHUT_WR)
            assert is_closed(client)
    until(lambda: not either.clients)


def test_clients_that_are_too_many_are_told(either: Either) -> None:
    talks = [Talk(either.port) for _ in range(SMALL.clients)]
    assert {talk.ask("PING") for talk in talks} == {b"+PONG\r\n"}
    with Talk(either.port) as late:
        assert late.rest() == b"-ERR max number of clients reached\r\n"
    assert either.counts["refused_clients"] == 1
    for talk in talks:
        talk.close()
    until(lambda: not either.clients)


def test_a_client_that_does_not_read_is_let_go(either: Either, measured: Callable[[str, str], None]) -> None:
    with Talk(either.port) as talk:
        assert talk.ask("SET", "k", "v" * (MEBIBYTE // 2)) == b"+OK\r\n"
    memory = Memory()
    with connect(either.port) as client:
        client.settimeout(PATIENCE_S)
        client.sendall(packed("GET", "k") * 5000)  # two gigabytes of replies
        until(lambda: either.counts["slow_readers"] + either.counts["output_overflows"])
    grown = memory.grown()
    measured("memory grew by", f"{grown // MEBIBYTE} MiB")
    assert grown < 64 * MEBIBYTE
    until(lambda: not either.clients)
