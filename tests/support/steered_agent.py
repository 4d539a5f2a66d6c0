"""`haagent` on a host whose time service steers the clock: `python steered_agent.py run ...`, as `haagent run ...`.

No test steers the clock of the machine it runs on. Seen from its counter, a host's clock that is slowed down looks like
one that is right beside a counter that is too fast, and this process reads such a counter. Its pace is in a file
`pace` of its state directory, and is looked at again every few milliseconds.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from haagent.cli import main

LOOK_S = 0.02


class Counter:
    def __init__(self, pace: Path) -> None:
        self._file, self._read = pace, time.clock_gettime
        self._looked_at = self._from = self._counts = self._read(time.CLOCK_MONOTONIC_RAW)
        self._pace = 1.0
        time.clock_gettime = self.read

    def read(self, clock: int) -> float:
        if clock != time.CLOCK_MONOTONIC_RAW:
            return self._read(clock)
        shown = self._read(clock)
        if shown >= self._looked_at + LOOK_S:
            self._counts += self._pace * (shown - self._from)
            self._looked_at = self._from = shown
            self._pace = float(self._file.read_text()) if self._file.exists() else 1.0
        return self._counts + self._pace * (shown - self._from)


if __name__ == "__main__":
    Counter(Path(sys.argv[sys.argv.index("--state-dir") + 1]) / "pace")
    main()
