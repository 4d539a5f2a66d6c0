"""What is one step of the core; and a farewell is said if the end that it is about is what the core hears first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec
import pytest

from haagent.agent.turns import Turns
from haagent.core.events import (
    AnyAction,
    AnyEvent,
    ClockSteered,
    Drop,
    Dropped,
    Farewell,
    GatewayChanged,
    HeartbeatHeard,
    Woke,
)
from haagent.core.messages import Ballot, GroupBeat, Heartbeat

BALLOT = Ballot(3, "A")
WORDS = Heartbeat("c", "A", 1, 8, 100, 350, groups=(GroupBeat("web", released=BALLOT),))
DECIDED = (Drop("web", BALLOT, "B is ready"), Farewell("web", BALLOT, WORDS))


class Decided:
    """A node that decides once to let the group go, and an agent around it that only does that."""

    def __init__(self, dropping: Callable[[Turns], None]) -> None:
        self.said: list[Heartbeat] = []
        self.heard: list[tuple[AnyEvent, ...]] = []
        self.news: list[AnyEvent] = []
        self._dropping = dropping
        self.turns = Turns(self)
        self.turns.begin(self, Woke())

    def step(self, now: float, *events: AnyEvent) -> tuple[AnyAction, ...]:
        self.heard.append(events)
        return DECIDED if len(self.heard) == 1 else ()

    def now(self) -> float:
        return 7.0

    def noticed(self) -> Sequence[AnyEvent]:
        return self.news

    def perform(self, action: AnyAction) -> None:
        assert isinstance(action, Drop)
        self._dropping(self.turns)

    def say(self, beat: Heartbeat) -> None:
        self.said.append(beat)

    def stepped(self, now: float, actions: Sequence[AnyAction]) -> None: ...
    def rested(self) -> None: ...
    def failed(self, bug: Exception) -> None:
        raise bug


def said_when(dropping: Callable[[Turns], None]) -> list[Heartbeat]:
    """`dropping`: what the drop brings about."""
    return Decided(dropping).said


def test_a_farewell_is_said_when_the_end_is_all_that_there_is_to_hear() -> None:
    (beat,) = said_when(lambda one: one.post(Dropped("web", BALLOT)))
    assert beat.groups[0].released == BALLOT
    assert beat.groups[0].down_ms >= 0, "as it is true when it goes out"


@pytest.mark.parametrize(
    "events",
    [
        (),
        (GatewayChanged(reachable=False), Dropped("web", BALLOT)),  # the next decision may be another one
        (Dropped("web", Ballot(2, "A")),),
        (Dropped("db", BALLOT),),
    ],
    ids=["the drop takes its time", "something else waits", "another tenure", "another group"],
)
def test_no_farewell_is_said_that_the_core_might_not_say(events: tuple[AnyEvent, ...]) -> None:
    assert said_when(lambda one: [one.post(event) for event in events]) == []  # type: ignore[arg-type, func-returns-value]


async def hear(*events: AnyEvent, noticed: Sequence[AnyEvent] = ()) -> tuple[list[tuple[AnyEvent, ...]], ...]:
    """The steps at once, and those at the end of the turn."""
    one = Decided(lambda _: None)
    one.news += noticed
    for event in events:
        one.turns.post(event)
    at_once = one.heard[1:]
    await asyncio.sleep(0)
    return at_once, one.heard[1 + len(at_once) :]


def test_slices_that_come_together_are_one_step_and_one_that_is_last_does_not_wait() -> None:
    slices = [HeartbeatHeard(msgspec.structs.replace(WORDS, part=part, parts=3), "eth0") for part in range(3)]
    assert asyncio.run(hear(*slices)) == ([tuple(slices)], [])
    assert asyncio.run(hear(*slices[:2])) == ([], [tuple(slices[:2])]), "the last one was lost"
    assert asyncio.run(hear(HeartbeatHeard(WORDS, "eth0"))) == ([(HeartbeatHeard(WORDS, "eth0"),)], [])


def test_what_the_agent_notices_by_itself_is_heard_in_the_same_step() -> None:
    steered = ClockSteered(0.2)
    assert asyncio.run(hear(Woke(), Woke(), noticed=[steered])) == ([], [(Woke(), Woke(), steered)])
