"""What becomes of a farewell: it is said if the end that it is about is what the core hears first, and else never."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace

import msgspec
import pytest

from haagent.agent.assembly import Assembly
from haagent.agent.daemon import Daemon
from haagent.core.events import AnyAction, AnyEvent, Drop, Dropped, Farewell, GatewayChanged, HeartbeatHeard, Woke
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


def a_daemon(agent: Assembly) -> Daemon:
    agent.recorder = SimpleNamespace(add=lambda now, actions: None, rest=lambda: None)  # type: ignore[assignment]
    agent.guards = SimpleNamespace(looks_outside=False)  # type: ignore[assignment]
    agent.facade = SimpleNamespace(changed=lambda: None)  # type: ignore[assignment]
    one = Daemon.__new__(Daemon)
    one._queue, one._is_stepping, one._agent = deque([Woke()]), False, agent
    one._node, one._alarm = Decided(), SimpleNamespace(set=lambda at: None)  # type: ignore[assignment]
    one._steering = SimpleNamespace(look=lambda: False)  # type: ignore[assignment]
    one._fail = _raise  # type: ignore[method-assign]
    return one


def said_when(dropping: Callable[[Daemon], None]) -> list[Heartbeat]:
    """`dropping`: what the drop brings about."""
    said: list[Heartbeat] = []
    agent = Assembly.__new__(Assembly)
    agent.heartbeats = SimpleNamespace(say=said.append)  # type: ignore[assignment]
    one = a_daemon(agent)
    agent._activation = SimpleNamespace(drop=lambda *_: dropping(one))  # type: ignore[assignment]
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


def test_slices_that_come_together_are_one_step_and_one_that_is_last_does_not_wait() -> None:
    slices = [HeartbeatHeard(msgspec.structs.replace(WORDS, part=part, parts=3), "eth0") for part in range(3)]

    async def hear(*events: AnyEvent) -> tuple[list[tuple[AnyEvent, ...]], list[tuple[AnyEvent, ...]]]:
        one = a_daemon(Assembly.__new__(Assembly))
        node = one._node = Decided()  # type: ignore[assignment]
        node.heard = [()]
        one._queue.clear()
        for event in events:
            one.post(event)
        at_once = node.heard[1:]
        await asyncio.sleep(0)
        return at_once, node.heard[1 + len(at_once) :]

    assert asyncio.run(hear(*slices)) == ([tuple(slices)], [])
    assert asyncio.run(hear(*slices[:2])) == ([], [tuple(slices[:2])]), "the last one was lost"
    assert asyncio.run(hear(HeartbeatHeard(WORDS, "eth0"))) == ([(HeartbeatHeard(WORDS, "eth0"),)], [])
