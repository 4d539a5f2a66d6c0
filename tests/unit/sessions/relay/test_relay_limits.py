"""Clients of the relay that mean harm, are slow, or go: nobody else notices, and memory has an end."""

from __future__ import annotations

import random
import resource
import socket
from collections.abc import Callable, Iterator

import pytest

from haagent.sessions.relay.server import Relay
from haagent.sessions.relay.settings import RelaySettings
from haagent.sessions.store.state import MEBIBYTE, Limits
from tests.support.door import PATIENCE_S, Talk, connect, packed
from tests.support.redis_stage import Server, relay, stage, until

SMALL = Limits(
    clients=20,
    query_bytes=MEBIBYTE,
    all_query_bytes=4 * MEBIBYTE,
    output_bytes=4 * MEBIBYTE,
    all_output_bytes=16 * MEBIBYTE,
    output_s=1.0,
)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with stage() as made:
        yield made.server()


@pytest.fixture
def door(server: Server) -> Iterator[Relay]:
    with relay(server, limits=SMALL) as made:
        yield made
        with Talk(made.port) as talk:
            assert talk.ask("PING") == b"+PONG\r\n"
        assert not made.source.counts["faults"]
        assert not made.source.counts["strange_replies"]


def ends(client: socket.socket) -> bool:
    """Whatever comes first is read."""
    try:
        while client.recv(65536):
            pass
    except ConnectionError:
        pass
    return True


def resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_rubbish_ends_its_own_connection_only(door: Relay) -> None:
    rng = random.Random(7)
    pieces = [b"*", b"$", b"\r\n", b"1", b"3", b"-1", b"GET", b"SET", b"a", b"\0", b'"', b"'", b"\xff", b"9" * 30, b":"]
    for _ in range(200):
        with connect(door.port) as client:
            client.sendall(b"".join(rng.choice([*pieces, rng.randbytes(rng.randrange(40))]) for _ in range(40)))
            client.shutdown(socket.SHUT_WR)
            assert ends(client)
    until(lambda: not door.connections)


def test_unfinished_commands_take_little_memory(door: Relay) -> None:
    clients = [connect(door.port) for _ in range(15)]
    for client in clients:
        client.sendall(b"*2\r\n$3\r\nGET\r\n$1000000\r\n")
    for client in clients:
        try:
            client.sendall(b"x" * 900_000)
        except ConnectionError:
            pass  # it was let go meanwhile
    until(lambda: door.source.counts["query_overflows"] >= 10)
    until(lambda: door.query_bytes <= SMALL.all_query_bytes)
    for client in clients:
        client.close()
    until(lambda: not door.query_bytes)


def test_a_command_that_is_too_large_is_refused_at_its_announcement(door: Relay) -> None:
    with Talk(door.port) as talk:
        talk.socket.sendall(b"*2\r\n$3\r\nGET\r\n$2000000\r\n")
        assert talk.rest() == b"-ERR Protocol error: invalid bulk length\r\n"


def test_a_client_too_many_is_told_so(door: Relay) -> None:
    clients = [Talk(door.port) for _ in range(20)]
    assert [client.ask("PING") for client in clients] == [b"+PONG\r\n"] * 20
    with Talk(door.port) as one_more:
        assert one_more.rest() == b"-ERR max number of clients reached\r\n"
    for client in clients:
        client.close()
    until(lambda: not door.connections)


def test_who_does_not_read_is_let_go_and_takes_little_memory(
    server: Server, door: Relay, measured: Callable[[str, str], None]
) -> None:
    server.ask("SET", "k", "v" * (MEBIBYTE // 2))
    before = resident()
    with connect(door.port) as client:
        client.settimeout(PATIENCE_S)
        client.sendall(packed("GET", "k") * 3000)  # of 1.5 GB nothing is read
        until(lambda: door.source.counts["slow_readers"])
    grown = resident() - before
    measured("memory grew by", f"{grown // MEBIBYTE} MiB")
    assert grown < 64 * MEBIBYTE
    until(lambda: not door.connections)


def test_replies_that_wait_for_replicas_have_an_end_for_all_clients_together(server: Server) -> None:
    """Each client may have as much; all of them may not."""
    settings = RelaySettings(host="127.0.0.1", port=server.port, sync_timeout_s=PATIENCE_S)
    with relay(settings, limits=SMALL) as made:
        clients = [connect(made.port) for _ in range(10)]
        for number, client in enumerate(clients):
            server.ask("SET", f"much{number}", "v" * (3 * MEBIBYTE))
            client.sendall(packed("GETDEL", f"much{number}"))
        until(lambda: made.source.counts["output_overflows"] == 5)
        until(lambda: len(made.connections) == 5)
        for client in clients:
            client.close()
        until(lambda: not made.connections)


def test_who_reads_slowly_gets_everything(server: Server, door: Relay) -> None:
    value = random.Random(3).randbytes(MEBIBYTE // 2)
    server.ask("SET", "k", value)
    reply = b"$%d\r\n%b\r\n" % (len(value), value)
    with connect(door.port) as client:
        client.settimeout(PATIENCE_S)
        client.sendall(packed("GET", "k") * 20)
        got = bytearray()
        while len(got) < 20 * len(reply):
            got += client.recv(16384)
        assert got == reply * 20


def test_many_large_changes_at_once_are_taken_in_piece_by_piece(server: Server, door: Relay) -> None:
    before = resident()
    value = b"x" * (MEBIBYTE // 2)
    with connect(door.port) as client:
        client.settimeout(PATIENCE_S)
        for _ in range(200):
            client.sendall(packed("SET", "k", value))
        got = b""
        while len(got) < 200 * 5:
            got += client.recv(65536)
    assert got == b"+OK\r\n" * 200
    assert resident() - before < 64 * MEBIBYTE


def test_a_client_that_goes_leaves_nothing(server: Server, door: Relay) -> None:
    def clients() -> int:
        told = server.ask("CLIENT", "LIST", "TYPE", "normal")
        assert isinstance(told, bytes)
        return told.count(b"\n") + told.count(b"\r")

    before = clients()
    for said in (packed("BLPOP", "none", "0"), packed("SET", "gone", "1"), packed("MULTI"), b"*2\r\n$3\r\nGET\r\n"):
        with connect(door.port) as client:
            client.sendall(packed("PING"))
            assert client.recv(100) == b"+PONG\r\n"
            client.sendall(said)
    until(lambda: not door.connections and clients() == before)
    until(lambda: server.ask("GET", "gone") == b"1")
