"""`make teeth`: each rule is taken out, and schedules are run until one shows two that serve: how many it takes.

What no schedule of `SEEDS` shows is said too: then the rule is looked after by its own story alone, or by nobody.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from tests.sim import mutants
from tests.sim.__main__ import chosen
from tests.sim.schedules import first_that_shows

SEEDS = 5_000
SHELL_MOVES = ("--shell", "--moves", "--freezes")
SHELL_FREEZES = ("--shell", "--freezes", "--guardians")


class Rule(NamedTuple):
    text: str
    without: Callable[[pytest.MonkeyPatch], None]
    options: tuple[str, ...] = ()


def _unheeding(without: Callable[[pytest.MonkeyPatch], None]) -> Callable[[pytest.MonkeyPatch], None]:
    """Nor is it asked who has it: that is a courtesy, which hides nearly always that a rule is missing."""

    def both(patch: pytest.MonkeyPatch) -> None:
        mutants.name_what_others_have(patch)
        without(patch)

    return both


RULES = (
    Rule("a voter accepts one candidate in a lease", mutants.vote_inside_a_live_lease),
    Rule("a voter that has started is silent for a lease", mutants.be_silent_after_no_restart),
    Rule("a lease counts from what was sent", mutants.count_from_receipt),
    Rule("a guardian speaks when the addresses are gone", mutants.speak_before_the_end, ("--guardians",)),
    Rule("whose votes count is agreed, and not read from the file", mutants.vote_as_the_file_says, ("--edits",)),
    Rule("the next set of voters waits for a majority that has this one", mutants.change_at_once, ("--edits",)),
    Rule("and for a lease", mutants.change_within_a_lease, ("--edits",)),
    Rule("one voter comes or goes at a time", mutants.change_many, ("--edits",)),
    Rule("what a majority does not know to be frozen is not left behind", mutants.leave_unheard, ("--freezes",)),
    Rule(
        "who was told by others of what is frozen does not count",
        mutants.count_who_was_told_by_others,
        ("--edits", "--slews", "--freezes"),
    ),
    Rule("what may have been left behind is kept for who left it", mutants.keep_for_nobody, ("--freezes",)),
    Rule("and not for a host of its name", mutants.keep_for_a_name, ("--twins", "--freezes")),
    Rule("a lease is renewed and released by the life that has it", mutants.believe_a_name, ("--twins",)),
    Rule("two lives of one name are noticed", mutants.notice_no_twin, ("--twins",)),
    Rule("the younger stands down", mutants.stand_by, ("--twins",)),
    Rule("until everybody is heard who may hear the other", mutants.forgive_the_silent, ("--twins",)),
    Rule(
        "who has just started gives no vote to one of two",
        mutants.vote_before_the_elder_is_known,
        ("--twins", "--freezes"),
    ),
    Rule("leases go by the counter, which nobody steers", mutants.count_as_steered, ("--slews",)),
    Rule("the gate is told less, as its clock may be steered", mutants.tell_the_gate_all, ("--slews",)),
    Rule("a voter is silent for the longest lease that others tell of", mutants.forget_leases, ("--forgets",)),
    Rule("what is not proved is not served", mutants.serve_all, ("--moves",)),
    Rule("a voter binds an address to one node", _unheeding(mutants.bind_twice), ("--moves",)),
    Rule(
        "an address is served when a majority has accepted its name",
        _unheeding(mutants.serve_what_is_named),
        ("--moves",),
    ),
    Rule("what a reload has removed stays bound", _unheeding(mutants.forget_what_is_removed), ("--moves",)),
    Rule(
        "what comes from another group is proved anew", _unheeding(mutants.take_what_is_moved_for_proved), ("--moves",)
    ),
    Rule("a gate that has had to wait opens for no lease that is over", mutants.open_a_gate_however_late, ("--shell",)),
    Rule("what a reload takes from a group goes, held or left", mutants.forget_what_is_to_be_adopted, SHELL_MOVES),
    Rule("whoever leaves opens the gate for what is left alone", mutants.leave_without_a_gate, SHELL_FREEZES),
)


def search(rule: Rule, *, seeds: int = SEEDS) -> int | None:
    """How many schedules it took."""
    with pytest.MonkeyPatch.context() as patch:
        rule.without(patch)
        seed = first_that_shows("both answer", range(seeds), **chosen(rule.options))
        return None if seed is None else seed + 1


def main() -> int:
    missed = 0
    print("| without the rule that | two serve after so many schedules | options |\n|---|---:|---|")
    with multiprocessing.get_context("forkserver").Pool(os.cpu_count(), maxtasksperchild=1) as pool:
        found = pool.imap(functools.partial(_found, seeds=SEEDS), range(len(RULES)), chunksize=1)
        for rule, seeds in zip(RULES, found, strict=True):
            print(f"| {rule.text} | {seeds or f'none of {SEEDS:,}'} | {' '.join(rule.options)} |", flush=True)
            missed += seeds is None
    return 1 if missed else 0


def _found(index: int, *, seeds: int) -> int | None:
    return search(RULES[index], seeds=seeds)


if __name__ == "__main__":
    sys.exit(main())
