"""Who opens a link, and how long for: pauses, time-outs, and what ends both."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import msgspec
import pytest

from haagent.peerlink import Cause, PeerLink
from tests.support.peer_stage import Node, address, settings, until
from tests.support.ports import free_port
from tests.unit.peerlink.test_link import linked, run

MOST_QUEUED = 10
HANGS_S = 0.5  # who is let in on the loopback is so in microseconds


def test_a_peer_that_is_known_to_be_there_is_dialled_without_a_pause() -> None:
    """With ticks of minutes, so that nobody links by himself before the test has given up."""

    async def story() -> None:
        port = free_port(address("A"))
        a, b = (Node(msgspec.structs.replace(settings(name, "AB", port=port), tick_s=600.0)) for name in "AB")
        a.link.redial("B")  # there is nobody yet who dials
        a.start()
        await until(lambda: a.link.counts[Cause.UNREACHABLE] == 1)
        b.start()
        await until(lambda: b.link._servers)
        a.link.redial("nobody")
        b.link.redial("A")  # it is the other end that dials
        a.link.redial("B")
        await until(lambda: linked(a, b))
        dialling = a.link._dialling["B"]
        a.link.redial("B")
        assert a.link._dialling["B"] is dialling, "a link that stands is left alone"
        assert (a.story(), b.story()) == (["Linked B"], ["Linked A"])
        for node in (a, b):
            await node.stop()
        a.link.redial("B")

    run(story())


@contextmanager
def black_hole(host: str, port: int) -> Iterator[None]:
    """The kernel throws away who asks for a connection, as a firewall does: the queue of those who wait is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(0)
        for _ in range(MOST_QUEUED):
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(HANGS_S)
            try:
                waiting.connect((host, port))
            except TimeoutError:
                break
        else:
            raise AssertionError("the queue has no end")
        yield


def test_a_peer_that_swallows_what_is_sent_to_it_is_given_up_and_tried_again() -> None:
    async def story() -> None:
        port = free_port(address("A"))
        a = Node(settings("A", "AB", port=port))
        with black_hole(address("B"), port):
            a.start()
            await until(lambda: a.link.counts[Cause.UNREACHABLE] == 2)
            assert a.why("B") == f"{address('B')}: no answer"
        await a.stop()

    run(story())


def test_an_attempt_that_hangs_is_given_up_for_a_peer_that_is_heard_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its packets are lost, and the kernel repeats them after a second, then two, then four. With ticks of minutes."""
    told: list[str] = []
    attempt = PeerLink._attempt

    async def watched(link: PeerLink, peer: str, turn: int) -> int:
        told.append("begun")
        try:
            return await attempt(link, peer, turn)
        except asyncio.CancelledError:
            told.append("given up")
            raise

    monkeypatch.setattr(PeerLink, "_attempt", watched)

    async def story() -> None:
        port = free_port(address("A"))
        a, b = (Node(msgspec.structs.replace(settings(name, "AB", port=port), tick_s=600.0)) for name in "AB")
        with black_hole(address("B"), port):
            a.start()
            await until(lambda: told)
        b.start()
        await until(lambda: b.link._servers)
        a.link.redial("B")
        await until(lambda: linked(a, b))
        assert told == ["begun", "given up", "begun"]
        assert not a.link.counts
        for node in (a, b):
            await node.stop()

    run(story())
