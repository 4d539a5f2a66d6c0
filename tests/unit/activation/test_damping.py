"""When a check's word counts: tables of what it says when, and what counts then."""

from __future__ import annotations

from typing import Any

import pytest

from haagent.activation.damping import Damping

BAD, GOOD = "bad", ""
Story = list[tuple[float, str | None, str]]  # at, what it says (None: only time has passed), and what counts then

Terms = dict[str, Any]  # of the damping
PROBED: Terms = {"rise": 2, "fall": 3, "hold_s": 0.0}
WATCHED: Terms = {"hold_s": 1.0}

STORIES: dict[str, tuple[Terms, Story]] = {
    "what it says first counts at once": (PROBED, [(0, BAD, BAD)]),
    "three bad ones in a row": (PROBED, [(0, GOOD, GOOD), (1, BAD, GOOD), (2, BAD, GOOD), (3, BAD, BAD)]),
    "a good one between starts the count anew": (
        PROBED,
        [
            (0, GOOD, GOOD),
            (1, BAD, GOOD),
            (2, BAD, GOOD),
            (3, GOOD, GOOD),
            (4, BAD, GOOD),
            (5, BAD, GOOD),
            (6, BAD, BAD),
        ],
    ),
    "two good ones in a row": (PROBED, [(0, BAD, BAD), (1, GOOD, BAD), (2, BAD, BAD), (3, GOOD, BAD), (4, GOOD, GOOD)]),
    "why it fails may change": (PROBED, [(0, BAD, BAD), (1, "worse", "worse"), (2, BAD, BAD)]),
    "a loss that is watched counts at once, a return after the hold": (
        WATCHED,
        [(0, GOOD, GOOD), (5, BAD, BAD), (6, GOOD, BAD), (6.9, None, BAD), (7, None, GOOD)],
    ),
    "the hold starts with the first good word, and anew after a bad one": (
        WATCHED,
        [
            (0, BAD, BAD),
            (1, GOOD, BAD),
            (1.5, GOOD, BAD),
            (1.8, BAD, BAD),
            (2, GOOD, BAD),
            (2.9, GOOD, BAD),
            (3, GOOD, GOOD),
        ],
    ),
    "rise and hold both": (
        {"rise": 3, "hold_s": 1.0},
        [(0, BAD, BAD), (1, GOOD, BAD), (3, GOOD, BAD), (4, GOOD, GOOD)],
    ),
    "without a hold a good word counts at once": ({"hold_s": 0.0}, [(0, BAD, BAD), (0.1, GOOD, GOOD)]),
    "who fails again within a minute is held twice as long": (
        WATCHED,
        [
            (0, BAD, BAD),
            (1, GOOD, BAD),
            (2, None, GOOD),
            (3, BAD, BAD),
            (4, GOOD, BAD),
            (5.9, None, BAD),
            (6, None, GOOD),
        ],
    ),
    "who was good for a minute is not": (
        WATCHED,
        [(0, BAD, BAD), (1, GOOD, BAD), (2, None, GOOD), (62, BAD, BAD), (63, GOOD, BAD), (64, None, GOOD)],
    ),
}


@pytest.mark.parametrize("name", STORIES)
def test_what_counts(name: str) -> None:
    terms, story = STORIES[name]
    damping = Damping(**terms)
    for at, said, counts in story:
        if said is None:
            damping.woke(at)
        else:
            damping.heard(at, said)
        assert damping.why == counts, at


def test_a_hold_grows_to_a_minute_and_no_further() -> None:
    damping, now, holds = Damping(**WATCHED), 0.0, []
    for _ in range(9):
        damping.heard(now, BAD)
        damping.heard(now, GOOD)
        assert damping.deadline is not None
        holds.append(damping.deadline - now)
        now = damping.deadline
        damping.woke(now)
    assert holds == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_what_had_failed_before_passes_on_the_same_terms() -> None:
    damping = Damping(**PROBED, why="bad before")
    damping.heard(0, GOOD)
    assert damping.why == "bad before"
    damping.heard(1, GOOD)
    assert damping.why == GOOD


def test_there_is_a_deadline_only_while_something_is_held() -> None:
    damping = Damping(**WATCHED)
    for at, said, is_armed in ((0, GOOD, False), (1, BAD, False), (2, GOOD, True), (2.5, BAD, False), (3, GOOD, True)):
        damping.heard(at, said)
        assert (damping.deadline is not None) is is_armed
    damping.woke(4)
    assert damping.deadline is None
