"""python -m tests.sim SEED prints the story of one seed; --campaign FIRST COUNT runs many on all cores.

Options before that bring more about than a seed's own schedule: `python -m tests.sim` lists them. All may be given.
A campaign without options is followed by one with `--shell`, of a quarter of the seeds.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable

from tests.sim.invariants import Violation
from tests.sim.schedules import run_seed

CHUNK = 50
OPTIONS = {
    "--guardians": "agents die whose guardians speak for them",
    "--etcd": "the leases come from an etcd",
    "--turns": "events wait for each other, and several are one step",
    "--weights": "checks fail that have a weight",
    "--freezes": "agents stop in maintenance, which leaves gates open for good",
    "--slews": "clocks are steered by up to ten percent",
    "--slices": "heartbeats are sent in slices",
    "--forgets": "leases are changed host by host, and memories are lost",
    "--shell": "the agents' own activation runs, over a kernel that makes it wait and refuses",
    "--edits": "voters come and go (a schedule of its own)",
    "--twins": "another host has the name of a node (a schedule of its own)",
    "--moves": "addresses move between groups (a schedule of its own)",
}


def chosen(options: Iterable[str]) -> dict[str, bool]:
    """As `run_seed` has them."""
    return {option.replace("--", "has_"): True for option in options}


def _chunk(seeds: range, *, options: tuple[str, ...]) -> tuple[int, float, int, list[tuple[int, str]]]:
    failures, simulated, steps = [], 0.0, 0
    for seed in seeds:
        try:
            world = run_seed(seed, **chosen(options))
        except Violation as violation:
            failures.append((seed, str(violation)))
            continue
        except Exception as bug:
            failures.append((seed, f"raised {bug!r}"))
            continue
        simulated += world.t
        steps += world.steps
    return len(seeds), simulated, steps, failures


def campaign(first: int, count: int, options: tuple[str, ...]) -> int:
    began, done, simulated, steps, bad = time.monotonic(), 0, 0.0, 0, 0
    chunk, end = functools.partial(_chunk, options=options), first + count
    chunks = (range(seed, min(seed + CHUNK, end)) for seed in range(first, end, CHUNK))
    with multiprocessing.Pool(os.cpu_count()) as pool:
        for seeds, seconds, taken, failures in pool.imap_unordered(chunk, chunks):
            done, simulated, steps, bad = done + seeds, simulated + seconds, steps + taken, bad + len(failures)
            for seed, what in failures:
                print(f"seed {seed}: {what}\n  replay: {command(seed, options)}", flush=True)
            if done % 10_000 == 0 or done >= count:
                took = time.monotonic() - began
                print(
                    f"{done} seeds, {bad} violations, {simulated:,.0f} cluster-seconds in {took:,.0f} s "
                    f"({simulated / took:,.0f} per second), {steps:,} steps",
                    flush=True,
                )
    return 1 if bad else 0


def command(seed: int, options: tuple[str, ...]) -> str:
    return " ".join(["python -m tests.sim", *options, str(seed)])


def replay(seed: int, options: tuple[str, ...]) -> int:
    try:
        world = run_seed(seed, **chosen(options))
    except Violation as violation:
        print("\n".join(violation.transcript))  # type: ignore[attr-defined]
        return 1
    print("\n".join(world.transcript))
    print(f"seed {seed}: no violation in {world.t:.1f} s, {world.steps} steps")
    return 0


def main(words: list[str]) -> int:
    options = tuple(word for word in words if word in OPTIONS)
    words = [word for word in words if word not in OPTIONS]
    if len(words) not in (1, 3):
        print(__doc__, *(f"    {option:12} {what}" for option, what in OPTIONS.items()), sep="\n")
        return 2
    if words[0] == "--campaign":
        first, count = int(words[1]), int(words[2])
        bad = campaign(first, count, options)
        return bad if options or count < 4 else bad | campaign(first, count // 4, ("--shell",))
    return replay(int(words[0]), options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
