"""One queue of events, one owner: the core is stepped from one thread, and never entered twice.

Everything that happens becomes an event and goes through `post`. What many have to say in one turn of the loop is one
step of the core. Actions are performed in the order given, before the next event is looked at; what performing them
has brought about is the next step.

A farewell is said if the end that it is about is what the core hears next, and else never: whatever else waits may
lead to another decision.

The single broad `except` is here: an exception that nobody expected is a bug, and the owner of a core with a bug ends.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from haagent.core.events import AnyAction, AnyEvent, Dropped, Farewell, HeartbeatHeard
from haagent.core.heartbeat import let_go_for
from haagent.core.messages import Heartbeat


class Core(Protocol):
    def step(self, now: float, *events: AnyEvent) -> Sequence[AnyAction]: ...


class Owner(Protocol):
    """Whose core it is."""

    def now(self) -> float: ...
    def noticed(self) -> Sequence[AnyEvent]:
        """What it looks for by itself, whenever something has happened."""

    def perform(self, action: AnyAction) -> None:
        """Any but a farewell."""

    def say(self, beat: Heartbeat) -> None: ...
    def stepped(self, now: float, actions: Sequence[AnyAction]) -> None:
        """All of them are performed."""

    def rested(self) -> None:
        """Nothing waits any more."""

    def failed(self, bug: Exception) -> None: ...


class Turns:
    def __init__(self, owner: Owner) -> None:
        self._core: Core | None = None
        self._owner = owner
        self._queue: deque[AnyEvent] = deque()
        self._is_stepping = True  # until `begin`: what happens meanwhile waits in the queue

    def begin(self, core: Core, *events: AnyEvent) -> None:
        """Everything is open."""
        self._core, self._is_stepping = core, False
        self._queue.extend(events)
        self._step()

    def post(self, event: AnyEvent) -> None:
        """A heartbeat does not wait: it may hand a group over. All else waits for the end of the turn.

        Slices wait for the last one: they have come together, and are one step.
        """
        self._queue.append(event)
        if self._is_stepping:
            return
        if isinstance(event, HeartbeatHeard) and event.beat.part + 1 >= event.beat.parts:
            self._step()
        elif len(self._queue) == 1:
            asyncio.get_running_loop().call_soon(self._step)

    def _step(self) -> None:
        if not self._queue:
            return  # a heartbeat has taken them along
        assert self._core is not None
        owner, self._is_stepping = self._owner, True
        try:
            self._queue.extend(owner.noticed())
            while self._queue:
                now, events = owner.now(), tuple(self._queue)
                self._queue.clear()
                actions = self._core.step(now, *events)
                for action in actions:
                    if not isinstance(action, Farewell):
                        owner.perform(action)
                    elif self._queue and self._queue[0] == Dropped(action.group, action.ballot):
                        owner.say(let_go_for(action.beat, action.group, owner.now() - now))
                owner.stepped(now, actions)
        except Exception as bug:
            self._queue.clear()
            owner.failed(bug)
        finally:
            self._is_stepping = False
        owner.rested()
