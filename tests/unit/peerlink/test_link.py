"""Real links over loopback: they come, carry, break, come back, and change their keys meanwhile."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from typing import Any

import msgspec
import pytest

from haagent.peerlink import MAX_MESSAGE, Cause, HasRoom, Linked, Unlinked
from haagent.peerlink.connection import MOST_WAITING, STUCK_TICKS, Connection
from haagent.peerlink.identity import derive
from tests.support.peer_stage import KEY, NEXT_KEY, Node, address, nodes, settings, until


def run(story: Any) -> None:
    asyncio.run(story)


def linked(*made: Node) -> bool:
    return all(node.links() == {other.settings.me for other in made if other is not node} for node in made)


def test_two_nodes_link_and_each_hears_what_the_other_sends() -> None:
    async def story() -> None:
        async with nodes("AB") as (a, b):
            assert not a.link.send("B", b"too early")
            await until(lambda: linked(a, b))
            assert a.events == [Linked("B", 7, "0.1.0")]
            sent = [bytes([number % 256]) * number for number in range(1000)] + [b"z" * MAX_MESSAGE]
            sent.remove(b"")  # an empty one would be a ping
            for message in sent:
                assert a.link.send("B", message)
                assert b.link.send("A", message)
            await until(lambda: a.heard("B") == sent and b.heard("A") == sent)

    run(story())


def test_an_empty_or_too_long_message_is_a_bug_of_who_sends_it() -> None:
    async def story() -> None:
        async with nodes("AB") as (a, b):
            await until(lambda: linked(a, b))
            for message in (b"", bytes(MAX_MESSAGE + 1)):
                with pytest.raises(ValueError, match="bytes"):
                    a.link.send("B", message)

    run(story())


def test_three_nodes_have_one_link_for_each_pair() -> None:
    async def story() -> None:
        async with nodes("ABC") as made:
            await until(lambda: linked(*made))
            for node in made:
                for peer in node.links():
                    assert node.link.send(peer, node.settings.me.encode())
            await until(lambda: all(len(node.events) == 4 for node in made))
            assert sum(len(node.link._connections) for node in made) == 6  # two ends of three

    run(story())


def test_a_node_that_comes_back_is_linked_again_and_with_its_new_life() -> None:
    async def story() -> None:
        async with nodes("AB") as (a, b):
            await until(lambda: linked(a, b))
            await b.stop()
            await until(lambda: not a.links())
            assert a.events[-1] == Unlinked("B", Cause.CLOSED.meaning)
            again = Node(msgspec.structs.replace(b.settings, life=8))
            again.start()
            await until(lambda: linked(a, again))
            assert a.events[-1] == Linked("B", 8, "0.1.0")
            await again.stop()

    run(story())


def test_a_node_whose_address_is_not_there_yet_is_linked_when_it_is() -> None:
    async def story() -> None:
        async with nodes("AB", addresses=("192.0.2.1",)) as (a, b):
            await until(lambda: b.link.deaf and a.link.counts[Cause.UNREACHABLE] > 2)
            assert "192.0.2.1" in b.link.deaf
            for node in (a, b):
                node.configure(addresses=(address(node.settings.me),))
            await until(lambda: linked(a, b))
            assert not b.link.deaf

    run(story())


def test_why_there_is_no_link_is_told() -> None:
    async def story() -> None:
        async with nodes("AB") as (a, b):
            await until(lambda: linked(a, b))
            await b.stop()
            await until(lambda: "refused" in a.why("B").lower())
            a.configure(peers={"B": ("::1",)})
            await until(lambda: "family" in a.why("B"))

    run(story())


def test_other_paths_are_tried_in_turn() -> None:
    async def story() -> None:
        async with nodes("AB") as (a, b):
            await until(lambda: linked(a, b))
            a.configure(
                addresses=(address("A"), address("A")), peers={"B": (address("C"), address("B"))}
            )  # nobody listens on C's
            await b.stop()
            await until(lambda: a.link.counts[Cause.UNREACHABLE] > 1)
            b.start()
            await until(lambda: linked(a, b))

    run(story())


class Hole:
    """A way between two nodes that can be closed without either of them noticing."""

    def __init__(self, to: tuple[str, int]) -> None:
        self._to = to
        self.is_closed = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, host: str, port: int) -> None:
        self._server = await asyncio.start_server(self._serve, host, port)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward = await asyncio.open_connection(*self._to)
        for source, sink in ((reader, onward[1]), (onward[0], writer)):
            self._tasks.add(asyncio.create_task(self._carry(source, sink)))

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            if not self.is_closed:
                sink.write(data)

    async def close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def test_a_half_open_link_ends_on_both_sides() -> None:
    async def story() -> None:
        async with nodes("AB") as (a, b):
            hole = Hole((address("B"), b.settings.port))
            await hole.open(address("C"), a.settings.port)
            a.configure(peers={"B": (address("C"),)})
            await until(lambda: linked(a, b))
            await asyncio.sleep(a.settings.tick_s * 15)  # longer than silence may last: pings keep it
            assert linked(a, b)
            hole.is_closed = True
            await until(lambda: a.link.counts[Cause.SILENT] and b.link.counts[Cause.SILENT])
            assert a.events[-1] == Unlinked("B", Cause.SILENT.meaning)
            hole.is_closed = False
            await until(lambda: linked(a, b))
            await hole.close()

    run(story())


def test_a_process_that_was_held_up_takes_nobody_for_silent() -> None:
    async def story() -> None:
        async with nodes("AB") as (a, b):
            await until(lambda: linked(a, b))
            for _ in range(3):
                time.sleep(a.settings.tick_s * 15)  # neither of them runs
                await asyncio.sleep(a.settings.tick_s)
            assert [event for event in a.events + b.events if isinstance(event, Unlinked)] == []

    run(story())


def test_who_sends_more_than_the_other_takes_is_told_and_told_again_when_there_is_room() -> None:
    async def story() -> None:
        async with nodes("AB") as (a, b):
            await until(lambda: linked(a, b))
            (its_end,) = b.link._connections
            its_end._transport.pause_reading()
            chunk = bytes(200_000)
            accepted = 0
            async with asyncio.timeout(30):
                while a.link.send("B", chunk):
                    accepted += 1
                    await asyncio.sleep(0)
            (our_end,) = a.link._connections
            waiting = our_end._transport.get_write_buffer_size() + len(our_end._queue)
            assert MOST_WAITING <= waiting <= MOST_WAITING + MAX_MESSAGE
            assert not a.link.send("B", b"x")
            assert not any(isinstance(event, HasRoom) for event in a.events)
            its_end._transport.resume_reading()
            await until(lambda: HasRoom("B") in a.events)
            assert a.link.send("B", b"last")
            await until(lambda: b.heard("A") == [chunk] * accepted + [b"last"])

    run(story())


def test_who_always_has_more_to_send_is_not_taken_for_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """As much may wait at each tick as at the one before, and yet all of it be another's turn."""

    async def story() -> None:
        async with nodes("AB") as (a, b):
            await until(lambda: linked(a, b))
            (our_end,) = a.link._connections
            monkeypatch.setattr(our_end._transport, "get_write_buffer_size", lambda: 1000)
            for _ in range(STUCK_TICKS * 2):
                assert a.link.send("B", b"x" * 1000)
                ticks = our_end.ticks
                await until(lambda: our_end.ticks > ticks)  # noqa: B023
            assert not a.link.counts[Cause.STUCK]

    run(story())


