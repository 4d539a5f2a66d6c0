"""The guards' three small machines in virtual time: who answers, what can be reached, when to defend."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haagent.guards.conflict import DEFEND_S, REMIND_S, Conflict
from haagent.guards.inquiry import ROUND_S, SHORTEST_ROUND_S, SLOW_S, YOUNG_S, Inquiry, round_s
from haagent.guards.reachability import HURRIED_S, LOST_S, REGULAR_S, Reachability, hurried_s

THEY = "10.0.0.1 is still answered by 02:00:00:00:00:01 on eth0"
Answers = Callable[[float], bool]  # to a question asked then: is it answered?


class Neighbours:
    """Asks as an `Inquiry` says; an answer comes half a millisecond after its question."""

    def __init__(self, answers: Answers, *, began: float = 100.0) -> None:
        self.now = began
        self.inquiry = Inquiry(now=began, round_s=ROUND_S)
        self.asked: list[float] = []
        self.words: list[tuple[float, str | None]] = []
        self._answers = answers

    def run(self, until: float) -> None:
        while self.inquiry.due <= until:
            self.now = max(self.now, self.inquiry.due)
            if self.inquiry.advance(self.now):
                self.asked.append(self.now)
                self._learn()
                if self._answers(self.now):
                    self.now += 0.0005
                    self.inquiry.answered(THEY)
            self._learn()

    def _learn(self) -> None:
        if not self.words or self.words[-1][1] != self.inquiry.word:
            self.words.append((self.now, self.inquiry.word))


class TestInquiry:
    def test_three_silent_rounds_are_an_answer(self) -> None:
        seen = Neighbours(lambda _: False)
        seen.run(101.0)
        assert seen.words == [(100.0, None), (pytest.approx(100.03), "")]
        assert seen.asked[:4] == pytest.approx([100.0, 100.01, 100.02, 100.03 + SLOW_S - ROUND_S])

    def test_one_answer_is_proof(self) -> None:
        seen = Neighbours(lambda at: at < 100.005)
        seen.run(100.004)
        assert seen.words[-1] == (pytest.approx(100.0005), THEY)

    def test_the_end_of_the_answers_is_seen_in_three_rounds(self) -> None:
        seen = Neighbours(lambda at: at < 101.0)
        seen.run(101.2)
        assert seen.words[-1] == (pytest.approx(101.03, abs=0.011), "")

    def test_after_two_seconds_of_answers_it_asks_at_ease_and_notices_the_end_all_the_same(self) -> None:
        seen = Neighbours(lambda at: at < 110.0)
        seen.run(111.0)
        at_ease = [at for at in seen.asked if 100 + YOUNG_S + 0.1 < at < 110]
        assert len(at_ease) == pytest.approx(8 / SLOW_S, abs=3)
        ended_at, word = seen.words[-1]
        assert (word, ended_at) == ("", pytest.approx(110.0, abs=SLOW_S + 4 * ROUND_S))

    def test_a_lost_answer_is_no_silence(self) -> None:
        """Two rounds of three may be lost."""
        seen = Neighbours(lambda at: round((at - 100) / ROUND_S) % 3 == 0)
        seen.run(101.5)
        assert [word for _, word in seen.words] == [None, THEY]

    def test_somebody_who_appears_is_told_at_once(self) -> None:
        seen = Neighbours(lambda at: at > 103.0)
        seen.run(104.0)
        assert seen.words[1:] == [(pytest.approx(100.03), ""), (pytest.approx(103.0, abs=SLOW_S + 0.001), THEY)]

    def test_the_same_words_as_long_as_the_same_host_answers(self) -> None:
        inquiry = Inquiry(now=0.0, round_s=ROUND_S)
        assert inquiry.advance(0.0)
        for other in ("another", THEY):
            inquiry.answered(THEY)
            inquiry.answered(other)
        assert inquiry.advance(0.01)
        assert inquiry.word == THEY
        inquiry.answered("another")
        inquiry.advance(0.02)
        assert inquiry.word == "another", "the first has fallen silent"

    def test_a_question_that_could_not_be_asked_proves_nothing(self) -> None:
        inquiry = Inquiry(now=0.0, round_s=ROUND_S)
        for _ in range(100):
            assert inquiry.advance(inquiry.due)
            inquiry.void()
        assert inquiry.word is None

    def test_a_sleeper_does_not_take_its_own_sleep_for_silence(self) -> None:
        """Rounds are counted, not time; what arrived meanwhile is told before the next round is judged."""
        inquiry = Inquiry(now=0.0, round_s=ROUND_S)
        assert inquiry.advance(0.0)
        assert inquiry.advance(5.0)
        assert inquiry.word is None

    @given(st.lists(st.booleans(), max_size=60))
    def test_nobody_is_never_said_within_three_rounds_of_an_answer(self, answered: list[bool]) -> None:
        inquiry, now, silent = Inquiry(now=0.0, round_s=ROUND_S), 0.0, 0
        for is_answered in answered:
            while not inquiry.advance(now):
                now = inquiry.due
            if inquiry.word == "":
                assert silent >= 3
            silent = 0 if is_answered else silent + 1
            if is_answered:
                inquiry.answered(THEY)
                assert inquiry.word == THEY

    def test_a_short_lease_has_short_rounds(self) -> None:
        assert round_s(0.35) == pytest.approx(0.01)
        assert round_s(3.5) == ROUND_S
        assert round_s(0.035) == SHORTEST_ROUND_S
        assert 3 * round_s(0.035) < 0.035 / 2


class Target:
    """Asks as a `Reachability` says; answers come at once."""

    def __init__(self, answers: Answers) -> None:
        self.now = 0.0
        self.reach = Reachability(now=0.0, hurried_s=HURRIED_S)
        self.asked: list[float] = []
        self.words: list[tuple[float, bool | None]] = []
        self._answers = answers

    def run(self, until: float) -> None:
        while self.reach.due <= until:
            self.now = max(self.now, self.reach.due)
            if self.reach.advance(self.now):
                self.asked.append(self.now)
                if self._answers(self.now):
                    self.reach.answered(self.now)
            if not self.words or self.words[-1][1] != self.reach.reachable:
                self.words.append((self.now, self.reach.reachable))
        self.now = until


class TestReach:
    def test_while_all_is_well_it_is_asked_once_a_second(self) -> None:
        seen = Target(lambda _: True)
        seen.run(10.5)
        assert seen.asked == pytest.approx([REGULAR_S * second for second in range(11)])
        assert seen.words == [(0.0, True)]

    def test_without_haste_it_is_lost_after_a_second_of_silence(self) -> None:
        seen = Target(lambda at: at < 4.5)
        seen.run(10.0)
        assert seen.words[-1] == (pytest.approx(6.0), False)
        lost = [at for at in seen.asked if at > 6.05]
        assert lost[1] - lost[0] == pytest.approx(LOST_S)

    def test_in_a_hurry_three_misses_count(self) -> None:
        seen = Target(lambda at: at < 4.4)
        seen.run(4.5)
        seen.reach.hurry(seen.now)
        seen.run(5.0)
        assert seen.words[-1] == (pytest.approx(4.5 + 3 * HURRIED_S), False)

    def test_a_hurry_is_over_with_the_first_answer(self) -> None:
        seen = Target(lambda _: True)
        seen.run(4.5)
        for _ in range(5):
            seen.reach.hurry(seen.now)
            seen.run(seen.now)
        assert [at for at in seen.asked if at > 4.1] == pytest.approx([4.5] * 5)
        seen.run(5.6)
        assert seen.asked[-1] == pytest.approx(4.5 + REGULAR_S)

    def test_a_second_call_does_not_begin_the_hurry_anew(self) -> None:
        seen = Target(lambda at: at < 4.4)
        seen.run(4.5)
        for tenth in range(10):
            seen.reach.hurry(seen.now)
            seen.run(4.5 + tenth / 100)
        assert seen.words[-1] == (pytest.approx(4.5 + 3 * HURRIED_S), False)

    def test_misses_without_haste_do_not_count_in_a_hurry(self) -> None:
        seen = Target(lambda at: at < 4.4 or at > 5.65)
        seen.run(5.61)  # three were missed
        seen.reach.hurry(seen.now)
        seen.run(6.0)
        assert [word for _, word in seen.words] == [True]

    def test_one_answer_brings_it_back(self) -> None:
        seen = Target(lambda at: not 4.5 < at < 8.0)
        seen.run(9.0)
        assert seen.words[-1] == (pytest.approx(8.0, abs=LOST_S), True)

    def test_the_verdict_is_there_well_before_a_lease_ends(self) -> None:
        for lease_s in (0.05, 0.1, 0.35, 3.5):
            # A heartbeat is overdue after 1.5 of 3.5 intervals.
            assert 1.5 / 3.5 * lease_s + 3 * hurried_s(lease_s) < lease_s


class TestConflict:
    def test_the_first_is_answered_at_once(self) -> None:
        conflict = Conflict()
        conflict.heard(5.0)
        assert conflict.defend_at == 5.0

    def test_then_not_more_than_ten_times_a_second_and_the_last_word_is_ours(self) -> None:
        conflict, defended = Conflict(), []
        frames = [5.0 + frame / 1000 for frame in range(1000)]
        for now in [*frames, 6.5]:
            if conflict.defend_at is not None and conflict.defend_at <= now:
                defended.append(conflict.defend_at)
                conflict.defended(conflict.defend_at)
            if now < 6.0:
                conflict.heard(now)
        assert all(later - one >= DEFEND_S - 1e-9 for one, later in pairwise(defended))
        assert len(defended) == pytest.approx(1 / DEFEND_S, abs=1.5)
        assert defended[-1] >= frames[-1]
        assert conflict.counters["conflicts"] == 1000

    def test_it_is_said_once_a_minute_for_each_stranger(self) -> None:
        conflict = Conflict()
        said = [conflict.may_say(float(second), "02:00:00:00:00:66") for second in range(130)]
        assert {second: count for second, count in enumerate(said) if count} == {
            0: 1,
            int(REMIND_S): int(REMIND_S),
            2 * int(REMIND_S): int(REMIND_S),
        }
        assert conflict.may_say(1.0, "02:00:00:00:00:67") == 1

    def test_whoever_makes_up_names_is_one_stranger(self) -> None:
        conflict = Conflict()
        said = sum(bool(conflict.may_say(1.0, f"stranger {number}")) for number in range(1000))
        assert said <= 20
