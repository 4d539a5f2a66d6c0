"""What the store does not do for a client, however it is asked: what would be too much, too slow, or not for it."""

from __future__ import annotations

import asyncio
import random

import pytest

from haagent.core.store.settings import StoreSettings
from haagent.sessions.store.commands import pubsub
from haagent.sessions.store.commands.server import every_command
from haagent.sessions.store.server import Options, Server
from haagent.sessions.store.state import MEBIBYTE
from tests.support.door import SMALL, Memory, Talk, door, packed, until


def still_serves(server: Server) -> None:
    with Talk(server.door.port) as talk:
        assert talk.ask("PING") == b"+PONG\r\n"
    assert not server.door.counts["faults"]


def test_commands_of_any_size_and_shape() -> None:
    """Every command, with what none of them expects."""
    rng = random.Random(11)
    values = [
        b"",
        b"\0" * 100,
        b"\xff\xfe",
        b"9" * 400,
        b"-" * 50,
        b"*" * 50,
        b"[" * 50,
        b"x" * 70_000,
        b"\r\n" * 20,
        b"0",
    ]
    with door(limits=SMALL) as server, Talk(server.door.port) as talk:
        for each in every_command():
            if each.name in ("quit", "subscribe", "psubscribe", "unsubscribe", "punsubscribe", "client|kill"):
                continue
            if each.name in ("client|reply", "reset", "hello"):
                continue
            for _ in range(15):
                args = [rng.choice(values) for _ in range(rng.randrange(6))]
                talk.ask(*each.name.split("|"), *args)
            talk.ask("RESET")
        still_serves(server)


