"""What a store has seen, and does not hold, is gone."""

from __future__ import annotations

from haagent.core.store.comparison import Answers, Comparison
from haagent.core.store.messages import Ask
from haagent.core.store.seen import Seen, is_gone
from haagent.core.store.stamps import SHIFT
from tests.unit.core.store.worlds import NOW, store


def at(ms: int, number: int = 1) -> int:
    return (NOW + ms) << SHIFT | number


def test_ranges_that_meet_become_one() -> None:
    seen = Seen()
    for low, high in ((10, 20), (10, 25), (40, 50), (24, 41), (60, 61)):
        seen.add(1, low, high)
    assert seen.ranges == {1: [(10, 50), (60, 61)]}
    other = Seen()
    other.merge(seen.ranges)
    assert other.ranges == seen.ranges


def test_only_what_was_seen_and_is_older_than_what_was_forgotten_is_gone() -> None:
    seen = {1: [(at(0), at(100))]}
    for ms, number, forgotten, gone in ((50, 1, at(60), True), (50, 1, at(40), False), (50, 2, at(60), False)):
        entry = (b"v", at(ms, number), at(ms, number), 0, 0)
        assert is_gone(seen, forgotten, entry) is gone
    assert not is_gone(seen, at(500), (b"v", at(101), at(101), 0, 0))


def test_a_key_that_was_removed_and_forgotten_elsewhere_goes_and_a_new_one_comes() -> None:
    a, b = store(1), store(2)
    a.put(NOW, 0, b"sess:old", b"v", 0)
    for effect in a.take_effects():
        b.apply(NOW, effect)
    b.remove(NOW + 1, 0, b"sess:old")
    b.expire_some(NOW + 4_000_000, 100)
    assert b.forgotten > 0
    a.put(NOW + 4_000_000, 0, b"sess:new", b"v", 0)
    b.seen.add(1, at(0), a.clock.last)
    comparison = Comparison("B", 1, is_first=False)
    answers = Answers()
    comparison.hear_digests(a, answers.digests(b, 1, with_traces=False))
    while asks := list(comparison.asks(a, NOW + 4_000_000)):
        for ask in asks:
            assert isinstance(ask, Ask)
            for part in answers.slices(b, NOW + 4_000_000, ask):
                comparison.hear_slice(a, NOW + 4_000_000, part)
    assert list(a.keys(NOW + 4_000_000, 0)) == [b"sess:new"]


def test_a_longer_life_of_an_old_version_is_a_new_version() -> None:
    s = store(1)
    s.put(NOW, 0, b"sess:1", b"v", NOW + 10_000_000)
    (first,) = s.take_effects()
    s.expire(NOW + 2_000_000, 0, b"sess:1", NOW + 20_000_000)
    (second,) = s.take_effects()
    assert type(second) is type(first)
    assert second.stamp > first.stamp  # type: ignore[union-attr]
