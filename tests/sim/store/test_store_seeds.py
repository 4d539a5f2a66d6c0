"""Clusters of stores by seed: what was promised holds, and each rule that is left out is found."""

from __future__ import annotations

import pytest

from tests.sim.store.mutants import MUTANTS, Mutant
from tests.sim.store.schedules import play
from tests.sim.store.world import Violation

SEEDS = 200
SEEDS_A_MUTANT = 100  # at most: it ends with the first violation


@pytest.mark.parametrize("part", range(4))
def test_what_was_promised_holds(part: int) -> None:
    for seed in range(part, SEEDS, 4):
        try:
            play(seed)
        except Violation as violation:
            raise AssertionError(f"seed {seed}: {violation}") from violation


@pytest.mark.parametrize("change", MUTANTS.values(), ids=MUTANTS)
def test_a_rule_that_is_left_out_is_found(change: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    change(monkeypatch)
    for seed in range(SEEDS_A_MUTANT):
        try:
            play(seed)
        except Violation:
            return
    pytest.fail("nothing was found")