def test_a_peer_that_takes_nothing_is_dropped_though_it_goes_on_sending() -> None:
    async def story() -> None:
        async with nodes("AB") as (a, b):
            await until(lambda: linked(a, b))
            (its_end,) = b.link._connections
            its_end._transport.pause_reading()
            while a.link.send("B", bytes(200_000)):
                await asyncio.sleep(0)

            async def go_on() -> None:
                while True:
                    b.link.send("A", b"still here")
                    await asyncio.sleep(b.settings.tick_s / 2)

            going_on = asyncio.create_task(go_on())
            its_end._unheard = -1000  # it does not miss what it does not read
            await until(lambda: a.link.counts[Cause.STUCK])
            going_on.cancel()
            its_end._transport.abort()
            await until(lambda: linked(a, b))

    run(story())


def test_keys_change_while_the_links_stay_and_the_removed_one_lets_nobody_in() -> None:
    async def story() -> None:
        async with nodes("AB") as (a, b):
            await until(lambda: linked(a, b))
            first = next(iter(a.link._connections))
            for keys in ((KEY, NEXT_KEY), (NEXT_KEY, KEY)):
                for node in (a, b):
                    node.configure(identity=derive(keys, cluster="shop"))
                    assert linked(a, b)
            assert (a.story(), b.story()) == (["Linked B"], ["Linked A"])
            for node in (a, b):
                node.configure(identity=derive((NEXT_KEY,), cluster="shop"))
            assert first.is_over  # it stood on the key that was removed
            await until(lambda: linked(a, b))
            old = Node(settings("A", "AB", port=b.settings.port))
            await a.stop()
            old.start()
            await until(lambda: b.link.counts[Cause.KEY] > 2)
            assert "B" not in old.links()
            await old.stop()

    run(story())


