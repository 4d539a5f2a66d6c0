"""python -m tests.sim SEED prints the story of one seed; --campaign FIRST COUNT runs many on all cores."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time

from tests.sim.invariants import Violation
from tests.sim.schedules import run_seed

CHUNK = 200


def _chunk(first: int) -> tuple[int, float, int, list[tuple[int, str]]]:
    failures, simulated, steps = [], 0.0, 0
    for seed in range(first, first + CHUNK):
        try:
            world = run_seed(seed)
        except Violation as violation:
            failures.append((seed, str(violation)))
            continue
        simulated += world.t
        steps += world.steps
    return first, simulated, steps, failures


def campaign(first: int, count: int) -> int:
    began, done, simulated, steps, bad = time.monotonic(), 0, 0.0, 0, 0
    with multiprocessing.Pool(os.cpu_count()) as pool:
        for _, seconds, taken, failures in pool.imap_unordered(_chunk, range(first, first + count, CHUNK)):
            done, simulated, steps, bad = done + CHUNK, simulated + seconds, steps + taken, bad + len(failures)
            for seed, what in failures:
                print(f"seed {seed}: {what}\n  replay: python -m tests.sim {seed}", flush=True)
            if done % (50 * CHUNK) == 0 or done >= count:
                took = time.monotonic() - began
                print(
                    f"{done} seeds, {bad} violations, {simulated:,.0f} cluster-seconds in {took:,.0f} s "
                    f"({simulated / took:,.0f} per second), {steps:,} steps",
                    flush=True,
                )
    return 1 if bad else 0


def replay(seed: int) -> int:
    try:
        world = run_seed(seed)
    except Violation as violation:
        print("\n".join(violation.transcript))  # type: ignore[attr-defined]
        return 1
    print("\n".join(world.transcript))
    print(f"seed {seed}: no violation in {world.t:.1f} s, {world.steps} steps")
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--campaign"]:
        sys.exit(campaign(int(sys.argv[2]), int(sys.argv[3])))
    sys.exit(replay(int(sys.argv[1])))
