"""What the store's process tells the agent, and when."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from haagent.sessions import child
from haagent.sessions.messages import MOST, Serving, pair
from tests.unit.sessions.store.test_member import Stage, play, until


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
