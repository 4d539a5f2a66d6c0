"""Many lives of clusters in which one store leads: python -m tests.sim.store.strong FIRST COUNT."""

from __future__ import annotations

import sys

from tests.sim.store.strong.schedules import Violation, play


def main(first: int, count: int) -> int:
    answers = begun = found = 0
    for seed in range(first, first + count):
        try:
            world, clients = play(seed)
        except Violation as violation:
            found += 1
            print(f"seed {seed}: {violation}")
        else:
            answers += clients.answers
            begun += world.begun
    print(f"{count} lives, {answers} answers, {begun} times somebody began to lead: {found} violations")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
