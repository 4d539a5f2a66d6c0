"""The judge of the chaos campaign: it must be able to condemn. Histories are made up, each with one thing wrong."""

from __future__ import annotations

import random
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from tests.support.sample_histories import history, strike, trace
from trials.chaos import bounds, report
from trials.chaos.campaign import Candidacy, Outcome
from trials.chaos.faults import DEEDS
from trials.chaos.history import History, check, load, save, see
from trials.chaos.schedule import FAULTS, Chances, Kind, Mode, Strike, episodes, may_meet

LEASE_MS = 350.0


def laws(history: History) -> list[str]:
    return [violation.law for violation in check(history)]


class TestOneHolder:
    def test_a_clean_take_over(self) -> None:
        assert check(history([trace({"A": [(0, 400)], "B": [(402, 1500)]}, length=1500)], strike("host lost"))) == []

    @pytest.mark.parametrize("mode", Mode)
    def test_two_that_answer_at_once(self, mode: Mode) -> None:
        seen = trace({"A": [(0, 410)], "B": [(400, 1500)]}, length=1500)
        assert laws(history([seen], strike("agent frozen"), mode=mode)) == ["one holder"]

    def test_an_old_holder_that_wakes_up_and_answers(self) -> None:
        seen = trace({"A": [(0, 105), (600, 610)], "B": [(420, 1500)]}, length=1500)
        assert laws(history([seen], strike("everything frozen"))) == ["one holder"]

    def test_either_address(self) -> None:
        clean = trace({"A": [(0, 400)], "B": [(402, 1500)]}, length=1500)
        double = trace({"A": [(0, 420)], "B": [(402, 1500)]}, length=1500)
        assert laws(history([clean, double], strike("host lost"))) == ["one holder"]


