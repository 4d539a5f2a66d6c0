"""What whoever can send packets to the port cannot do: come in, keep others out, or make us keep what they send."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from haagent.peerlink import Cause
from haagent.peerlink.link import STRANGERS
from tests.support.peer_stage import STRANGE, STRANGER_ADDRESS, Node, address, nodes, opening, until

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def run(story: Any) -> None:
    asyncio.run(story)


async def connect(node: Node, source: str = STRANGER_ADDRESS) -> Streams:
    return await asyncio.open_connection(address(node.settings.me), node.settings.port, local_addr=(source, 0))


async def ends(reader: asyncio.StreamReader) -> None:
    """Until the node has closed it."""
    try:
        async with asyncio.timeout(30):
            while await reader.read(65536):
                pass
    except ConnectionResetError:
        pass


FIRST_WORDS = opening().outgoing()
HUGE = b"\x16\x03\x01\x40\x00\x01\xff\xff\xff\x03\x03" + bytes(16_384)  # a ClientHello of 16 MiB, its first record


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", Cause.TLS),
        (b"*1\r\n$4\r\nPING\r\n", Cause.TLS),
        (bytes(100_000), Cause.TLS),
        (HUGE * 3, Cause.TLS),
        (FIRST_WORDS * 2, Cause.TLS),
        (FIRST_WORDS, Cause.LATE),
        (FIRST_WORDS[:50], Cause.LATE),
        (b"", Cause.LATE),
    ],
    ids=["http", "redis", "zeros", "huge", "twice", "no proof", "half", "silent"],
)
def test_a_stranger_is_put_out_and_counted_and_the_links_stay(data: bytes, cause: Cause) -> None:
    async def story() -> None:
        async with nodes("AB") as (a, b):
            await until(lambda: a.links() and b.links())
            before = Counter(b.link.counts)
            reader, writer = await connect(b)
            writer.write(data)
            await ends(reader)
            writer.close()
            await until(lambda: len(b.link._connections) == 1)
            assert b.link.counts - before == {cause: 1}
            assert b.story() == ["Linked A"]
            assert a.link.send("B", b"x")
            await until(lambda: b.heard("A") == [b"x"])

    run(story())


def test_who_goes_before_it_has_said_anything_is_counted() -> None:
    async def story() -> None:
        async with nodes("B") as (b,):
            await until(lambda: b.link._servers)
            _, writer = await connect(b)
            writer.close()
            await until(lambda: b.link.counts == {Cause.GONE: 1} and not b.link._connections)

    run(story())


def test_who_sends_a_byte_now_and_then_gets_no_more_time() -> None:
    async def story() -> None:
        async with nodes("B") as (b,):
            await until(lambda: b.link._servers)
            reader, writer = await connect(b)
            ended = asyncio.create_task(ends(reader))
            for at in range(len(FIRST_WORDS)):
                writer.write(FIRST_WORDS[at : at + 1])
                await asyncio.sleep(b.settings.tick_s / 2)
                if ended.done():
                    break
            await ended
            assert at < len(FIRST_WORDS) - 1
            assert b.link.counts == {Cause.LATE: 1}
            writer.close()

    run(story())


async def crowd(node: Node, source: str) -> None:
    """Opens connections as fast as it can, and says nothing."""
    opened: list[asyncio.StreamWriter] = []
    try:
        while True:
            opened.append((await connect(node, source))[1])
            if len(opened) > 300:
                opened.pop(0).transport.abort()
    finally:
        for writer in opened:
            writer.transport.abort()


@pytest.mark.parametrize("source", [STRANGER_ADDRESS, address("C")], ids=["from anywhere", "from a peer's address"])
def test_a_crowd_keeps_no_peer_out(source: str) -> None:
    async def story() -> None:
        async with nodes("AB", tick_s=0.3) as (a, b):
            b.configure(peers={"A": (address("A"),), "C": (address("C"),)})
            await until(lambda: b.link._servers)
            crowding = asyncio.create_task(crowd(b, source))
            for times in (1, 2, 3):
                await until(lambda: b.link.counts[Cause.CROWD] > 10 * times)  # noqa: B023
                await until(lambda: a.links() and b.links())
                assert sum(each.is_stranger for each in b.link._connections) <= STRANGERS
                for each in tuple(a.link._connections):
                    each._transport.abort()
                await until(lambda: not b.links())
            await until(lambda: a.links() and b.links())
            crowding.cancel()

    run(story())


def test_of_a_flood_from_elsewhere_only_so_many_get_as_far_as_a_handshake() -> None:
    async def story() -> None:
        async with nodes("B", peers={"A": (address("A"),)}, tick_s=60.0) as (b,):
            await until(lambda: b.link._servers)
            b.link._let_in = 3
            streams = [await connect(b) for _ in range(5)]
            await until(lambda: b.link.counts[Cause.CROWD] == 2)
            assert sum(each.is_stranger for each in b.link._connections) == 3
            await ends(streams[-1][0])
            for _, writer in streams:
                writer.close()

    run(story())


def test_a_stranger_from_elsewhere_gives_way_before_one_from_a_peers_address() -> None:
    async def story() -> None:
        async with nodes("B", peers={"A": (address("A"),)}, tick_s=60.0) as (b,):
            await until(lambda: b.link._servers)
            streams = [await connect(b, address("A")), await connect(b)]
            streams += [await connect(b, address("A")) for _ in range(STRANGERS - 1)]
            await until(lambda: b.link.counts[Cause.CROWD])
            await ends(streams[1][0])
            assert {each.host for each in b.link._connections if each.is_stranger} == {address("A")}
            for _, writer in streams:
                writer.close()

    run(story())


def test_a_node_with_another_key_is_told_so_on_both_sides_and_tried_ever_more_slowly() -> None:
    async def story() -> None:
        async with nodes("AB") as (a, b):
            a.configure(identity=STRANGE)
            await until(lambda: a.link.counts[Cause.KEY] > 3 and b.link.counts[Cause.KEY] > 3)
            assert a.why("B") == b.why("A") == Cause.KEY.meaning
            assert not any(event for event in a.events + b.events)

    run(story())
