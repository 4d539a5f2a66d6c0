"""What becomes of a farewell: it is said if the end that it is about is what the core hears first, and else never."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from haagent.agent.assembly import Assembly
from haagent.agent.daemon import Daemon
from haagent.core.events import AnyAction, AnyEvent, Drop, Dropped, Farewell, GatewayChanged, Woke
from haagent.core.messages import Ballot, GroupBeat, Heartbeat

BALLOT = Ballot(3, "A")
WORDS = Heartbeat("c", "A", 1, 8, 100, 350, groups=(GroupBeat("web", released=BALLOT),))
DECIDED = (Drop("web", BALLOT, "B is ready"), Farewell("web", BALLOT, WORDS))


class Decided:
    """A node that decides once to let the group go."""

    deadline = float("inf")

    def __init__(self) -> None:
        self.heard: list[tuple[AnyEvent, ...]] = []

    def step(self, now: float, *events: AnyEvent) -> tuple[AnyAction, ...]:
        self.heard.append(events)
        return DECIDED if len(self.heard) == 1 else ()


def said_when(dropping: Callable[[Daemon], None]) -> list[Heartbeat]:
    """`dropping`: what the drop brings about."""
    said: list[Heartbeat] = []
    agent = Assembly.__new__(Assembly)
    agent.heartbeats = SimpleNamespace(say=said.append)  # type: ignore[assignment]
    agent.recorder = SimpleNamespace(add=lambda now, actions: None, rest=lambda: None)  # type: ignore[assignment]
    agent.guards = SimpleNamespace(looks_outside=False)  # type: ignore[assignment]
    agent.facade = SimpleNamespace(changed=lambda: None)  # type: ignore[assignment]
    one = Daemon.__new__(Daemon)
    one._queue, one._is_stepping, one._agent = deque([Woke()]), False, agent
    one._node, one._alarm = Decided(), SimpleNamespace(set=lambda at: None)  # type: ignore[assignment]
    agent._activation = SimpleNamespace(drop=lambda *_: dropping(one))  # type: ignore[assignment]
    one._fail = _raise  # type: ignore[method-assign]
    one._step()
    return said


def _raise(error: BaseException) -> None:
    raise error


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
