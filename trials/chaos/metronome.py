"""How long this machine let an ordinary process wait: the campaign's excuse for outages, and its only one.

    python -m trials.chaos.metronome           (for each line of its input it prints what it has found since the last)

The prober runs in real time and does not notice when everybody else is starved; the agents run at an ordinary priority
and do. So a few threads of ordinary priority wake every `TICK_S` and note when they were woken late. One that was late
for long proves that an agent may have been: then an outage proves nothing about the agents.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

TICK_S = 0.01
NOTABLE_S = 0.01
THREADS = 3  # as many as there are agents: one that was lucky says little
ROOT = Path(__file__).resolve().parents[2]


class Late(msgspec.Struct, frozen=True):
    at_s: float  # CLOCK_MONOTONIC, when it was woken at last
    late_s: float


class Metronome:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def since(self) -> list[Late]:
        """What was found since it was asked last."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        return msgspec.json.decode(self._process.stdout.readline(), type=list[Late])

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def metronome() -> Iterator[Metronome]:
    words = [sys.executable, "-m", "trials.chaos.metronome"]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, start_new_session=True)
    made = Metronome(process)
    try:
        yield made
    finally:
        made.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def _tick(found: deque[Late]) -> None:
    due_s = time.monotonic()
    while True:
        due_s += TICK_S
        time.sleep(max(0.0, due_s - time.monotonic()))
        now_s = time.monotonic()
        if now_s - due_s > NOTABLE_S:
            found.append(Late(now_s, now_s - due_s))
            due_s = now_s


def main() -> None:
    found: deque[Late] = deque()
    for _ in range(THREADS):
        threading.Thread(target=_tick, args=(found,), daemon=True).start()
    for _ in sys.stdin.buffer:
        latest = [found.popleft() for _ in range(len(found))]
        sys.stdout.buffer.write(msgspec.json.encode(latest) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
