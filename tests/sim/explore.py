"""python -m tests.sim.explore MINUTES: the search through all that `explorer` says can follow, from each beginning.

First with one fault, then with two, and so on, until the time is over: each search that ends has seen everything that
can ever come of so few faults, however long it goes on.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.sim.explorer import Explorer, State

BEGINNINGS: dict[str, Callable[[Explorer], State]] = {
    "A serves": Explorer.settled,
    "A serves, A and B are cut from each other": functools.partial(Explorer.settled, cut=4),
    "all have just been started": Explorer.cold,
}
MOST_FAULTS = 3


class Result(NamedTuple):
    states: int
    depth: int  # steps from the beginning
    waiting: int  # states that have not been gone into; 0: there is nothing more
    seconds: float
    steps: int  # of the core
    trace: tuple[str, ...] = ()  # of the shortest violation


def search(explorer: Explorer, root: State, *, seconds: float = float("inf"), max_depth: int | None = None) -> Result:
    """Breadth first. Of a state that was seen a number of 64 bits is kept, and of the one before it."""
    began = time.monotonic()
    before, level, depth = {hash(root): 0}, [root], 0
    done = 0
    while level and (max_depth is None or depth < max_depth):
        after: list[State] = []
        for place, state in enumerate(level):
            done += 1
            if done % 1024 == 0 and time.monotonic() > began + seconds:
                waiting = len(level) - place + len(after)
                return Result(len(before), depth, waiting, time.monotonic() - began, explorer.minds.steps)
            own = hash(state)
            for step in explorer.successors(state):
                key = hash(step.state)
                if step.are_two:
                    chain = _chain(before, own)
                    trace = tell(explorer, root, [*chain, key])
                    return Result(
                        len(before), depth + 1, len(level), time.monotonic() - began, explorer.minds.steps, trace
                    )
                if key not in before:
                    before[key] = own
                    after.append(step.state)
        level, depth = after, depth + 1
    return Result(len(before), depth, len(level), time.monotonic() - began, explorer.minds.steps)


def _chain(before: dict[int, int], key: int) -> list[int]:
    """From the one after the root to this."""
    chain: list[int] = []
    while before[key]:
        chain.append(key)
        key = before[key]
    return chain[::-1]


def tell(explorer: Explorer, root: State, chain: list[int]) -> tuple[str, ...]:
    t, state, lines = 0.0, root, []
    for key in chain:
        step = next(one for one in explorer.successors(state) if hash(one.state) == key)
        if step.action.what == "tick":
            t += explorer.minds.tick_s
        if text := explorer.describe(state, step):
            lines.append(f"{t:5.1f} {text}")
        state = step.state
    return tuple(lines)


# ---------------------------------------------------------------------- many of them


class Job(NamedTuple):
    beginning: str
    faults: int
    until: float  # by the monotonic clock, which is one for all processes of a machine


@functools.cache
def _explorer() -> Explorer:
    return Explorer()


def _run(job: Job) -> tuple[Job, Result]:
    explorer = _explorer()
    root = BEGINNINGS[job.beginning](explorer)._replace(left=job.faults)
    return job, search(explorer, root, seconds=job.until - time.monotonic())


def explore(minutes: float) -> Iterator[tuple[Job, Result]]:
    until = time.monotonic() + 60 * minutes
    jobs = (Job(beginning, faults, until) for faults in range(1, MOST_FAULTS + 1) for beginning in BEGINNINGS)
    with multiprocessing.Pool(os.cpu_count()) as pool:
        yield from pool.imap(_run, jobs)


HEADER = """\
| it begins when | faults | states | steps deep | states a second | steps of the core | |
|---|---:|---:|---:|---:|---:|---|"""


def row(job: Job, result: Result) -> str:
    speed = result.states / max(result.seconds, 0.001)
    end = "two serve" if result.trace else f"{result.waiting:,} wait" if result.waiting else "all"
    return (
        f"| {job.beginning} | {job.faults} | {result.states:,} | {result.depth} | {speed:,.0f} "
        f"| {result.steps:,} | {end} |"
    )


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.explore")
    parser.add_argument("minutes", type=float)
    told, has_failed = parser.parse_args(words), False
    print(HEADER, flush=True)
    for job, result in explore(told.minutes):
        print(row(job, result), *result.trace, sep="\n", flush=True)
        has_failed = has_failed or bool(result.trace)
    return 1 if has_failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
