"""The checker of linearizability: it takes what a store could have answered, and objects to what none could."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trials.linear.checker import objection
from trials.linear.history import FOREVER, UNKNOWN, Operation, apart
from trials.linear.model import STEPS, State


def history(*lines: str) -> list[Operation]:
    """Each line is a client, what it did, its result, and from when to when: `a set x 1 -> OK 0 1`."""
    found = []
    for line in lines:
        words, _, rest = line.partition(" -> ")
        client, name, key, *arguments = words.split()
        result, called, returned = rest.split()
        values: dict[str, Any] = {"None": None, "True": True, "False": False, "?": UNKNOWN}
        said = values.get(result, int(result) if result.isdigit() and name != "get" else result)
        end = FOREVER if returned == "-" else float(returned)
        found.append(Operation(client, name, (key,), tuple(arguments), said, float(called), end))
    return found


GOOD = {
    "one after the other": ("a set x 1 -> OK 0 1", "b get x -> 1 2 3"),
    "a read beside a write sees the new": ("a set x 1 -> OK 0 9", "b get x -> 1 1 2"),
    "or the old": ("a set x 1 -> OK 0 9", "b get x -> None 1 2"),
    "what was not answered may have been done": ("a set x 1 -> ? 0 -", "b get x -> 1 5 6"),
    "or not": ("a set x 1 -> ? 0 -", "b get x -> None 5 6"),
    "or is done late": ("a set x 1 -> ? 0 -", "b get x -> None 5 6", "b get x -> 1 7 8"),
    "a lock goes on": (
        "a set-if-absent l a -> OK 0 1",
        "b set-if-absent l b -> None 2 3",
        "a compare-and-delete l a -> 1 4 5",
        "b set-if-absent l b -> OK 6 7",
    ),
    "one of two wins": ("a compare-and-set x None 1 -> False 0 3", "b increment x -> 1 0 3", "b increment x -> 2 4 5"),
}
BAD = {
    "a write is lost": ("a set x 1 -> OK 0 1", "b get x -> None 2 3"),
    "a read goes back": ("a set x 1 -> OK 0 9", "b get x -> 1 1 2", "b get x -> None 3 4"),
    "what nobody wrote is read": ("a set x 1 -> OK 0 1", "b get x -> 2 2 3"),
    "an increment is lost": ("a increment x -> 1 0 1", "b increment x -> 1 0 1"),
    "two have the lock": ("a set-if-absent l a -> OK 0 1", "b set-if-absent l b -> OK 2 3"),
    "what was not safe yet was seen, and is gone": (
        "a set x 1 -> ? 0 -",
        "b get x -> 1 1 2",
        "b get x -> None 3 4",
    ),
    "a deleted one is back": ("a set x 1 -> OK 0 1", "a delete x -> 1 2 3", "b get x -> 1 4 5"),
    "two texts are joined in two orders": (
        "a append x p -> 1 0 3",
        "b append x q -> 1 0 3",
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_a_store_could_have_answered_is_taken(name: str) -> None:
    assert objection(history(*GOOD[name])) == ""


@pytest.mark.parametrize("name", BAD)
def test_what_none_could_is_objected_to(name: str) -> None:
    assert "none of these fits" in objection(history(*BAD[name]))


def test_several_keys_are_written_at_once_or_not_at_all() -> None:
    write = Operation("a", "set-all", ("x", "y"), ("1", "1"), "OK", 0, 1)
    assert not objection([write, Operation("b", "get-all", ("x", "y"), (), ["1", "1"], 2, 3)])
    half = Operation("b", "get-all", ("y", "x"), (), [None, "1"], 0.5, 0.9)
    assert objection([write, half])
    other = Operation("c", "set", ("z",), ("1",), "OK", 0, 1)
    assert sorted(len(part) for part in apart([write, half, other])) == [1, 2]


# ---------------------------------------------------------------------- against another way of finding out

CLIENTS, KEYS = "abc", "xy"


def made(seed: int, *, length: int) -> list[Operation]:
    """What three clients see of a store that is right."""
    rng, state, now = random.Random(seed), {}, 0.0
    free_at = dict.fromkeys(CLIENTS, 0.0)
    spans = []
    for _ in range(length):
        client = rng.choice(CLIENTS)
        called = free_at[client] + rng.random()
        acts = called + rng.random()
        returned = acts + rng.random()
        free_at[client] = returned
        name = rng.choice(["get", "set", "delete", "append", "increment", "set-if-absent", "compare-and-delete"])
        arguments = () if name in ("get", "delete", "increment") else (str(rng.randint(1, 2)),)
        spans.append((acts, client, name, (rng.choice(KEYS),), arguments, called, returned))
    operations = []
    for acts, client, name, keys, arguments, called, returned in sorted(spans):
        assert acts >= now
        now = acts
        after, result = STEPS[name](state, Operation(client, name, keys, arguments))
        if rng.random() < 0.1:  # not answered, done or not; its client comes again under another name
            state = after if rng.random() < 0.5 else state
            operations.append(Operation(f"{client}{acts}", name, keys, arguments, UNKNOWN, called))
            continue
        state = after
        operations.append(Operation(client, name, keys, arguments, result, called, returned))
    return operations


def spoiled(operations: list[Operation], rng: random.Random) -> list[Operation]:
    """One answer is another one."""
    answered = [index for index, one in enumerate(operations) if one.result is not UNKNOWN]
    if not answered:
        return operations
    index = rng.choice(answered)
    other = rng.choice([None, "OK", 0, 1, 2, "1", "2", "11", "12"])
    return [one._replace(result=other) if at == index else one for at, one in enumerate(operations)]


def is_explained(operations: list[Operation]) -> bool:
    """By trying every order of every choice of the unanswered."""
    sure = [one for one in operations if one.result is not UNKNOWN]
    open_ones = [one for one in operations if one.result is UNKNOWN]
    for size in range(len(open_ones) + 1):
        for some in itertools.combinations(open_ones, size):
            if any(_fits(order) for order in itertools.permutations([*sure, *some])):
                return True
    return False


def _fits(order: tuple[Operation, ...]) -> bool:
    state: State = {}
    latest_call = 0.0
    for operation in order:
        latest_call = max(latest_call, operation.called_at)
        if operation.returned_at < latest_call:
            return False
        try:
            state, result = STEPS[operation.name](state, operation)
        except ValueError:
            return False
        if operation.result is not UNKNOWN and operation.result != result:
            return False
    return True


def numeric(operations: list[Operation]) -> list[Operation]:
    """Without what would add one to a text that is no number: the model has no errors."""
    return [one for one in operations if one.name != "append"]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**9))
def test_what_a_right_store_answers_is_taken(seed: int) -> None:
    assert objection(made(seed, length=40)) == ""


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**9), st.booleans())
def test_it_says_the_same_as_trying_every_order(seed: int, is_spoiled: bool) -> None:
    operations = made(seed, length=6)
    if is_spoiled:
        operations = spoiled(operations, random.Random(seed))
    assert (objection(operations) == "") == is_explained(operations)


def test_most_that_is_spoiled_is_objected_to() -> None:
    """Else the comparison above would compare nothing."""
    found = sum(objection(spoiled(made(seed, length=40), random.Random(seed))) != "" for seed in range(200))
    assert found > 100


def test_many_operations_of_many_clients_are_explained_in_time() -> None:
    rng, state, operations, free_at = random.Random(1), {}, [], dict.fromkeys(range(8), 0.0)
    instants = []
    for _ in range(1500):
        client = min(free_at, key=free_at.__getitem__)
        called = free_at[client]
        acts = called + rng.random()
        free_at[client] = acts + rng.random()
        instants.append((acts, client, called, free_at[client]))
    for acts, client, called, returned in sorted(instants):
        name = rng.choice(["get", "set", "append"])
        arguments = () if name == "get" else (f"{round(acts * 1000)},",)
        state, result = STEPS[name](state, Operation("", name, ("x",), arguments))
        operations.append(Operation(str(client), name, ("x",), arguments, result, called, returned))
    assert objection(operations) == ""
