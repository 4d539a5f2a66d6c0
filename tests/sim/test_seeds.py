"""A thousand schedules in one run, on all cores. `python -m tests.sim SEED` tells the story of one of them."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys

import pytest

from tests.sim.invariants import Violation
from tests.sim.schedules import run_seed

SEEDS = range(1_000)


def _verdict(seed: int) -> tuple[int, str]:
    try:
        run_seed(seed)
    except Violation as violation:
        return seed, str(violation)
    except Exception as bug:
        return seed, f"the core raised {bug!r}"
    return seed, ""


def test_a_thousand_schedules_break_no_promise() -> None:
    with multiprocessing.get_context("forkserver").Pool(os.cpu_count()) as pool:
        verdicts = pool.imap_unordered(_verdict, SEEDS, chunksize=10)
        bad = sorted((seed, what) for seed, what in verdicts if what)
    assert not bad, "\n" + "\n".join(f"seed {seed}: {what}\n    python -m tests.sim {seed}" for seed, what in bad)


@pytest.mark.parametrize("seed", range(5))  # one of each family
def test_the_same_seed_tells_the_same_story(seed: int) -> None:
    assert run_seed(seed).transcript == run_seed(seed).transcript


def test_the_same_seed_tells_the_same_story_in_another_process() -> None:
    """Where sets and dictionaries of names have another order."""
    told = {
        subprocess.run(
            [sys.executable, "-m", "tests.sim", "3"],
            env=os.environ | {"PYTHONHASHSEED": str(hash_seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in (1, 2)
    }
    assert len(told) == 1
