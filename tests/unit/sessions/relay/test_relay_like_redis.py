"""Through the relay and without it: the same bytes come back."""

from __future__ import annotations

import random
import shlex
from collections.abc import Iterator

import pytest

from haagent.sessions.relay.server import Relay
from haagent.sessions.relay.settings import RelaySettings
from tests.support.door import Talk, packed, read
from tests.support.redis_stage import Server, relay, stage
from tests.unit.sessions.store.test_like_redis import SCRIPTS, START, STORIES, alike, asked_at_random, some_arguments


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Server, Server]]:
    """One that is asked directly, and one behind the relay; it has a replica, and each change is waited for."""
    with stage() as made:
        direct, behind = made.server(), made.server()
        made.replica(behind)
        yield direct, behind


@pytest.fixture(scope="module")
def door(servers: tuple[Server, Server]) -> Iterator[Relay]:
    with relay(RelaySettings(host="127.0.0.1", port=servers[1].port, sync_timeout_s=30.0, is_strict=True)) as made:
        yield made
        assert not made.source.counts["faults"]
        assert not made.source.counts["reconnects"]
        assert made.source.counts["waits"]


ITS_OWN = {"role"}  # only one of them has a replica


@pytest.mark.parametrize("resp", [2, 3])
def test_each_command_with_good_and_bad_arguments(servers: tuple[Server, Server], door: Relay, resp: int) -> None:
    rng = random.Random(resp)
    with Talk(servers[0].port, resp=resp) as theirs, Talk(door.port, resp=resp) as mine:
        for name in sorted(set(asked_at_random()) - ITS_OWN):
            for line in ["RESET", f"HELLO {resp}", "FLUSHALL", *START]:
                for talk in (theirs, mine):
                    talk.ask(*line.split())
            for _ in range(15):
                args = some_arguments(rng, name)
                answers = mine.ask(*args), theirs.ask(*args)
                assert alike(name, *answers), f"RESP{resp}: {shlex.join(args)}: {answers}"


@pytest.mark.parametrize("resp", [2, 3])
@pytest.mark.parametrize("title", STORIES)
def test_stories(servers: tuple[Server, Server], door: Relay, title: str, resp: int) -> None:
    with Talk(servers[0].port, resp=resp) as theirs, Talk(door.port, resp=resp) as mine:
        for talk in (theirs, mine):
            talk.ask("FLUSHALL")
        for line in STORIES[title].split("|"):
            args = shlex.split(line)
            expected = theirs.ask(*args)
            if args[0] == "HELLO" and expected[:1] != b"-":
                assert mine.ask(*args)[:1] == expected[:1]
            else:
                assert mine.ask(*args) == expected, line
            for _ in args[2:] if args[0].lower() in ("subscribe",) else ():
                expected = theirs.reply()
                assert mine.reply() == expected, line


@pytest.mark.parametrize("title", SCRIPTS)
def test_scripts(servers: tuple[Server, Server], door: Relay, title: str) -> None:
    source, runs = SCRIPTS[title]
    with Talk(servers[0].port) as theirs, Talk(door.port) as mine:
        for line in ["FLUSHALL", "SCRIPT FLUSH", *START]:
            for talk in (theirs, mine):
                talk.ask(*line.split())
        for run in runs:
            line_ = ["EVAL", source, "1", *run]
            assert mine.ask(*line_) == theirs.ask(*line_), line_


@pytest.mark.parametrize("size", [1, 7, 100, 100_000])
def test_many_at_once_are_answered_in_order(servers: tuple[Server, Server], door: Relay, size: int) -> None:
    rng = random.Random(size)
    lines = [
        rng.choice(["SET a {}", "GET a", "INCR n", "MGET a n x", "DEL a", "APPEND b {}", "GET b", "HSET h {} 1", "NO"])
        for _ in range(400)
    ]
    said = b"".join(packed(*line.format(at).split()) for at, line in enumerate(lines))
    with Talk(servers[0].port) as theirs, Talk(door.port) as mine:
        answers: list[list[bytes]] = []
        for talk in (theirs, mine):
            talk.ask("FLUSHALL")
            for at in range(0, len(said), size):
                talk.socket.sendall(said[at : at + size])
            answers.append([talk.reply() for _ in lines])
        assert answers[0] == answers[1]


