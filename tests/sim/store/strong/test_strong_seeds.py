"""Clusters in which one store leads, by seed: no client can tell, and each rule that is left out is found."""

from __future__ import annotations

import pytest

from tests.sim.store.strong.mutants import MUTANTS, Mutant
from tests.sim.store.strong.schedules import Violation, play

SEEDS = 16
SEEDS_A_MUTANT = 100  # at most: it ends with the first violation


@pytest.mark.parametrize("part", range(4))
def test_there_is_one_order_of_all_operations(part: int) -> None:
    answers = begun = 0
    for seed in range(part, SEEDS, 4):
        try:
            world, clients = play(seed)
        except Violation as violation:
            raise AssertionError(f"seed {seed}: {violation}") from violation
        answers += clients.answers
        begun += world.begun
    assert answers > 1_000
    assert begun > SEEDS / 4  # the leader has changed now and then


@pytest.mark.parametrize(("change", "first"), MUTANTS.values(), ids=MUTANTS)
def test_a_rule_that_is_left_out_is_found(change: Mutant, first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    change(monkeypatch)
    for seed in range(first, first + SEEDS_A_MUTANT):
        try:
            play(seed)
        except Violation:
            return
    pytest.fail("nothing was found")
