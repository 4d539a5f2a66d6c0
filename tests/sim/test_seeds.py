"""A thousand schedules in one run, on all cores. `python -m tests.sim SEED` tells the story of one of them."""

from __future__ import annotations

import functools
import multiprocessing
import os
import subprocess
import sys

import pytest

from tests.sim.__main__ import chosen, command
from tests.sim.invariants import Violation
from tests.sim.schedules import run_seed

SEEDS = range(1_000)
SEEDS_WITH_GUARDIANS = range(400)
SEEDS_WITH_ETCD = range(100)
SEEDS_WITH_TURNS = range(200)
SEEDS_WITH_WEIGHTS = range(200)
SEEDS_WITH_EDITS = range(300)
SEEDS_WITH_FREEZES = range(200)
SEEDS_WITH_TWINS = range(200)
SEEDS_WITH_MOVES = range(300)
SEEDS_WITH_SLICES = range(200)
SEEDS_WITH_SLEWS = range(200)
SEEDS_WITH_FORGETS = range(200)
A_LEASE_SHORTENED_WHILE_HELD = range(3_001_252, 3_001_253)
SEEDS_WITH_SHELL = range(250)
SEEDS_WITH_SHELL_IN_MAINTENANCE = range(100)
SEEDS_WITH_SHELL_AND_MOVES = range(100)


def _verdict(seed: int, *, options: tuple[str, ...]) -> tuple[int, str]:
    try:
        run_seed(seed, **chosen(options))
    except Violation as violation:
        return seed, str(violation)
    except Exception as bug:
        return seed, f"the core raised {bug!r}"
    return seed, ""


def _complaints(seeds: range, *options: str) -> str:
    with multiprocessing.get_context("forkserver").Pool(os.cpu_count()) as pool:
        verdicts = pool.imap_unordered(functools.partial(_verdict, options=options), seeds, chunksize=10)
        bad = sorted((seed, what) for seed, what in verdicts if what)
    return "".join(f"\nseed {seed}: {what}\n    {command(seed, options)}" for seed, what in bad)


def test_a_thousand_schedules_break_no_promise() -> None:
    assert not _complaints(SEEDS)


def test_what_guardians_say_of_dead_agents_breaks_no_promise() -> None:
    assert not _complaints(SEEDS_WITH_GUARDIANS, "--guardians")


def test_leases_from_an_etcd_that_comes_and_goes_break_no_promise() -> None:
    assert not _complaints(SEEDS_WITH_ETCD, "--etcd", "--guardians")


def test_events_that_are_taken_in_together_break_no_promise() -> None:
    assert not _complaints(SEEDS_WITH_TURNS, "--guardians", "--turns")


def test_checks_with_a_weight_break_no_promise() -> None:
    assert not _complaints(SEEDS_WITH_WEIGHTS, "--guardians", "--weights")


def test_voters_that_come_and_go_break_no_promise() -> None:
    assert not _complaints(SEEDS_WITH_EDITS, "--edits", "--guardians")


def test_agents_that_stop_in_maintenance_break_no_promise() -> None:
    assert not _complaints(SEEDS_WITH_FREEZES, "--freezes", "--guardians")


def test_hosts_that_share_a_name_break_no_promise() -> None:
    assert not _complaints(SEEDS_WITH_TWINS, "--twins", "--guardians")


def test_addresses_that_move_between_groups_break_no_promise() -> None:
    assert not _complaints(SEEDS_WITH_MOVES, "--moves", "--guardians")
    assert not _complaints(SEEDS_WITH_ETCD, "--moves", "--etcd")


def test_heartbeats_in_slices_break_no_promise() -> None:
    assert not _complaints(SEEDS_WITH_SLICES, "--slices", "--guardians")


def test_agents_that_stop_in_maintenance_and_speak_in_slices_break_no_promise() -> None:
    assert not _complaints(SEEDS_WITH_SLICES, "--slices", "--freezes")


def test_addresses_that_move_in_slices_break_no_promise() -> None:
    assert not _complaints(SEEDS_WITH_SLICES, "--slices", "--moves")


def test_clocks_that_are_steered_break_no_promise() -> None:
    assert not _complaints(SEEDS_WITH_SLEWS, "--slews", "--guardians")


def test_memories_that_are_lost_while_leases_change_break_no_promise() -> None:
    assert not _complaints(SEEDS_WITH_FORGETS, "--forgets", "--guardians")
    assert not _complaints(A_LEASE_SHORTENED_WHILE_HELD, "--forgets", "--guardians", "--freezes")


def test_the_agents_own_activation_breaks_no_promise() -> None:
    assert not _complaints(SEEDS_WITH_SHELL, "--shell", "--guardians")


def test_what_the_agents_own_activation_leaves_in_maintenance_breaks_no_promise() -> None:
    assert not _complaints(SEEDS_WITH_SHELL_IN_MAINTENANCE, "--shell", "--freezes", "--guardians", "--slews")


def test_addresses_that_move_under_the_agents_own_activation_break_no_promise() -> None:
    assert not _complaints(SEEDS_WITH_SHELL_AND_MOVES, "--shell", "--moves", "--guardians")


@pytest.mark.parametrize("seed", range(5))  # one of each family
def test_the_same_seed_tells_the_same_story(seed: int) -> None:
    assert run_seed(seed).transcript == run_seed(seed).transcript


@pytest.mark.parametrize("options", [[], ["--shell"]])
def test_the_same_seed_tells_the_same_story_in_another_process(options: list[str]) -> None:
    """Where sets and dictionaries of names have another order."""
    told = {
        subprocess.run(
            [sys.executable, "-m", "tests.sim", *options, "3"],
            env=os.environ | {"PYTHONHASHSEED": str(hash_seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in (1, 2)
    }
    assert len(told) == 1