def test_a_reply_that_is_too_large_is_not_made() -> None:
    with door(limits=SMALL) as server:
        with Talk(server.door.port) as talk:
            assert talk.ask("SET", "k", "v" * (MEBIBYTE // 2)) == b"+OK\r\n"
            memory = Memory()
            assert talk.ask("MGET", *["k"] * 1000).startswith(b"-ERR the reply is longer than")
            assert talk.ask("PING") == b"+PONG\r\n"
        assert server.door.counts["output_overflows"] == 1
        assert memory.grown() < 64 * MEBIBYTE
        still_serves(server)


def test_a_hearer_that_does_not_read_is_let_go() -> None:
    with door(limits=SMALL) as server, Talk(server.door.port) as talk, Talk(server.door.port) as hearer:
        hearer.ask("SUBSCRIBE", "c")
        while talk.ask("PUBLISH", "c", "m" * 100_000) == b":1\r\n":
            pass
        until(lambda: server.door.counts["slow_readers"] + server.door.counts["output_overflows"])
        still_serves(server)


def test_a_transaction_has_an_end() -> None:
    with door(limits=SMALL) as server, Talk(server.door.port) as talk:
        talk.ask("MULTI")
        for _ in range(20):
            talk.ask("SET", "k", "v" * 100_000)
        assert talk.ask("EXEC").startswith(b"-EXECABORT")
        assert talk.ask("GET", "k") == b"$-1\r\n"


def test_a_slow_command_lets_others_have_their_turn() -> None:
    """All in one loop: who has a turn between two slices is asyncio's order, and not that of the kernel's threads."""

    async def tried() -> int:
        server = Server(Options(port=0))
        await server.open()
        slow, to_slow = await asyncio.open_connection("127.0.0.1", server.door.port)
        quick, to_quick = await asyncio.open_connection("127.0.0.1", server.door.port)
        to_slow.write(packed("MSET", *(text for each in range(60_000) for text in (f"k{each}", "v"))))
        assert await slow.readline() == b"+OK\r\n"
        to_slow.write(packed("KEYS", "*") + packed("PING"))
        answer = asyncio.ensure_future(slow.readline())
        answered = 0
        while not answer.done():
            to_quick.write(packed("PING"))
            assert await quick.readline() == b"+PONG\r\n"
            answered += 1
        assert await answer == b"*60000\r\n"
        for _ in range(2 * 60_000):  # length and name of each
            await slow.readline()
        assert await slow.readline() == b"+PONG\r\n"
        for writer in (to_slow, to_quick):
            writer.close()
        await server.close()
        return answered

    assert asyncio.run(tried()) > 6, "a store that does not yield answers when it is done"


def test_a_browser_is_not_served() -> None:
    with door() as server, Talk(server.door.port) as talk:
        talk.socket.sendall(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nFLUSHALL\r\n")
        assert talk.rest() == b""
        still_serves(server)


def test_unknown_commands_are_counted_by_name_and_not_without_end() -> None:
    with door() as server, Talk(server.door.port) as talk:
        for number in range(500):
            talk.ask(f"nosuch{number}")
        talk.ask("No Such\n")
        unknown = server.door.unknown
        assert (unknown[b"nosuch0"], unknown[b"others"] > 300) == (1, True)
        assert len(unknown) < 210
        assert b"unknown_nosuch0:1\r\n" in talk.ask("INFO", "haagent")


def test_memory_has_an_end() -> None:
    with door(store=StoreSettings(max_memory=MEBIBYTE)) as server, Talk(server.door.port) as talk:
        answers = [talk.ask("SET", f"k{each}", "v" * 10_000) for each in range(200)]
        assert answers[0] == b"+OK\r\n"
        assert answers[-1] == b"-OOM command not allowed when used memory > 'maxmemory'.\r\n"
        assert talk.ask("DEL", *(f"k{each}" for each in range(100))).startswith(b":")
        assert talk.ask("SET", "k", "v") == b"+OK\r\n"
        talk.ask("MULTI")
        assert talk.ask("GET", "k") == b"+QUEUED\r\n"
        assert talk.ask("EXEC") == b"*1\r\n$1\r\nv\r\n"


@pytest.mark.parametrize("resp", [2, 3])
def test_a_password(resp: int) -> None:
    with door(password="secret") as server:
        with Talk(server.door.port) as talk:
            assert talk.ask("GET", "a") == b"-NOAUTH Authentication required.\r\n"
            assert talk.ask("HELLO", "3").startswith(b"-NOAUTH HELLO must be called")
            assert talk.ask("AUTH", "wrong").startswith(b"-WRONGPASS")
            assert talk.ask("AUTH", "nobody", "secret").startswith(b"-WRONGPASS")
            talk.socket.sendall(packed("AUTH", "secret") + packed("SET", "a", "v" * 50_000) + packed("GET", "a"))
            assert [talk.reply(), talk.reply()] == [b"+OK\r\n", b"+OK\r\n"]
            assert len(talk.reply()) > 50_000
            assert talk.ask("RESET") == b"+RESET\r\n"
            assert talk.ask("GET", "a") == b"-NOAUTH Authentication required.\r\n"
            assert talk.ask("HELLO", str(resp), "AUTH", "default", "secret")[:1] == {2: b"*", 3: b"%"}[resp]
        with Talk(server.door.port) as talk:
            talk.socket.sendall(packed("SET", "a", "v" * 50_000))
            assert talk.rest() == b"-ERR Protocol error: unauthenticated bulk length\r\n"


def test_a_client_hears_so_many_channels_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    most = 100
    monkeypatch.setattr(pubsub, "MOST", most)
    with door() as server, Talk(server.door.port) as talk:
        talk.socket.sendall(packed("SUBSCRIBE", *(f"c{each}" for each in range(most))))
        for _ in range(most):
            talk.reply()
        for command in ("SUBSCRIBE", "PSUBSCRIBE"):
            for each in range(3):
                assert talk.ask(command, f"more{each}") == b"-ERR too many channels and patterns\r\n"
        assert talk.ask("SUBSCRIBE", "c0") == b"*3\r\n$9\r\nsubscribe\r\n$2\r\nc0\r\n:%d\r\n" % most
        assert (len(server.door.channels), len(server.door.patterns)) == (most, 0)


def test_of_a_row_of_channels_all_are_heard_or_none() -> None:
    with door() as server, Talk(server.door.port) as talk:
        assert talk.ask("SUBSCRIBE", "c", "x" * (pubsub.LONGEST + 1)) == b"-ERR the name is too long\r\n"
        assert list(server.door.channels) == []
        assert talk.ask("GET", "a") == b"$-1\r\n"
