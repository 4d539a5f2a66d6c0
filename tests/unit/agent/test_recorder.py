"""What is written down when: at once where nothing is going on, later in the middle of a move, and never lost."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from haagent.agent.recorder import MOST, PAUSE_S, Recorder
from haagent.core.event_kinds import Kind
from haagent.core.events import AnyAction, Drop, Note, Renew, Take, Woke
from haagent.core.messages import Ballot, Record
from haagent.trace import encode, read
from tests.support.fakes import run_virtual
from tests.support.recording import agent, recorded_world

TAKE = Take("web", Ballot(1, "A"), 9.0)
QUIET = Renew("web", 9.1)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    with caplog.at_level(logging.INFO, "haagent"):
        yield lambda: [record.getMessage() for record in caplog.records]


class Stage:
    def __init__(self) -> None:
        world = recorded_world(1.0, nodes="AB")
        self.node = agent(world).node
        self.recorder = Recorder(self.node)

    def do(self, *actions: AnyAction, is_moved: bool = True) -> None:
        self.node.is_unmoved, self.node.heeded = not is_moved, [Woke()]
        self.recorder.add(1.0, actions)

    def steps(self) -> int:
        """Without writing what waits."""
        return sum(segment.count for segment in self.recorder._ring.segments)


def play(story: Callable[[Stage], Coroutine[Any, Any, None]]) -> None:
    run_virtual(lambda _now: story(Stage()))


def test_a_step_without_news_is_written_down_at_once(said: Callable[[], list[str]]) -> None:
    async def story(stage: Stage) -> None:
        stage.do(QUIET)
        stage.do(is_moved=False)
        stage.recorder.rest()
        assert stage.steps() == 1
        assert not said()

    play(story)


def test_news_waits_and_keeps_its_time(said: Callable[[], list[str]], caplog: pytest.LogCaptureFixture) -> None:
    async def story(stage: Stage) -> None:
        before = time.time()
        stage.do(TAKE)
        after = time.time()
        stage.recorder.rest()
        stage.do(QUIET)
        stage.recorder.rest()
        assert stage.steps() == 0
        assert not said()
        await asyncio.sleep(2 * PAUSE_S)
        assert stage.steps() == 2
        assert said() == ["take web, ballot 1.A"]
        assert before <= caplog.records[0].created <= after

    play(story)


def test_a_trace_that_is_asked_for_has_all_of_it(said: Callable[[], list[str]]) -> None:
    async def story(stage: Stage) -> None:
        stage.do(TAKE)
        stage.do(Drop("web", Ballot(1, "A"), "why"))
        stage.recorder.rest()
        entries = list(read(encode(stage.recorder.trace())).entries())
        assert [entry.decisions[0] for entry in entries] == [TAKE, Drop("web", Ballot(1, "A"), "why")]
        assert len(said()) == 2
        await asyncio.sleep(2 * PAUSE_S)
        assert len(said()) == 2

    play(story)


def test_what_was_told_is_counted_by_kind() -> None:
    async def story(stage: Stage) -> None:
        assert set(stage.recorder.counters()) == {f"events_{kind}" for kind in Kind}
        told = (("taken", "web"), ("lapsed", "web"), ("lapsed", "db"))
        taken, web, db = (Note(Record(1, 0.0, kind, group, "why")) for kind, group in told)
        stage.do(TAKE, taken, web)
        stage.do(db)
        counted = {name: count for name, count in stage.recorder.counters().items() if count}
        assert counted == {"events_taken": 1, "events_lapsed": 2}

    play(story)


def test_what_waits_is_bounded(said: Callable[[], list[str]]) -> None:
    async def story(stage: Stage) -> None:
        stage.do(TAKE)
        for _ in range(MOST):
            stage.do(QUIET)
            stage.recorder.rest()
        assert stage.steps() >= MOST
        assert said()

    play(story)