class TestOutage:
    def test_longer_than_the_bound(self) -> None:
        """A lease, 30 ms, the allowance and the noise: 432 ms."""
        good = trace({"A": [(0, 100)], "B": [(530, 1500)]}, length=1500)
        bad = trace({"A": [(0, 100)], "B": [(534, 1500)]}, length=1500)
        assert laws(history([good], strike("host lost"))) == []
        assert laws(history([bad], strike("host lost"))) == ["outage"]

    def test_each_fault_has_its_own(self) -> None:
        seen = trace({"A": [(0, 100)], "B": [(200, 1500)]}, length=1500)
        assert laws(history([seen], strike("host lost"))) == []
        assert laws(history([seen], strike("agent killed"))) == ["outage"]

    @pytest.mark.parametrize("role", ["other", "witness"])
    def test_a_bystander_may_cost_nothing(self, role: str) -> None:
        seen = trace({"A": [(0, 100), (160, 1500)]}, length=1500)
        assert laws(history([seen], strike("host lost", role))) == ["outage"]
        assert laws(history([seen], strike("host lost"))) == []

    def test_after_the_mending_nothing_may_be_missing(self) -> None:
        """A node that comes back, a stale table of neighbours: 700 ms after the start of an outage-free second."""
        seen = trace({"A": [(0, 400)], "B": [(402, 1000), (1100, 1500)]}, length=1500)
        assert laws(history([seen], strike("cut from the nodes"))) == ["outage"]

    def test_a_lease_that_runs_out_when_the_fault_is_over_already(self) -> None:
        seen = trace({"A": [(0, 300)], "B": [(500, 1500)]}, length=1500)
        assert laws(history([seen], strike("cut from the nodes"), mended=200)) == []

    def test_a_request_that_was_kept_and_delivered_late_does_not_cut_an_outage_in_two(self) -> None:
        """The request of 550 is answered at 649, those after it are lost until 650."""
        one = trace({"A": [(0, 100)], "B": [(550, 551), (650, 1500)]}, length=1500)
        one.replied[550] = 649_000
        pair = (strike("host lost"), strike("host lost", "witness"))
        assert laws(history([one], *pair, mended=150)) == []
        assert see(history([one], *pair, mended=150)).outage_ms == pytest.approx(550, abs=2)
        assert see(history([one], *pair, mended=150)).after_ms < 2

    def test_it_never_ends(self) -> None:
        assert laws(history([trace({"A": [(0, 100)]}, length=1500)], strike("agent killed"))) == ["outage"]

    def test_the_machines_own_pauses_are_granted(self) -> None:
        seen = trace({"A": [(0, 100)], "B": [(534, 1500)]}, length=1500)
        assert laws(history([seen], strike("host lost"), noise_ms=12.0)) == []

    def test_so_are_those_of_an_ordinary_process_up_to_an_interval(self) -> None:
        seen = trace({"A": [(0, 100)], "B": [(534, 1500)]}, length=1500)
        bad = trace({"A": [(0, 100)], "B": [(600, 1500)]}, length=1500)
        assert laws(history([seen], strike("host lost"), late_ms=20.0)) == []
        assert laws(history([bad], strike("host lost"), late_ms=20.0)) == ["outage"]
        assert laws(history([bad], strike("host lost"), late_ms=101.0)) == []

    def test_who_answered_is_judged_on_a_machine_that_stood_still_as_well(self) -> None:
        seen = trace({"A": [(0, 410)], "B": [(400, 1500)]}, length=1500)
        assert laws(history([seen], strike("agent frozen"), late_ms=900.0)) == ["one holder"]
        assert not see(history([seen], strike("agent frozen"), late_ms=900.0)).is_judged

    def test_two_at_once_may_cost_the_sum(self) -> None:
        seen = trace({"A": [(0, 100)], "B": [(540, 1500)]}, length=1500)
        pair = (strike("host lost"), strike("address removed"))
        assert laws(history([seen], *pair)) == []
        assert laws(history([seen], strike("agent killed"), strike("address removed"))) == ["outage"]

    def test_what_is_to_move_while_the_kernel_lets_nobody_touch_an_address(self) -> None:
        """Twice it may come just too late."""
        seen = trace({"A": [(0, 100)], "B": [(500, 1500)]}, length=1500)
        held = Strike("RTNL held", "holder", 0.0, 0.5, amount=0.2)
        assert laws(history([seen], held)) == ["outage"]
        assert laws(history([seen], strike("planned move"))) == ["outage"]
        assert laws(history([seen], held, strike("planned move"))) == []

    def test_an_address_that_changes_places_waits_for_the_second_reload(self) -> None:
        """It came after 500 ms."""
        seen = trace({"A": [(0, 100)], "B": [(1000, 1500)]}, length=1500)
        bad = trace({"A": [(0, 100)], "B": [(1100, 1500)]}, length=1500)
        assert laws(history([seen], strike("addresses swapped", "witness"), swapped=(seen.address,))) == []
        assert laws(history([bad], strike("addresses swapped", "witness"), swapped=(seen.address,))) == ["outage"]
        assert laws(history([seen], strike("addresses swapped"), swapped=("another",))) == ["outage"]

    def test_a_counter_that_is_slow_makes_leases_longer(self) -> None:
        seen = trace({"A": [(0, 100)], "B": [(560, 1500)]}, length=1500)
        slow, fast = (Strike("clock steered", "holder", 0.0, 0.5, amount=percent) for percent in (9.9, -9.9))
        assert laws(history([seen], strike("host lost"), slow)) == []
        assert laws(history([seen], strike("host lost"), fast)) == ["outage"]

    def test_without_a_majority_it_counts_from_the_mending(self) -> None:
        pair = (strike("host lost"), strike("host lost", "witness"))
        assert laws(history([trace({"A": [(0, 100)], "B": [(5000, 6000)]}, length=6000)], *pair)) == []
        assert laws(history([trace({"A": [(0, 100)], "B": [(8000, 9000)]}, length=9000)], *pair)) == ["outage"]
        assert see(history([trace({"A": [(0, 9000)]}, length=9000)], *pair)).bound_ms == 0.0


def test_a_cluster_that_does_not_settle() -> None:
    seen = trace({"A": [(0, 1500)]}, length=1500)
    assert laws(history([seen], strike("address removed"), unsettled="B has the address")) == ["settled"]


def test_what_was_seen() -> None:
    traces = [trace({"A": [(0, 410)], "B": [(400, 1000), (1005, 1500)]}, length=1500)]
    seen = see(history(traces, strike("agent frozen")))
    assert (seen.after_ms, seen.noise_ms, seen.bound_ms) == (6.0, 1.0, 432.0)
    assert seen.dual_ms == pytest.approx(8.8)


def test_a_record_is_judged_alike_when_it_is_read_again(tmp_path: Path) -> None:
    bad = history([trace({"A": [(0, 410)], "B": [(400, 1500)]}, length=1500)], strike("agent frozen"))
    again = load(save(bad, tmp_path))
    assert again == bad
    assert check(again) == check(bad)
    assert "A answered for 10.20.1.100" in report.text_of(again, check(again))


