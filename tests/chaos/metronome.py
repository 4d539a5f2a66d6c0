"""How long this machine let an ordinary process wait: the campaign's excuse for outages, and its only one.

    python -m tests.chaos.metronome           (until the end of its input; then it prints what it has)

The prober runs in real time and does not notice when everybody else is starved; the agents run at an ordinary priority
and do. So a few threads of ordinary priority wake every `TICK_S` and note when they were woken late. One that was late
for long proves that an agent may have been: then an outage proves nothing about the agents.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

TICK_S = 0.005
NOTABLE_S = 0.01
THREADS = 3  # as many as there are agents: one that was lucky says little
ROOT = Path(__file__).resolve().parents[2]


class Late(msgspec.Struct, frozen=True):
    at_s: float  # CLOCK_MONOTONIC, when it was woken at last
    late_s: float


class Metronome:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def stop(self) -> list[Late]:
        said, _ = self._process.communicate(timeout=30)
        return msgspec.json.decode(said, type=list[Late])

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def metronome() -> Iterator[Metronome]:
    words = [sys.executable, "-m", "tests.chaos.metronome"]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, start_new_session=True)
    made = Metronome(process)
    try:
        yield made
    finally:
        made.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def _tick(found: list[Late], ended: threading.Event) -> None:
    due_s = time.monotonic()
    while not ended.is_set():
        due_s += TICK_S
        time.sleep(max(0.0, due_s - time.monotonic()))
        now_s = time.monotonic()
        if now_s - due_s > NOTABLE_S:
            found.append(Late(now_s, now_s - due_s))
            due_s = now_s


def main() -> None:
    found: list[Late] = []
    ended = threading.Event()
    threads = [threading.Thread(target=_tick, args=(found, ended)) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    sys.stdin.buffer.read()
    ended.set()
    for thread in threads:
        thread.join()
    sys.stdout.buffer.write(msgspec.json.encode(found))


if __name__ == "__main__":
    main()
