"""Who answered at once: what counts, and what one round trip explains. Histories are made up."""

from __future__ import annotations

import pytest

from haagent.lab.answers import dual_ms, overlaps, spans
from tests.support.sample_histories import START_S, trace


def test_a_clean_hand_over_is_none() -> None:
    seen = trace({"A": [(0, 50)], "B": [(50, 100)]}, length=100)
    assert overlaps(seen) == []
    assert [(span.node, round(1e3 * (span.since_s - START_S), 1)) for span in spans(seen)] == [("A", 0.2), ("B", 50.2)]


def test_an_old_holder_that_answers_what_was_asked_after_the_new_ones_first_answer() -> None:
    found = overlaps(trace({"A": [(0, 60)], "B": [(50, 100)]}, length=100))
    assert [(one.older, one.younger) for one in found] == [("A", "B")]
    assert found[0].start_s == pytest.approx(START_S + 0.0502)
    assert found[0].ms == pytest.approx(8.8)  # from B's first answer to A's last request that was answered


def test_both_answers_to_one_request_may_be_a_hand_over_within_its_round_trip() -> None:
    assert overlaps(trace({"A": [(0, 51)], "B": [(50, 100)]}, length=100)) == []
    assert overlaps(trace({"A": [(0, 52)], "B": [(50, 100)]}, length=100))


def test_a_late_answer_to_an_early_request_accuses_nobody() -> None:
    late = {("A", at): 70 for at in range(45, 50)}  # the answers lay in a queue for 20 ms
    assert overlaps(trace({"A": [(0, 50)], "B": [(50, 100)]}, length=100, late=late)) == []


def test_a_slow_first_answer_of_the_new_holder_proves_nothing_before_it_came() -> None:
    late = {("B", at): 60 for at in range(50, 60)}
    found = overlaps(trace({"A": [(0, 55)], "B": [(50, 100)]}, length=100, late=late))
    assert found == []


def test_who_gets_it_back_was_silent_in_between() -> None:
    seen = trace({"A": [(0, 50), (80, 100)], "B": [(50, 80)]}, length=100)
    assert overlaps(seen) == []
    assert [span.node for span in spans(seen)] == ["A", "A", "B"]


def test_a_silence_too_short_for_a_hand_over_is_none() -> None:
    """A was asked four times and missed them; B answered meanwhile."""
    found = overlaps(trace({"A": [(0, 50), (54, 100)], "B": [(50, 54)]}, length=100))
    assert [(one.older, one.younger) for one in found] == [("A", "B")]


def test_a_single_answer_in_the_midst_of_anothers_counts() -> None:
    found = overlaps(trace({"A": [(0, 100)], "B": [(50, 51)]}, length=100))
    assert [(one.older, one.younger, one.ms) for one in found] == [("A", "B", 1.0)]


def test_the_clients_own_requests_are_evidence_too() -> None:
    """Nobody is asked directly here: the client's table leads to one node and then to another, and back at once."""
    seen = trace({"A": [(0, 100)], "B": [(0, 100)]}, length=100, routed=[(0, "A"), (40, "B"), (45, "A")])
    alone = type(seen)(seen.address, 0.001, START_S, seen.sent, seen.replied, seen.answered_by)
    assert [(one.older, one.younger) for one in overlaps(alone)] == [("A", "B")]


def test_the_time_is_that_of_the_union() -> None:
    seen = trace({"A": [(0, 60)], "B": [(50, 100)], "C": [(55, 70)]}, length=100)
    assert dual_ms(seen) == pytest.approx(19.0, abs=0.3)  # A and B, then B and C
    assert dual_ms(seen, start_s=START_S + 0.08) == 0.0
    assert dual_ms(seen, end_s=START_S + 0.052) == pytest.approx(1.8)


def test_nothing_at_all() -> None:
    assert overlaps(trace({"A": []}, length=20)) == []
    assert dual_ms(trace({}, length=0)) == 0.0
