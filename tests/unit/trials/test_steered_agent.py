"""Counters that are steered: what they count, read at any time, is one and the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from trials.chaos.steered_agent import AHEAD_S, Course, course_in, steer


def test_a_pace_begins_where_the_one_before_ends() -> None:
    course = Course(at=10.0, counted=11.0, before=1.1, after=0.9)
    assert course.count(9.0) == pytest.approx(9.9)
    assert course.count(10.0) == 11.0
    assert course.count(12.0) == pytest.approx(12.8)


def test_hosts_that_are_steered_alike_count_alike(tmp_path: Path) -> None:
    """Whoever looks only at the end has counted what the others have."""
    one, other = tmp_path / "A", tmp_path / "B"
    first = course_in(one / "pace")
    assert first.count(5.0) == 5.0, "nobody has steered it"
    steer([one, other], 0.1)
    second = course_in(one / "pace")
    assert second == course_in(other / "pace")
    assert second.count(second.at + 1.1) - second.count(second.at) == pytest.approx(1.0)
    assert second.count(second.at - AHEAD_S) == pytest.approx(first.count(second.at - AHEAD_S))
    steer([one, other], 0.0)
    third = course_in(one / "pace")
    assert third.count(second.at) <= third.count(third.at) <= third.count(third.at + 1.0)
    assert third.count(third.at) == pytest.approx(second.count(third.at))