def test_who_is_connecting_while_the_keys_change_begins_anew() -> None:
    """Its handshake would go on with the old ones."""

    async def story() -> None:
        async with nodes("AB") as (a, b):
            await until(lambda: linked(a, b))
            before = Counter(b.link.counts)
            _, writer = await asyncio.open_connection(address("B"), b.settings.port)
            await until(lambda: len(b.link._connections) == 2)
            b.configure(identity=derive((KEY, NEXT_KEY), cluster="shop"))
            await until(lambda: len(b.link._connections) == 1)
            assert linked(a, b)
            assert b.link.counts - before == {Cause.DISMISSED: 1}
            writer.close()

    run(story())


def test_a_peer_that_is_taken_out_of_the_file_is_let_go_and_another_is_linked() -> None:
    async def story() -> None:
        async with nodes("ABC") as (a, b, c):
            await until(lambda: linked(a, b, c))
            a.configure(peers={"C": (address("C"),)})
            assert a.links() == {"C"}
            await until(lambda: b.links() == {"C"} and c.links() == {"A", "B"})
            assert a.events[-1] == Unlinked("B", Cause.DISMISSED.meaning)
            a.configure(peers={"B": (address("B"),), "C": (address("C"),)})
            await until(lambda: linked(a, b, c))

    run(story())


def test_a_newer_link_of_the_same_peer_takes_the_place_of_the_older() -> None:
    async def story() -> None:
        async with nodes("AB") as (a, b):
            await until(lambda: linked(a, b))
            twin = Node(msgspec.structs.replace(a.settings, life=8))
            twin.start()
            await until(lambda: Linked("A", 8, "0.1.0") in b.events)
            replaced = b.events.index(Linked("A", 8, "0.1.0"))
            assert b.events[replaced - 1] == Unlinked("A", Cause.REPLACED.meaning)
            await twin.stop()
            await until(lambda: linked(a, b))

    run(story())


def test_two_hosts_of_one_name_replace_each_other_slowly() -> None:
    async def story() -> None:
        async with nodes("AB") as (a, b):
            await until(lambda: linked(a, b))
            twin = Node(msgspec.structs.replace(a.settings, life=8))
            twin.start()
            began = time.monotonic()
            await asyncio.sleep(60 * a.settings.tick_s)
            ticks = (time.monotonic() - began) / a.settings.tick_s
            await twin.stop()
            assert b.link.counts[Cause.REPLACED] < 2 * ticks  # each waits for 2 to 4 of them, and not for 0.1

    run(story())


def test_nothing_is_left_when_it_has_ended() -> None:
    async def story() -> None:
        async with nodes("AB") as (a, b):
            await until(lambda: linked(a, b))
        await until(lambda: not a.link._connections and not b.link._connections)
        with socket.socket() as again:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind((address("B"), b.settings.port))
            again.listen()
        assert len(asyncio.all_tasks()) == 1

    run(story())


def test_a_bug_of_who_hears_ends_the_connection_and_is_told_to_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        told: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
        async with nodes("AB") as (a, b):
            await until(lambda: linked(a, b))
            monkeypatch.setattr(a.link, "_hear", lambda _: 1 / 0)
            ends = [each for each in a.link._connections if isinstance(each, Connection)]
            assert b.link.send("A", b"x")
            await until(lambda: told and ends[0].channel.peer is not None)
            assert isinstance(told[0], ZeroDivisionError)
            monkeypatch.undo()

    run(story())
