"""What a pipeline does next, in every state there can be: a drop always wins, and nothing is told before it is so."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import msgspec
import pytest

from haagent.activation.plan import Act, Owed, State, decide

STEPS = 2
FLAGS = ("is_wanted", "is_waiting", "is_told", "is_due", "is_silent")

# The first row that fits. A field that is not named may be anything.
TABLE: tuple[tuple[dict[str, object], Act], ...] = (
    ({"is_wanted": True, "done": 0, "is_waiting": False}, Act.TAKE),
    ({"is_wanted": True, "done": 1, "is_waiting": False}, Act.TAKE),
    ({"is_wanted": True, "done": 0, "is_waiting": True}, Act.REST),
    ({"is_wanted": True, "done": 1, "is_waiting": True}, Act.REST),
    ({"is_wanted": True, "done": 2, "is_told": False}, Act.TELL_TAKEN),
    ({"is_wanted": True, "done": 2, "is_told": True}, Act.REST),
    ({"is_wanted": False, "is_due": True}, Act.SHUT),
    ({"is_wanted": False, "is_silent": True, "owed": Owed.DROPPED}, Act.TELL),
    ({"is_wanted": False, "begun": 1}, Act.UNDO),
    ({"is_wanted": False, "begun": 2}, Act.UNDO),
    ({"is_wanted": False, "is_silent": True, "owed": Owed.FAILED, "undoing": 0}, Act.TELL),
    ({}, Act.REST),
)


def every_state() -> Iterator[State]:
    for flags in itertools.product((False, True), repeat=len(FLAGS)):
        for begun, done, undoing in itertools.product(range(STEPS + 1), range(STEPS + 1), range(3)):
            for owed in Owed:
                named = dict(zip(FLAGS, flags, strict=True))
                yield State(STEPS, begun=begun, done=done, undoing=undoing, owed=owed, **named)  # type: ignore[arg-type]


def test_every_state_has_the_act_of_the_table() -> None:
    states = list(every_state())
    assert len(states) == 32 * 27 * 3
    used = set()
    for state in states:
        row = next(row for row in TABLE if all(getattr(state, name) == value for name, value in row[0].items()))
        used.add(TABLE.index(row))
        assert decide(state) is row[1], state
    assert used == set(range(len(TABLE))), "a row that nothing comes to says nothing"


def test_deciding_changes_nothing() -> None:
    for state in every_state():
        before = msgspec.structs.replace(state)
        decide(state)
        assert state == before


# What may become of an act, and what may happen while the pipeline rests: every way through, from the beginning.

Told = tuple[State, str]


def left(state: State, owed: Owed, **more: object) -> State:
    now = msgspec.structs.replace(state)
    now.leave(owed)
    return msgspec.structs.replace(now, **more)


def performed(state: State, act: Act) -> Iterator[Told]:
    """Every outcome, with what was told by it."""

    def after(told: str = "", **changes: object) -> Told:
        return msgspec.structs.replace(state, **changes), told

    match act:
        case Act.TAKE:
            yield after(begun=STEPS, done=STEPS)
            for done in range(state.done, STEPS):
                yield after(begun=done + 1, done=done, is_waiting=True)
                yield left(state, Owed.FAILED, begun=done + 1), ""
        case Act.TELL_TAKEN:
            yield after("taken", is_told=True)
        case Act.SHUT:
            yield after(is_due=False, is_silent=True)
            yield after(is_due=False, is_silent=False)  # refused, and nothing proves silence
        case Act.TELL:
            yield after("dropped" if state.owed is Owed.DROPPED else "failed", owed=Owed.NOTHING)
        case Act.UNDO:
            yield after(begun=0)
            yield after(begun=0, undoing=state.undoing + 1)


def happened(state: State) -> Iterator[State]:
    def after(**changes: object) -> State:
        return msgspec.structs.replace(state, **changes)

    yield left(state, Owed.NOTHING, is_wanted=True, begun=0)  # the core takes
    yield left(state, Owed.DROPPED)  # the core drops
    if state.is_wanted and state.is_waiting:
        yield after(is_waiting=False, done=state.done + 1)
        yield left(state, Owed.FAILED)
    if not state.is_wanted:
        yield after(is_due=True)  # the timer of another attempt
    if state.undoing:
        yield after(undoing=state.undoing - 1)


def resting(state: State, told: tuple[str, ...] = ()) -> Iterator[tuple[State, tuple[str, ...]]]:
    """Where the pipeline may come to rest from here, and what it has told on the way."""
    act = decide(state)
    if act is Act.REST:
        yield state, told
        return
    if not state.is_wanted:
        assert act not in (Act.TAKE, Act.TELL_TAKEN), state
    if act is Act.TELL:
        assert state.is_silent, state
        assert not state.is_due, state
        assert state.owed is Owed.DROPPED or not (state.undoing or state.begun), state
    if state.is_due and not state.is_wanted:
        assert act is Act.SHUT, "the traffic ends before anything else"
    assert len(told) < 5
    for now, said in performed(state, act):
        yield from resting(now, (*told, said) if said else told)


def test_every_way_through_ends_and_tells_the_truth() -> None:
    seen: set[str] = set()
    waiting = [State(STEPS)]
    while waiting:
        state = waiting.pop()
        if repr(state) in seen or state.undoing > 2:
            continue
        seen.add(repr(state))
        for event in happened(state):
            for rest, told in resting(event):
                waiting.append(rest)
                assert len(told) <= 1, "one answer to one word"
                if rest.is_wanted:
                    assert rest.is_waiting or rest.is_told
                elif rest.owed is not Owed.NOTHING:
                    assert not rest.is_silent or (rest.owed is Owed.FAILED and rest.undoing), "it waits for these alone"
                assert rest.is_wanted or not rest.begun
    assert len(seen) > 20


@pytest.mark.parametrize("owed", [Owed.DROPPED, Owed.FAILED])
def test_who_owes_an_answer_gives_it_once_the_kernel_has_given_way(owed: Owed) -> None:
    state = State(STEPS, is_silent=False, owed=owed)
    assert decide(state) is Act.REST
    state.is_due = True
    assert decide(state) is Act.SHUT
    state.is_due, state.is_silent = False, True
    assert decide(state) is Act.TELL