class TestSchedule:
    def chances(self, mode: Mode = Mode.CONSISTENT) -> Chances:
        return Chances(mode, lease_s=0.35)

    def first(self, seed: int, chances: Chances, count: int = 400) -> list[tuple[Strike, ...]]:
        return list(islice(episodes(random.Random(seed), chances), count))

    def test_the_seed_is_all_there_is(self) -> None:
        assert self.first(7, self.chances()) == self.first(7, self.chances())
        assert self.first(7, self.chances()) != self.first(8, self.chances())

    def test_every_fault_hits_the_holder_about_equally_often(self) -> None:
        alone = Counter(
            one[0].fault for one in self.first(1, self.chances()) if len(one) == 1 and one[0].role == "holder"
        )
        assert set(alone) == set(FAULTS)
        assert max(alone.values()) - min(alone.values()) <= 1

    def test_available_is_promised_nothing_while_nodes_are_cut(self) -> None:
        struck = {FAULTS[strike.fault] for one in self.first(2, self.chances(Mode.AVAILABLE)) for strike in one}
        assert not any(fault.splits for fault in struck)
        assert {"agent killed", "everything frozen", "rules flushed"} <= {fault.name for fault in struck}

    def test_pairs_that_make_no_sense_are_not_drawn(self) -> None:
        for one, other in (pair for pair in self.first(3, self.chances(), 1000) if len(pair) == 2):
            assert may_meet(FAULTS[one.fault], FAULTS[other.fault], is_same_node=one.role == other.role)
        frozen, flushed = FAULTS["everything frozen"], FAULTS["rules flushed"]
        assert not may_meet(frozen, flushed, is_same_node=True)
        assert may_meet(frozen, flushed, is_same_node=False)

    @pytest.mark.parametrize(
        "names",
        [
            ("twin started",) * 2,
            ("addresses swapped",) * 2,
            ("RTNL held",) * 2,
            ("clock steered", "clock steered too far"),
        ],
    )
    def test_nor_what_the_whole_cluster_has_one_of(self, names: tuple[str, str]) -> None:
        assert not may_meet(FAULTS[names[0]], FAULTS[names[1]], is_same_node=False)

    def test_what_cannot_be_done_is_left_out(self) -> None:
        chances = Chances(Mode.CONSISTENT, lease_s=0.35, has_guardian=False, has_clock=False, has_rtnl=False)
        struck = {strike.fault for one in self.first(4, chances) for strike in one}
        assert not struck & {"guardian killed", "agent and guardian killed", "clock stepped", "RTNL held"}

    def test_only_what_was_asked_for(self) -> None:
        chances = Chances(Mode.CONSISTENT, lease_s=0.35, only=("planned move",))
        assert {strike.fault for one in self.first(5, chances, 20) for strike in one} == {"planned move"}


def test_every_fault_has_a_bound_and_deeds() -> None:
    assert set(FAULTS) == set(bounds.BOUNDS) == set(DEEDS)
    assert all(
        bounds.BOUNDS[name].leases >= 1 for name, fault in FAULTS.items() if fault.kind in (Kind.HOST, Kind.NETWORK)
    )


def test_the_report_has_a_row_for_each_fault_and_whom_it_hit() -> None:
    seen = see(history([trace({"A": [(0, 400)], "B": [(402, 1500)]}, length=1500)], strike("host lost")))
    bad = history([trace({"A": [(0, 410)], "B": [(400, 1500)]}, length=1500)], strike("agent frozen"))
    outcomes = [
        Outcome(1, (strike("host lost"),), seen, ()),
        Outcome(2, (strike("host lost"),), seen, ()),
        Outcome(3, (strike("host lost", "witness"),), seen, ()),
        Outcome(4, (strike("host lost"), strike("host lost", "witness")), seen, ()),
        Outcome(5, (strike("agent frozen"),), see(bad), tuple(check(bad)), "record.json"),
    ]
    campaign = Candidacy(Mode.CONSISTENT, 1, "100ms", 0.35, 60.0, True, True, outcomes)
    assert [(row.fault, row.runs) for row in report.rows(campaign)] == [
        (report.NOISE, 5),
        ("agent frozen", 1),
        ("host lost", 2),
        ("host lost (of the witness)", 1),
        (report.NO_MAJORITY, 1),
    ]
    assert "1 violations" in report.text(campaign)
    assert "record.json" in report.markdown(campaign)
