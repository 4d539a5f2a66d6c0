"""Clients of the relay that ask for much, are slow, or go: they get what they asked for, and memory has an end."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from haagent.sessions.relay.server import Relay
from haagent.sessions.relay.settings import RelaySettings
from haagent.sessions.store.state import MEBIBYTE
from tests.support.door import PATIENCE_S, SMALL, Memory, Talk, connect, packed, until
from tests.support.redis_stage import Server, relay, stage


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
    memory = Memory()
    value = b"x" * (MEBIBYTE // 2)
    with connect(door.port) as client:
        client.settimeout(PATIENCE_S)
        for _ in range(200):
            client.sendall(packed("SET", "k", value))
        got = b""
        while len(got) < 200 * 5:
            got += client.recv(65536)
    assert got == b"+OK\r\n" * 200
    assert memory.grown() < 64 * MEBIBYTE


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
