"""Whole members over real sockets: clients speak Redis to each, and they speak to each other over TLS."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any
from zlib import crc32

import hiredis
import pytest

from haagent.core.store.events import ReplicaSettings
from haagent.core.store.messages import Ack, Ask, Behind, Compare, Message, Resume, frames
from haagent.core.store.space import MASK
from haagent.peerlink import LinkSettings
from haagent.peerlink.identity import derive
from haagent.sessions.store.member import Member, MemberOptions
from haagent.sessions.store.outgoing import MOST_QUESTIONS
from haagent.sessions.store.server import Options
from tests.support.ports import free_port

IDENTITY = derive((b"k" * 32,), cluster="shop")
PATIENCE_S = 20.0
_lives = itertools.count(1)


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer, self._parser = reader, writer, hiredis.Reader()

    async def __call__(self, *words: str | bytes) -> Any:
        """An error is returned, not raised."""
        self._writer.write(hiredis.pack_command(words))
        while (answer := self._parser.gets()) is False:
            data = await self._reader.read(65536)
            if not data:
                raise EOFError("the store has closed the connection")
            self._parser.feed(data)
        return answer

    def close(self) -> None:
        self._writer.close()


class Stage:
    """Some nodes on addresses of the loopback, one port for all their links."""

    def __init__(self, names: str = "AB", **settings: Any) -> None:
        self.port, self.names = free_port(), names
        self.hosts = {name: f"127.77.0.{number}" for number, name in enumerate(names, 1)}
        self.settings = {"is_sync": True, "sync_timeout_s": 2.0, "join_timeout_s": 60.0, **settings}
        self.members: dict[str, Member] = {}
        self.clients: list[Client] = []

    def make(self, name: str) -> Member:
        numbers = {other: number for number, other in enumerate(self.names, 1)}
        return Member(
            MemberOptions(
                door=Options(port=0, node_number=numbers[name]),
                link=LinkSettings(
                    cluster="shop",
                    me=name,
                    life=next(_lives),
                    release="1",
                    addresses=(self.hosts[name],),
                    peers={other: (host,) for other, host in self.hosts.items() if other != name},
                    port=self.port,
                    identity=IDENTITY,
                    tick_s=0.05,
                ),
                replica=ReplicaSettings(
                    me=name,
                    number=numbers.pop(name),
                    peers=numbers,
                    **self.settings,
                ),
            )
        )

    async def start(self, *names: str) -> None:
        for name in names:
            member = self.make(name)
            await member.open()
            self.members[name] = member

    async def stop(self, name: str) -> None:
        await self.members.pop(name).close()

    async def client(self, name: str) -> Client:
        made = Client(*await asyncio.open_connection("127.0.0.1", self.members[name].server.door.port))
        self.clients.append(made)
        return made

    async def are_ready(self) -> None:
        await until(lambda: all(member.replica.is_ready for member in self.members.values()), "all are ready")
        for name, member in self.members.items():
            others = {*self.members} - {name}
            await until(lambda: others <= member.replica.in_sync, f"{name} has all in sync")  # noqa: B023

    async def end(self) -> None:
        for client in self.clients:
            client.close()
        for name in list(self.members):
            await self.stop(name)


async def until(condition: Callable[[], bool], what: str) -> None:
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"waited in vain: {what}"
        await asyncio.sleep(0.005)


def play(story: Callable[[Stage], Awaitable[None]], stage: Stage) -> None:
    async def whole() -> None:
        try:
            await story(stage)
        finally:
            await stage.end()

    asyncio.run(whole())


@pytest.mark.parametrize("is_sync", [True, False])
def test_a_session_outlives_its_node_and_a_logout_stands(is_sync: bool) -> None:
    """The story: A creates a session and dies, B answers with it; A comes back, and ends it everywhere."""

    async def story(stage: Stage) -> None:
        await stage.start("A", "B")
        await stage.are_ready()
        a, b = await stage.client("A"), await stage.client("B")
        assert await a("SETEX", "session:US_1", "3600", "cart: 3 books") == b"OK"
        if is_sync:  # everybody has it before the answer
            assert await b("GET", "session:US_1") == b"cart: 3 books"
        await until_equal(stage)
        await stage.stop("A")
        assert await b("GET", "session:US_1") == b"cart: 3 books"
        assert await b("SET", "session:US_1", "cart: 4 books", "KEEPTTL") == b"OK"
        await stage.start("A")
        a = await stage.client("A")
        await stage.are_ready()
        assert await a("GET", "session:US_1") == b"cart: 4 books"
        assert 0 < await a("TTL", "session:US_1") <= 3600
        assert await a("DEL", "session:US_1") == 1
        await until_equal(stage)
        assert await b("GET", "session:US_1") is None

    play(story, Stage(is_sync=is_sync))


async def until_equal(stage: Stage) -> None:
    def are_equal() -> bool:
        found = [member.server.door.store.digests() for member in stage.members.values()]
        return all(digests == found[0] for digests in found)

    await until(are_equal, "all stores are equal")


def test_a_member_that_has_not_joined_says_that_it_is_loading() -> None:
    async def story(stage: Stage) -> None:
        await stage.start("A")  # B is not there, and may have sessions that A does not know
        a = await stage.client("A")
        assert str(await a("GET", "x")).startswith("LOADING")
        assert b"loading:1" in await a("INFO", "persistence")
        await stage.start("B")
        await stage.are_ready()
        assert await a("GET", "x") is None
        assert b"loading:0" in await a("INFO", "persistence")

    play(story, Stage())


def test_who_meets_nobody_is_ready_alone_after_a_while() -> None:
    async def story(stage: Stage) -> None:
        await stage.start("A")
        a = await stage.client("A")
        await until(lambda: stage.members["A"].replica.is_ready, "A is ready alone")
        assert await a("SET", "x", "1") == b"OK"

    play(story, Stage(join_timeout_s=0.3))


def test_many_sessions_come_over_to_who_joins_and_live_writes_beside_them() -> None:
    async def story(stage: Stage) -> None:
        await stage.start("A", "B")
        await stage.are_ready()
        a = await stage.client("A")
        await stage.stop("B")
        for number in range(3000):
            assert await a("SET", f"session:{number}", "v" * 500, "EX", "3600") == b"OK"
        await stage.start("B")
        number = 0
        while not stage.members["B"].replica.is_ready:
            number += 1
            assert await a("SET", f"session:live:{number}", "v", "EX", "3600") == b"OK"
        await until_equal(stage)
        b = await stage.client("B")
        assert await b("DBSIZE") == 3000 + number

    play(story, Stage())


def test_three_members_have_what_each_has_written() -> None:
    async def story(stage: Stage) -> None:
        await stage.start("A", "B", "C")
        await stage.are_ready()
        for name in "ABC":
            client = await stage.client(name)
            assert await client("SET", name, "1") == b"OK"
            for other in "ABC":
                assert await (await stage.client(other))("GET", name) == b"1"

    play(story, Stage("ABC"))


@pytest.mark.parametrize("is_strict", [True, False])
def test_a_peer_that_does_not_answer_holds_replies_up_for_a_bounded_time(is_strict: bool) -> None:
    async def story(stage: Stage) -> None:
        await stage.start("A", "B")
        await stage.are_ready()
        stage.members["B"]._receive = lambda *_: None  # type: ignore[method-assign]  # B hangs
        a = await stage.client("A")
        answer = await a("SET", "x", "1")
        assert str(answer).startswith("NOREPLICAS") if is_strict else answer == b"OK"
        assert stage.members["A"].replica.in_sync == set()
        assert any(note.kind == "out_of_sync" and note.peer == "B" for note in stage.members["A"].notes)

    play(story, Stage(is_strict=is_strict, sync_timeout_s=0.2))


def test_nobody_waits_for_a_node_that_is_lost() -> None:
    async def story(stage: Stage) -> None:
        await stage.start("A", "B")
        await stage.are_ready()
        stage.members["B"]._receive = lambda *_: None  # type: ignore[method-assign]  # B hangs
        a = await stage.client("A")
        answer = asyncio.create_task(a("SET", "x", "1"))
        await until(lambda: bool(stage.members["A"]._tickets), "a reply waits for B")
        stage.members["A"].lose(["B", "nobody"])
        assert await answer == b"OK"
        assert stage.members["A"].link.counts["lost"] == 1

    play(story, Stage(sync_timeout_s=3600.0))


@pytest.mark.parametrize("is_lost", [True, False])
def test_that_a_peer_is_gone_is_told_at_once_and_once(is_lost: bool) -> None:
    """A stop that waits for a peer with all sessions must not go by one that was there a moment ago."""

    async def story(stage: Stage) -> None:
        await stage.start("A", "B")
        await stage.are_ready()
        told: list[bool] = []
        member = stage.members["A"]
        member.on_change = lambda: told.append(member.facts().peers["B"].linked)
        if is_lost:
            member.lose(["B", "nobody"])
        else:
            await stage.stop("B")
            await until(lambda: bool(told), "A has told of it")
        assert told == [False]

    play(story, Stage())


def test_a_peer_that_talks_nonsense_is_dropped_and_links_itself_anew() -> None:
    async def story(stage: Stage) -> None:
        await stage.start("A", "B")
        await stage.are_ready()
        counts, seen = stage.members["A"].link.counts, 0

        def is_dropped_for(nonsense: bytes) -> bool:
            nonlocal seen
            if counts["garbled"] == seen:  # what goes over a link that is just ending is lost
                stage.members["B"].link.send("A", nonsense)
                return False
            seen = counts["garbled"]
            return True

        (out_of_bounds,) = frames(Ack(1 << 40))
        for nonsense in (b"\x07abc", b"\x00\xff\xff", b"\x00" + b"\x91" * 5000, out_of_bounds):
            await until(lambda: is_dropped_for(nonsense), "A has dropped B")  # noqa: B023
        assert stage.members["A"].replica.counters["nonsense"] > 0
        await stage.are_ready()
        a, b = await stage.client("A"), await stage.client("B")
        assert await a("SET", "x", "1") == b"OK"
        assert await b("GET", "x") == b"1"

    play(story, Stage())


@pytest.mark.parametrize("question", [Compare(1, True), Ask(1, 0, [], {}, 0), Resume(0, False), Behind(1 << 40)])
def test_a_peer_that_asks_without_end_is_dropped(question: Message) -> None:
    """Each answer takes time and room: 180 KB of them held up the store for half a minute, and took a gigabyte."""

    async def story(stage: Stage) -> None:
        await stage.start("A", "B")
        await stage.are_ready()
        counts = stage.members["A"].link.counts
        (frame,) = frames(question)

        def is_dropped() -> bool:
            for _ in range(100):
                stage.members["B"].link.send("A", frame)
            return counts["garbled"] > 0

        await until(is_dropped, "A has dropped B")
        await stage.are_ready()

    play(story, Stage())


def test_a_peer_that_asks_and_takes_nothing_in_is_dropped() -> None:
    """And not that quickly: what it asks for within a turn would be all right."""

    async def story(stage: Stage) -> None:
        await stage.start("A", "B")
        await stage.are_ready()
        a, b = (stage.members[name].link for name in "AB")
        client = await stage.client("A")
        assert await client("SET", "large", b"x" * 1_000_000) == b"OK"
        b._links["A"]._transport.pause_reading()
        (frame,) = frames(Ask(1, crc32(b"large") & MASK, [], {}, 0))
        answers = stage.members["A"]._outgoing["B"]
        asked = 0
        while not a.counts["garbled"]:
            before = a._links["B"].received
            b.send("A", frame)
            await until(lambda: a.counts["garbled"] or a._links["B"].received > before, "A has heard it")  # noqa: B023
            asked += 1
            assert asked < 2 * MOST_QUESTIONS
        assert asked > MOST_QUESTIONS
        assert answers.is_too_much

    play(story, Stage())
