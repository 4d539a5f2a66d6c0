"""`haagent` on a host whose time service steers the clock: `python steered_agent.py run ...`, as `haagent run ...`.

No trial steers the clock of the machine it runs on. Seen from its counter, a host's clock that is slowed down looks
like one that is right beside a counter that is too fast, and this process reads such a counter. What it counts is in a
file `pace` of its state directory, looked at again every few milliseconds. A new pace begins a moment after it was
written, so that it is known before: hosts that are steered alike count alike, also when one of them was frozen.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from haagent.cli import main
from haagent.lab.agents import AGENT

LOOK_S = 0.02
AHEAD_S = 0.1  # a new pace begins so long after it was written

STEERED = (sys.executable, "-P", __file__, *AGENT[1:])

_read = time.clock_gettime


class Course(NamedTuple):
    """What a counter has counted at an instant, and how fast it goes before and after that."""

    at: float = 0.0
    counted: float = 0.0
    before: float = 1.0
    after: float = 1.0

    def count(self, now: float) -> float:
        return self.counted + (self.before if now < self.at else self.after) * (now - self.at)


def course_in(file: Path) -> Course:
    return Course(*map(float, file.read_text().split())) if file.exists() else Course()


def steer(directories: Iterable[Path], slew: float) -> None:
    """From a moment on, and the same one, the clocks of the agents with these state directories run so much faster than
    their counters."""
    at = _read(time.CLOCK_MONOTONIC_RAW) + AHEAD_S
    for directory in directories:
        directory.mkdir(parents=True, exist_ok=True)  # nobody may have run there yet
        file, following = directory / "pace", directory / "pace.next"
        course = course_in(file)
        coming = Course(at, course.count(at), course.after, 1 / (1 + slew))
        following.write_text(" ".join(map(repr, coming)))
        following.rename(file)


class Counter:
    def __init__(self, file: Path) -> None:
        self._file, self._looked_at, self._course = file, 0.0, Course()
        time.clock_gettime = self.read

    def read(self, clock: int) -> float:
        shown = _read(clock)
        if clock != time.CLOCK_MONOTONIC_RAW:
            return shown
        if shown >= self._looked_at + LOOK_S:
            self._looked_at, self._course = shown, course_in(self._file)
        return self._course.count(shown)


if __name__ == "__main__":
    Counter(Path(sys.argv[sys.argv.index("--state-dir") + 1]) / "pace")
    main()
