"""What the store's process tells the agent, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from haagent.core.store.replica import Replica
from haagent.sessions import child
from haagent.sessions.listening import Listening
from haagent.sessions.messages import MOST, Serving, pair
from haagent.sessions.store.connection import Connection
from tests.unit.sessions.store.test_member import PATIENCE_S, Stage, play, until


def test_that_it_is_ready_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not with the next of its regular reports: a balancer waits for it."""
    monkeypatch.setattr(child, "TELL_S", 3600.0)

    async def story(stage: Stage) -> None:
        ours, its = pair()
        told: list[Serving] = []
        its.setblocking(False)
        loop = asyncio.get_running_loop()
        loop.add_reader(ours, lambda: told.append(msgspec.msgpack.decode(ours.recv(MOST), type=Serving)))
        with its:
            living = loop.create_task(child._live(its, stage.make("B")))
            try:
                await until(lambda: bool(told), "it serves")
                await stage.start("A")
                await until(lambda: told[-1].facts.is_ready, "it is ready")
            finally:
                loop.remove_reader(ours)
                ours.close()
                await living

    play(story, Stage())


def breaks(*_: object) -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize(("where", "what"), [(Listening, "look"), (Replica, "step")])
def test_a_bug_ends_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, where: type, what: str
) -> None:
    """In what it does from time to time, or when the machine of replication is woken: it would go on without that."""

    async def story(stage: Stage) -> None:
        ours, its = pair()
        its.setblocking(False)
        with ours, its:
            living = asyncio.create_task(child._live(its, stage.make("B")))
            await asyncio.get_running_loop().sock_recv(ours, MOST)  # it serves
            monkeypatch.setattr(where, what, breaks)
            async with asyncio.timeout(PATIENCE_S):
                assert await living == 1
        (record,) = [record for record in caplog.records if record.levelname == "CRITICAL"]
        assert record.getMessage().startswith("a bug ends this store: ")
        assert record.exc_info is not None

    play(story, Stage(join_timeout_s=1.0, dead_after_s=1.0))


def test_a_bug_that_a_client_has_found_ends_that_client_only(monkeypatch: pytest.MonkeyPatch) -> None:
    own: Callable[[Connection, bytes], None] = Connection.data_received
    monkeypatch.setattr(Connection, "data_received", lambda self, data: breaks() if b"BUG" in data else own(self, data))

    async def story(stage: Stage) -> None:
        ours, its = pair()
        its.setblocking(False)
        with its:
            stage.members["B"] = stage.make("B")
            living = asyncio.create_task(child._live(its, stage.members["B"]))
            await until(lambda: bool(stage.members["B"].server.door.port), "it serves")
            hostile, other = await stage.client("B"), await stage.client("B")
            with pytest.raises(EOFError):
                await hostile("BUG")
            assert await other("ECHO", "still there") == b"still there"
            ours.close()
            assert await living == 0
            stage.members.clear()

    play(story, Stage("B"))
