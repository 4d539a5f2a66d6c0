"""Who should hold a group, and of two who both do, who keeps it."""

from __future__ import annotations

import itertools

import pytest

from haagent.core.placement import Candidate, Contender, order, preference, should_yield, winner
from haagent.core.settings import GroupSettings

WEB = GroupSettings("web", prefer=("B", "A"))
ANY = GroupSettings("any")


def node(name: str, *, failures: int = 0, held: int = 0) -> Candidate:
    return Candidate(name, True, failures, held)


def unfit(name: str) -> Candidate:
    return Candidate(name, False, 0, 0)


@pytest.mark.parametrize(
    ("group", "candidates", "expected"),
    [
        (WEB, [node("A"), node("B"), node("C")], "BAC"),
        (WEB, [node("A"), unfit("B")], "A"),
        (WEB, [unfit("A"), unfit("B")], ""),
        (WEB, [node("A"), node("B", failures=1)], "AB"),  # failed lately: last, preferred or not
        (WEB, [node("B", failures=2), node("A", failures=1)], "AB"),
        (WEB, [node("A", held=0), node("B", held=3)], "BA"),  # a preference is stronger than the load
        (ANY, [node("A", held=2), node("B"), node("C", held=1)], "BCA"),
        (ANY, [node("C"), node("B"), node("A")], "ABC"),
    ],
)
def test_who_tries_first(group: GroupSettings, candidates: list[Candidate], expected: str) -> None:
    for shuffled in itertools.permutations(candidates):
        assert "".join(order(group, list(shuffled))) == expected


def test_nodes_that_prefer_does_not_name_are_equal_and_last() -> None:
    assert [preference(WEB, name) for name in "BACD"] == [0, 1, 2, 2]


@pytest.mark.parametrize(
    ("holder", "candidates", "expected"),
    [
        ("A", [node("A"), node("B")], "B"),
        ("B", [node("A"), node("B")], ""),
        ("A", [node("A"), unfit("B")], ""),
        ("A", [node("A"), node("B", failures=1)], ""),  # it would only fail again
        ("C", [node("A"), node("B"), node("C")], "B"),
        ("C", [node("C"), node("D")], ""),  # neither is named
    ],
)
def test_failback_goes_to_a_better_node_only(holder: str, candidates: list[Candidate], expected: str) -> None:
    assert should_yield(WEB, holder, candidates) == expected


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((True, 99), (False, 1), "A"),
        ((None, 1), (True, 99), "B"),
        ((False, 99), (None, 1), "B"),  # neither is known to reach it: the older tenure
        ((True, 1), (True, 9), "A"),
        ((False, 9), (False, 1), "B"),
        ((None, 5), (None, 5), "B"),  # of equal age: `prefer`
    ],
)
def test_who_keeps_it(a: tuple[bool | None, int], b: tuple[bool | None, int], expected: str) -> None:
    one, other = Contender("A", *a), Contender("B", *b)
    assert winner(WEB, one, other) == expected
    assert winner(WEB, other, one) == expected, "whoever asks, the answer is the same"


def test_without_a_preference_the_name_decides() -> None:
    assert winner(ANY, Contender("B", None, 1), Contender("A", None, 1)) == "A"