def test_inline_commands_and_rubbish(servers: tuple[Server, Server], door: Relay) -> None:
    for said in (b"PING\r\nECHO 'a b'\r\n", b"PING\r\n*x\r\n", b"*1\r\n$4\r\nPING\r\n*1\r\n:1\r\n", b"*0\r\nQUIT\r\n"):
        heard = []
        for port in (servers[0].port, door.port):
            with Talk(port) as talk:
                talk.socket.sendall(said + b"QUIT\r\n")
                heard.append(talk.rest())
        assert heard[0] == heard[1]


def test_a_large_value_passes(door: Relay) -> None:
    value = random.Random(1).randbytes(12 * 1024 * 1024)
    with Talk(door.port) as talk:
        assert talk.ask("SET", "large", value) == b"+OK\r\n"
        talk.socket.sendall(packed("GET", "large") + packed("GETDEL", "large") + packed("EXISTS", "large"))
        expected = b"$%d\r\n%b\r\n" % (len(value), value)
        said = b"".join(iter_exactly(talk, 2 * len(expected) + 4))
        assert said == expected * 2 + b":0\r\n"


def iter_exactly(talk: Talk, size: int) -> Iterator[bytes]:
    while size:
        piece = talk.socket.recv(min(size, 1 << 20))
        assert piece
        size -= len(piece)
        yield piece


@pytest.mark.parametrize("resp", [2, 3])
def test_messages_come_between_replies(servers: tuple[Server, Server], door: Relay, resp: int) -> None:
    heard = []
    for port in (servers[0].port, door.port):
        with Talk(port, resp=resp) as talk, Talk(port) as other:
            said = [talk.ask("SUBSCRIBE", "a", "b"), talk.reply(), talk.ask("PSUBSCRIBE", "a*")]
            assert other.ask("PUBLISH", "a", "x" * 100) == b":2\r\n"
            said += [talk.reply(), talk.reply(), talk.ask("PING")]
            if resp == 3:
                said.append(talk.ask("SET", "s", "1"))
            said += [
                talk.ask("UNSUBSCRIBE", "b", "a"),
                talk.reply(),
                talk.ask("PUNSUBSCRIBE"),
                talk.ask("SET", "s", "1"),
            ]
            said += [talk.ask("GET", "s"), talk.ask("UNSUBSCRIBE")]
            heard.append(said)
    assert heard[0] == heard[1]


def test_what_changes_the_nature_of_a_connection_is_refused(door: Relay) -> None:
    with Talk(door.port) as talk:
        for line in ("MONITOR", "SYNC", "PSYNC ? -1"):
            assert b"is not possible here" in talk.ask(*line.split())
        assert talk.ask("CLIENT", "REPLY", "OFF").startswith(b"-ERR CLIENT REPLY")
        assert talk.ask("PING") == b"+PONG\r\n"


def test_a_transaction_is_waited_for_once(door: Relay) -> None:
    with Talk(door.port) as talk:
        before = door.source.counts["waits"]
        for line in ("MULTI", "SET a 1", "INCR n", "EXEC", "MULTI", "GET a", "EXEC", "GET a", "EVAL_RO 'return 1' 0"):
            talk.ask(*shlex.split(line))
        assert door.source.counts["waits"] == before + 1
        assert read(talk.ask("EVAL", "return 1", "0")) == 1
        assert door.source.counts["waits"] == before + 2
        talk.socket.sendall(packed("SET", "a", "1") * 40 + packed("GET", "a"))
        assert [talk.reply() for _ in range(41)][-1] == b"$1\r\n1\r\n"
        assert door.source.counts["waits"] <= before + 2 + 40
