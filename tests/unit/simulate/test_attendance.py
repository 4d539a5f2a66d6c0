"""Who answered when: ends that nobody saw, gaps between, and two at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from haagent.simulate.attendance import Overlap, Span, Spans, gaps, overlaps, union, without

NEVER = float("-inf")

instants = st.integers(0, 40)
spans = st.lists(
    st.tuples(instants, instants)
    .filter(lambda span: span[0] < span[1])
    .map(lambda span: (float(span[0]), float(span[1])))
)


def seen(*looks: tuple[float, float], end: float) -> tuple[list[Span], list[float | None]]:
    one = Spans()
    ended = [one.see(now, until) for now, until in looks]
    one.finish(end)
    return one.closed, ended


def test_what_is_renewed_goes_on_and_what_is_dropped_ends_then() -> None:
    assert seen((1.0, 2.0), (1.5, 2.5), (1.8, NEVER), end=9.0) == ([(1.0, 1.8)], [None, None, None])


def test_what_is_not_renewed_ends_by_itself_at_its_time() -> None:
    assert seen((1.0, 2.0), (5.0, 2.0), end=9.0) == ([(1.0, 2.0)], [None, 2.0])
    assert seen((1.0, 2.0), (5.0, NEVER), end=9.0) == ([(1.0, 2.0)], [None, 2.0])
    assert seen((1.0, 2.0), end=9.0) == ([(1.0, 2.0)], [None])


def test_what_is_renewed_too_late_ended_and_began_again() -> None:
    assert seen((1.0, 2.0), (3.0, 4.0), (3.5, NEVER), end=9.0) == ([(1.0, 2.0), (3.0, 3.5)], [None, 2.0, None])


def test_what_still_is_at_the_end_ends_with_it() -> None:
    assert seen((0.0, NEVER), (1.0, 20.0), end=9.0) == ([(1.0, 9.0)], [None, None])


def test_gaps_begin_after_the_first_start() -> None:
    assert gaps([(2.0, 3.0), (4.0, 6.0), (5.0, 7.0)], until=9.0) == [(3.0, 4.0), (7.0, 9.0)]
    assert gaps([(2.0, 9.0)], until=9.0) == []


def test_an_overlap_names_who_and_when() -> None:
    found = list(overlaps({"A": [(0.0, 3.0)], "B": [(2.0, 5.0)], "C": [(2.5, 2.75), (4.0, 6.0)]}))
    assert found == [
        Overlap(("A", "B"), 2.0, 2.5),
        Overlap(("A", "B", "C"), 2.5, 2.75),
        Overlap(("A", "B"), 2.75, 3.0),
        Overlap(("B", "C"), 4.0, 5.0),
    ]


@given(spans, spans, instants)
def test_spans_are_what_their_instants_say(one: list[Span], other: list[Span], at: int) -> None:
    """Looked at in the middle between two instants, where no edge is."""
    now = at + 0.5

    def inside(each: list[Span]) -> bool:
        return any(start <= now < end for start, end in each)

    assert inside(union(one)) == inside(one)
    assert inside(without(one, other)) == (inside(one) and not inside(other))
    both = [(found.start_s, found.end_s) for found in overlaps({"A": union(one), "B": union(other)})]
    assert inside(both) == (inside(one) and inside(other))
    if one:
        first = min(start for start, _ in one)
        assert inside(gaps(one, until=41.0)) == (not inside(one) and first <= now < 41.0)
