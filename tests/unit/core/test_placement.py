"""Who should hold a group, and of two who both do, who keeps it."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haagent.core.placement import Candidate, Contender, Place, lighter, order, plan, preference, should_yield, winner
from haagent.core.settings import LEADER, GroupSettings

WEB = GroupSettings("web", prefer=("B", "A"))
ANY = GroupSettings("any")


def node(name: str, *, failures: int = 0, penalty: int = 0) -> Candidate:
    return Candidate(name, True, failures, penalty)


def unfit(name: str, *, penalty: int = 0) -> Candidate:
    return Candidate(name, False, 0, penalty)


@pytest.mark.parametrize(
    ("group", "candidates", "load", "expected"),
    [
        (WEB, [node("A"), node("B"), node("C")], {}, "BAC"),
        (WEB, [node("A"), unfit("B")], {}, "A"),
        (WEB, [unfit("A"), unfit("B")], {}, ""),
        (WEB, [node("A"), node("B", failures=1)], {}, "AB"),  # failed lately: last, preferred or not
        (WEB, [node("B", failures=2), node("A", failures=1)], {}, "AB"),
        (WEB, [node("A"), node("B", penalty=1)], {}, "AB"),  # a failing check is stronger than a preference
        (WEB, [node("A", failures=1), node("B", penalty=99)], {}, "BA"),  # and a failed take stronger than both
        (WEB, [node("A", penalty=30), node("B", penalty=20), node("C", penalty=10)], {}, "CBA"),
        (WEB, [node("A"), node("B")], {"B": 3}, "BA"),  # a preference is stronger than the load
        (ANY, [node("A"), node("B"), node("C")], {"A": 2, "C": 1}, "BCA"),
        (ANY, [node("C"), node("B"), node("A")], {}, "ABC"),
    ],
)
def test_who_tries_first(
    group: GroupSettings, candidates: list[Candidate], load: dict[str, int], expected: str
) -> None:
    for shuffled in itertools.permutations(candidates):
        assert "".join(order(group, shuffled, load)) == expected


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
        ("A", [node("A"), node("B", penalty=1)], ""),  # it would come back for that
        ("A", [node("A", penalty=9), node("B", penalty=9)], "B"),
        ("C", [node("A"), node("B", penalty=1), node("C")], "A"),
    ],
)
def test_failback_goes_to_a_better_node_only(holder: str, candidates: list[Candidate], expected: str) -> None:
    assert should_yield(WEB, holder, candidates) == expected


@pytest.mark.parametrize(
    ("holder", "candidates", "expected"),
    [
        ("B", [node("A"), node("B", penalty=1)], "A"),
        ("B", [node("A", penalty=1), node("B", penalty=2)], "A"),
        ("A", [node("A", penalty=1), node("B", penalty=1)], ""),  # equal ones move nothing, whatever `prefer` says
        ("A", [node("A"), node("B", penalty=1)], ""),
        ("B", [unfit("A"), node("B", penalty=1)], ""),
        ("B", [node("A", failures=1), node("B", penalty=1)], ""),  # it would only fail again
        ("B", [node("A", penalty=5), node("B", penalty=9), node("C")], "C"),
        ("C", [node("A"), node("B"), node("C", penalty=1)], "B"),
    ],
)
def test_failing_checks_move_a_group_to_where_they_weigh_less(
    holder: str, candidates: list[Candidate], expected: str
) -> None:
    found = lighter(WEB, holder, candidates)
    assert (found.name if found else "") == expected


@given(
    penalties=st.tuples(*[st.integers(0, 3)] * 3),
    failures=st.tuples(*[st.integers(0, 1)] * 3),
    holder=st.sampled_from("ABC"),
)
def test_a_group_comes_to_rest_whatever_the_checks_say(
    penalties: tuple[int, ...], failures: tuple[int, ...], holder: str
) -> None:
    candidates = [
        node(name, penalty=penalty, failures=failed)
        for name, penalty, failed in zip("ABC", penalties, failures, strict=True)
    ]
    been = [holder]
    while (found := lighter(WEB, been[-1], candidates)) or should_yield(WEB, been[-1], candidates):
        been.append(found.name if found else should_yield(WEB, been[-1], candidates))
        assert len(been) == len(set(been)), "it comes back to where it was"


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


# ---------------------------------------------------------------------- all groups at once

NODES = "ABCDE"
few = st.sampled_from((0, 0, 0, 1))


@st.composite
def _place(draw: st.DrawFn, number: int) -> Place:
    prefer = tuple(draw(st.permutations(NODES))[: draw(st.integers(0, 2))])
    candidates = tuple(
        Candidate(name, draw(st.booleans()) or draw(st.booleans()), *draw(st.tuples(few, few))) for name in NODES
    )
    return Place(GroupSettings(f"g{number}", prefer), draw(st.sampled_from(("", "", *NODES))), candidates)


pictures = st.integers(1, 12).flatmap(lambda count: st.tuples(*map(_place, range(count))))


def free(name: str, *, prefer: str = "", nodes: str = "ABC") -> Place:
    return Place(GroupSettings(name, prefer=tuple(prefer)), "", tuple(node(each) for each in nodes))


def firsts(places: list[Place]) -> str:
    planned = plan(places)
    return "".join(planned[place.group.name][0] for place in places)


def test_groups_that_are_free_at_once_spread() -> None:
    assert firsts([free("a"), free("b"), free("c"), free("d")]) == "ABCA"


def test_what_is_preferred_is_placed_first_and_counts() -> None:
    assert firsts([free("a"), free("b"), free("c", prefer="A"), free("d", prefer="A")]) == "BCAA"


def test_what_has_little_choice_is_placed_before_what_has_more() -> None:
    assert firsts([free("a"), free("b"), free("z", nodes="A")]) == "BCA"


def test_the_leader_does_not_count() -> None:
    leader = Place(GroupSettings(LEADER), "A", tuple(node(each) for each in "ABC"))
    assert firsts([leader, free("a"), free("b")]) == "AAB"


@given(picture=pictures, chance=st.randoms(use_true_random=False))
def test_whoever_has_the_same_picture_has_the_same_plan(picture: tuple[Place, ...], chance: random.Random) -> None:
    shuffled = [
        msgspec.structs.replace(place, candidates=tuple(chance.sample(place.candidates, len(place.candidates))))
        for place in chance.sample(picture, len(picture))
    ]
    assert plan(shuffled) == plan(picture)


@given(picture=pictures)
def test_only_who_is_fit_is_chosen_and_failures_penalties_and_preferences_come_before_the_load(
    picture: tuple[Place, ...],
) -> None:
    planned = plan(picture)
    for place in picture:
        names = planned[place.group.name]
        fit = {
            one.name: (one.failures, one.penalty, preference(place.group, one.name))
            for one in place.candidates
            if one.is_fit
        }
        assert sorted(names) == sorted(fit)
        assert [fit[name] for name in names] == sorted(fit.values())


@given(held=st.lists(st.sampled_from("ABC"), max_size=6), order=st.permutations(range(7)))
def test_however_the_takes_interleave_they_end_in_a_spread(held: list[str], order: list[int]) -> None:
    """Each take changes the picture, and whoever is next decides by the new one."""
    nodes = tuple(node(each) for each in "ABC")
    places = [Place(GroupSettings(f"h{number}"), holder, nodes) for number, holder in enumerate(held)]
    places += [free(f"f{number}") for number in range(len(order))]
    for number in order:
        taken = f"f{number}"
        holder = plan(places)[taken][0]
        places = [
            msgspec.structs.replace(place, holder=holder) if place.group.name == taken else place for place in places
        ]
    before, after = Counter(held), Counter(place.holder for place in places)
    least = min(after[name] for name in "ABC")
    assert all(after[name] - least <= 1 for name in "ABC" if after[name] > before[name])


def test_a_wish_that_nobody_can_fulfil_comes_after_those_with_less_choice() -> None:
    """Else it takes the node that the others need, and has another one as soon as they are taken."""
    wish = Place(GroupSettings("c", prefer=("A",)), "", (unfit("A"), *(node(each) for each in "BCDE")))
    assert firsts([free("a", nodes="BD"), free("b", nodes="BD"), wish]) == "BDC"


@given(held=st.lists(st.sampled_from("ABC"), max_size=6), free_ones=st.integers(1, 9))
def test_no_node_gets_one_more_while_another_has_fewer(held: list[str], free_ones: int) -> None:
    nodes = tuple(node(each) for each in "ABC")
    places = [Place(GroupSettings(f"h{number}"), holder, nodes) for number, holder in enumerate(held)]
    places += [free(f"f{number}") for number in range(free_ones)]
    planned = plan(places)
    load, given_ = Counter(held), Counter(planned[f"f{number}"][0] for number in range(free_ones))
    least = min(load[name] + given_[name] for name in "ABC")
    assert all(load[name] + count - least <= 1 for name, count in given_.items())
