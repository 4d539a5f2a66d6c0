"""All that nodes may come to know, each once and by a small number; and what they make of what they hear, also once.

A step of the core is a function: the same state and the same events give the same state and the same actions. So a
state is kept as bytes under a number (a *mind*), events and memories likewise, and a step is looked up if it was made
before. The core runs only for what has never been: one time in a hundred.

Two minds must be equal if nothing that can follow tells them apart. Therefore:

*   Every step is made at the same instant, `NOW`. When time passes, it is the instants in the minds that move into the
    past. (The core compares instants and never looks at one by itself.) What is older than two leases stays so old.
*   A node's next heartbeat always has the same number when time passes: it is the numbers that move down. So a node
    that goes on as before comes back to the mind that it had.
*   What is said to people alone is left out: history, counters, causes, and for how long clients were without a group.

Instants and numbers are found by their size: no other number in the core is near `NOW`, or as large as the numbers of
heartbeats here. So a field that the core gains tomorrow is moved as well.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar

import msgspec

from haagent.core import events
from haagent.core.events import AnyEvent
from haagent.core.group.service import Service
from haagent.core.history import History
from haagent.core.messages import Heartbeat
from haagent.core.node import Node
from haagent.core.node_state import NodeState
from haagent.core.settings import Memory, Settings

T = TypeVar("T")
NOW = float(2**20)
NEAR_S = 1e5
NUMBERS = 10**9  # heartbeats of the first node are numbered from here when time passes, of the second from twice that
NOTHING = 0  # no event
WOKE = 1


class Move(NamedTuple):
    by: int
    floor: int  # no number falls below it: such a heartbeat was sent two leases ago, and counts for nothing


class Mind(NamedTuple):
    data: bytes
    is_due: bool  # its deadline has come
    move: Move  # of the numbers of its heartbeats, when time passes
    memory: int  # what it would remember in its next life


Moves = tuple[Move, ...]  # of each node


class Outcome(NamedTuple):
    """Of one step."""

    mind: int
    sent: int = NOTHING  # a heartbeat
    until_us: int = 0  # the group is served for so long from now on; 0: nothing new of that
    told: int = NOTHING  # what the shell will report when it has done what it was told to do
    is_over: bool = False  # this life has ended


class Constant(random.Random):
    """Chance that is none: how long a node waits before it tries again makes no difference to safety."""

    def random(self) -> float:
        return 0.5


class Numbered(list[T]):
    """Values that are known by a number: equal ones by the same."""

    def __init__(self, first: Iterable[T] = ()) -> None:
        super().__init__(first)
        self._known: dict[bytes, int] = {}

    def number_of(self, value: T) -> int:
        number = self._known.setdefault(_encode(value), len(self))
        if number == len(self):
            self.append(value)
        return number


class Minds:
    def __init__(self, settings: Settings, *, tick_s: float) -> None:
        self.names = settings.voters
        self.tick_s = tick_s
        self.events: Numbered[AnyEvent | None] = Numbered([None, events.Woke()])
        self.memories: Numbered[Memory] = Numbered()
        self.memories.number_of(Memory())  # of a first life
        self.minds: list[Mind] = []
        self._settings = [msgspec.structs.replace(settings, me=name) for name in self.names]
        # The configuration is in each state several times; no two marks are the same, and none is in any other bytes.
        self._marks = [
            (_encode(one), b"\xc1\xc1" + bytes([0xF0 + number])) for number, one in enumerate(self._settings)
        ]
        self._oldest = NOW - 2.2 * settings.lease_s
        self._known: dict[bytes, int] = {}
        self._steps: dict[tuple[int, tuple[int, ...]], Outcome] = {}
        self._passed: dict[tuple[int, Moves], int] = {}
        self._passed_events: dict[tuple[int, Moves], int] = {}

    @property
    def steps(self) -> int:
        """That the core has really made."""
        return len(self._steps)

    # ------------------------------------------------------------------ what happens to one node

    def born(self, number: int, life: int, memory: int) -> Outcome:
        node = Node(
            self._settings[number], boot=100 * (number + 1) + life, now=NOW, rng=_CHANCE, memory=self.memories[memory]
        )
        node.state.next_seq = self.first_seq(number)
        return self._step(number, node, (WOKE,))

    def step(self, number: int, mind: int, said: tuple[int, ...]) -> Outcome:
        key = (mind, said)
        if (outcome := self._steps.get(key)) is None:
            outcome = self._steps[key] = self._step(number, self.node(mind), said)
        return outcome

    def first_seq(self, number: int) -> int:
        return NUMBERS * (number + 1)

    def wait(self, mind: int, moves: Moves) -> int:
        """A tick passes, and the numbers of each node's heartbeats move by so much."""
        key = (mind, moves)
        if (later := self._passed.get(key)) is None:
            values = self._moved(msgspec.msgpack.decode(self._whole(self.minds[mind].data)), moves)
            later = self._passed[key] = self._keep(_decode(_encode(values)))
        return later

    def event_later(self, event: int, moves: Moves) -> int:
        """Nothing, if it is too old to count."""
        key = (event, moves)
        if (later := self._passed_events.get(key)) is None:
            heard = self.events[event]
            assert isinstance(heard, events.HeartbeatHeard)
            beat = msgspec.convert(self._moved(msgspec.to_builtins(heard.beat), moves), Heartbeat)
            is_over = beat.seq == moves[self.names.index(beat.node)].floor
            later = NOTHING if is_over else self.events.number_of(events.HeartbeatHeard(beat, heard.link))
            self._passed_events[key] = later
        return later

    def node(self, mind: int) -> Node:
        return Node.of(_decode(self._whole(self.minds[mind].data)))

    # ------------------------------------------------------------------ the core

    def _step(self, number: int, node: Node, said: tuple[int, ...]) -> Outcome:
        outcome = Outcome(0)
        heard = [event for one in said if (event := self.events[one]) is not None]
        for action in node.step(NOW, *heard):
            match action:
                case events.Send(beat):
                    outcome = outcome._replace(sent=self.events.number_of(events.HeartbeatHeard(_plain(beat), "eth0")))
                case events.Take(group, ballot, until):
                    told = self.events.number_of(events.Taken(group, ballot))
                    outcome = outcome._replace(until_us=_microseconds(until), told=told)
                case events.Renew(_, until):
                    outcome = outcome._replace(until_us=_microseconds(until))
                case events.Drop(group, ballot):
                    outcome = outcome._replace(told=self.events.number_of(events.Dropped(group, ballot)))
                case events.Stopped():
                    outcome = outcome._replace(is_over=True)
        return outcome._replace(mind=self._keep(node.state))

    def _keep(self, state: NodeState) -> int:
        state.history = History(state.settings.me, state.boot)
        state.membership.refused.clear()
        for group in state.groups.values():
            group.cause, group.service = "", Service(group.service.by)
        data = _encode(state.bare())
        for written, mark in self._marks:
            data = data.replace(written, mark)
        if (mind := self._known.get(data)) is None:
            mind = self._known[data] = len(self.minds)
            memory = self.memories.number_of(state.remembered or Memory())
            self.minds.append(Mind(data, state.deadline <= NOW, self._move(state), memory))
        return mind

    def _move(self, state: NodeState) -> Move:
        first = self.first_seq(self.names.index(state.settings.me))
        oldest = next(iter(state.membership._sent), state.next_seq)
        return Move(first - state.next_seq, first - (state.next_seq - oldest) - 1)

    def gone(self, number: int) -> Move:
        """Of a node that is not there: what it has said grows old all the same."""
        first = self.first_seq(number)
        return Move(-1, first - 1 - round(2 * self._settings[number].lease_s / self.tick_s))

    def _whole(self, data: bytes) -> bytes:
        for written, mark in self._marks:
            data = data.replace(mark, written)
        return data

    def _moved(self, value: Any, moves: Moves) -> Any:
        kind = type(value)
        if kind is float:
            return max(round(value - self.tick_s, 6), self._oldest) if abs(value - NOW) < NEAR_S else value
        if kind is int:
            number = (value + NUMBERS // 2) // NUMBERS - 1
            return max(value + moves[number].by, moves[number].floor) if 0 <= number < len(moves) else value
        if kind is dict:
            return {self._moved(key, moves): self._moved(one, moves) for key, one in value.items()}
        if kind in (list, tuple):
            return [self._moved(one, moves) for one in value]
        return value


def _plain(beat: Heartbeat) -> Heartbeat:
    """Without what is told to people."""
    groups = tuple(
        msgspec.structs.replace(group, held_ms=min(1, group.held_ms), gap_ms=-1.0, down_ms=-1.0, cause="")
        for group in beat.groups
    )
    return msgspec.structs.replace(beat, records=(), recorded={}, groups=groups)


def _microseconds(until: float) -> int:
    return max(0, round(1_000_000 * (until - NOW)))


def _written(value: object) -> Any:
    if isinstance(value, random.Random):
        return None
    raise TypeError(f"{type(value).__name__} cannot be part of a mind")


def _read(kind: type, value: Any) -> random.Random:
    return _CHANCE


_CHANCE = Constant()
_encode = msgspec.msgpack.Encoder(enc_hook=_written).encode
_decode = msgspec.msgpack.Decoder(NodeState, dec_hook=_read).decode
